"""Bundles hold what belongs together, whatever order it arrives in; nothing is lost uncounted."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.timing.sync import SensorSettings, Synchroniser, SyncSettings
from tests.perception.timing.streams import (
    LIDAR,
    MS,
    SENSORS,
    SETTINGS,
    Arrival,
    all_steady,
    contents,
    run,
    steady,
    taken,
)

COUNTED = ("used", "duplicated", "late", "dropped", "unused", "jumped", "waiting")


def without(arrivals: list[Arrival], sensor: str, start_ms: int, end_ms: int) -> list[Arrival]:
    return [a for a in arrivals if a[1] != sensor or not start_ms * MS <= a[2] < end_ms * MS]


@st.composite
def captures(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Sensors and stamps of a second: jittered, some lost, the reference dead for a while."""
    dead_from = draw(st.integers(0, 1500)) * MS
    dead_until = dead_from + draw(st.sampled_from([0, 100, 400])) * MS
    taken = []
    for name, sensor in SENSORS.items():
        for k in range(1000 * MS // sensor.period_ns):
            stamp_ns = sensor.offset_ns + k * sensor.period_ns + draw(st.integers(-9, 9)) * MS
            lost = draw(st.integers(0, 9)) == 0 or (name == "LIDAR" and dead_from <= stamp_ns < dead_until)
            if not lost:
                taken.append((name, stamp_ns))
    return taken


def delayed(data: st.DataObject, taken: list[tuple[str, int]]) -> list[Arrival]:
    delays = st.lists(st.integers(0, SETTINGS.slack_ns - 1), min_size=len(taken), max_size=len(taken))
    return [(stamp + delay, name, stamp) for (name, stamp), delay in zip(taken, data.draw(delays), strict=True)]


@settings(max_examples=60, deadline=None)
@given(captures(), st.data())
def test_any_order_of_arrival_within_the_slack_gives_the_same_bundles_within_the_budget(taken, data):
    prompt, _ = run([(stamp, name, stamp) for name, stamp in taken])
    late, synchroniser = run(delayed(data, taken), tick_ns=MS)
    assert contents(late) == contents(prompt)
    assert all(bundle.waited_ns < SETTINGS.budget_ns + MS for bundle in late)  # the timer goes off every ms
    assert all(counts.late == 0 for counts in synchroniser.statistics().sensors.values())


@st.composite
def chaos(draw: st.DrawFn) -> list[Arrival]:
    """Anything: stamps and arrivals unrelated, duplicates, clocks that jump forwards and backwards."""
    time = st.integers(0, 60).map(lambda step: step * 10 * MS)
    jump = st.sampled_from([0, 0, 0, 10_000 * MS, -10_000 * MS])
    arrival = st.tuples(time, st.sampled_from(list(SENSORS)), st.tuples(time, jump).map(sum))
    return draw(st.lists(arrival, max_size=60))


@settings(max_examples=150, deadline=None)
@given(chaos(), st.booleans(), st.booleans())
def test_whatever_comes_nothing_is_used_twice_or_off_its_tolerance_and_all_is_counted(arrivals, skip, in_order):
    sensors = {name: replace(sensor, queue=3) for name, sensor in SENSORS.items()}
    small = replace(SETTINGS, sensors=sensors, skip_silent=skip, in_order=in_order)
    bundles, synchroniser = run(arrivals, small)
    used = [id(m) for bundle in bundles for m in bundle.measurements.values()]
    assert len(set(used)) == len(used)
    for bundle in bundles:
        assert bundle.measurements.keys() | bundle.missing.keys() == SENSORS.keys()
        for name, measurement in bundle.measurements.items():
            off = measurement.stamp_ns - SENSORS[name].offset_ns - bundle.stamp_ns
            assert abs(off) <= SENSORS[name].tolerance_ns
    for earlier, later in pairwise(bundles):
        assert later.epoch > earlier.epoch or later.stamp_ns > earlier.stamp_ns
    for counts in synchroniser.statistics().sensors.values():
        assert counts.received == sum(getattr(counts, name) for name in COUNTED)
        assert counts.waiting <= 3 + 1  # and one that may be the first after a jump


@settings(max_examples=60, deadline=None)
@given(chaos())
def test_the_same_calls_give_the_same_bundles(arrivals):
    first, second = run(arrivals), run(arrivals)
    assert contents(first[0]) == contents(second[0])
    assert first[1].statistics() == second[1].statistics()


def test_a_complete_bundle_goes_out_when_its_last_measurement_arrives():
    late = [(at + 37 * MS, name, stamp) if name == "LEFT" else (at, name, stamp) for at, name, stamp in all_steady(20)]
    sensors = {name: SENSORS[name] for name in ("LIDAR", "LEFT")}
    bundles, _ = run([a for a in late if a[1] != "RIGHT"], SyncSettings(sensors, ("LIDAR", "LEFT")), end=False)
    assert [bundle.waited_ns // MS for bundle in bundles[3:]] == [7] * (len(bundles) - 3)
    assert bundles[3].stamp_of("LEFT") == bundles[3].stamp_ns - 30 * MS


def test_a_nearer_measurement_that_may_still_come_is_waited_for():
    two = replace(SETTINGS, sensors={"LIDAR": LIDAR, "LEFT": SENSORS["LEFT"]}, references=("LIDAR",))
    arrivals = [
        a for a in steady("LIDAR", 12) + steady("LEFT", 12) if a[1] == "LIDAR" or a[2] not in (370 * MS, 420 * MS)
    ]
    arrivals += [
        (360 * MS, "LEFT", 352 * MS),
        (430 * MS, "LEFT", 384 * MS),
    ]  # 18 ms before and 14 ms after the expected
    (bundle,) = [bundle for bundle in run(arrivals, two)[0] if bundle.stamp_ns == 400 * MS]
    assert bundle.measurements["LEFT"].stamp_ns == 384 * MS


def test_nothing_is_waited_for_that_a_newer_measurement_shows_was_never_taken():
    """RIGHT measures at every second turn only: the rest needn't wait longer than until its next."""
    waits = {}
    for in_order in (False, True):
        bundles, _ = run(all_steady(40), replace(SETTINGS, in_order=in_order), end=False, tick_ns=MS)
        waits[in_order] = [bundle.waited_ns // MS for bundle in bundles if bundle.complete][3:9]
    assert waits == {False: [110] * 6, True: [0] * 6}


@settings(max_examples=60, deadline=None)
@given(captures(), st.data())
def test_where_each_sensor_keeps_its_order_it_does_not_matter_which_is_quicker(taken, data):
    in_order = replace(SETTINGS, in_order=True, references=("LIDAR",))
    delays = {name: data.draw(st.integers(0, in_order.slack_ns // MS - 1)) * MS for name in SENSORS}
    alike, _ = run([(stamp, name, stamp) for name, stamp in taken], in_order)
    apart, _ = run([(stamp + delays[name], name, stamp) for name, stamp in taken], in_order)
    assert contents(alike) == contents(apart)


def test_without_gaps_in_the_stream_nothing_waits():
    arrivals = [a for a in all_steady(20) if a[1] != "RIGHT"]
    sensors = {name: SENSORS[name] for name in ("LIDAR", "LEFT")}
    bundles, _ = run(arrivals, SyncSettings(sensors, ("LIDAR", "LEFT")), end=False)
    assert [bundle.waited_ns for bundle in bundles[3:]] == [0] * (len(bundles) - 3)
    assert len(bundles) == 20


def test_a_partial_bundle_goes_out_after_the_budget_and_says_what_is_missing_and_why():
    arrivals = [a for a in steady("LIDAR", 3) + steady("LEFT", 3) if a[2] != 70 * MS]
    synchroniser = Synchroniser(SETTINGS)
    bundles = []
    for received_ns, name, stamp_ns in sorted(arrivals):
        bundles += synchroniser.add(taken(name, stamp_ns), received_ns)
    assert bundles == []
    assert synchroniser.advance(5 * MS + SETTINGS.budget_ns - 1) == []
    first = synchroniser.advance(5 * MS + SETTINGS.budget_ns)[0]
    assert (first.stamp_ns, first.complete, dict(first.missing)) == (0, False, {"RIGHT": "nothing came yet"})
    last = synchroniser.advance(1000 * MS)[-1]
    assert last.missing["LEFT"] == "silent for 0.97 s"


def test_a_measurement_off_its_expected_time_is_missing_with_its_distance():
    arrivals = [a for a in all_steady(12) if a[1:] != ("RIGHT", 390 * MS)] + [(400 * MS, "RIGHT", 365 * MS)]
    bundles, _ = run(arrivals)
    (bundle,) = [b for b in bundles if b.stamp_ns == 400 * MS]
    assert bundle.missing == {"RIGHT": "the nearest is -25.0 ms off, more than 20 ms"}


def test_a_dead_reference_is_replaced_by_the_next_and_returns():
    bundles, _ = run(without(all_steady(40), "LIDAR", 500, 1200))
    by_left = [bundle.stamp_ns // MS for bundle in bundles if bundle.reference == "LEFT"]
    assert by_left == list(range(600, 1151, 50))  # after the timeout of 150 ms, at the stamps the LiDAR would give
    assert all("LIDAR" in bundle.missing for bundle in bundles if bundle.reference == "LEFT")
    after = [bundle for bundle in bundles if bundle.stamp_ns >= 1200 * MS]
    assert {bundle.reference for bundle in after} == {"LIDAR"}
    assert all("LEFT" in bundle.measurements for bundle in after)


def test_a_stream_without_its_first_reference_goes_by_the_next():
    bundles, _ = run(steady("LEFT", 10) + steady("RIGHT", 5))
    assert {bundle.reference for bundle in bundles} == {"LEFT"}
    assert [bundle.stamp_ns // MS for bundle in bundles] == list(range(150, 500, 50))


@pytest.mark.parametrize(("skip", "waited_ns"), [(False, SETTINGS.budget_ns), (True, 0)])
def test_a_dead_camera_costs_the_budget_unless_it_is_skipped(skip, waited_ns):
    two = replace(SETTINGS, sensors={"LIDAR": LIDAR, "LEFT": SENSORS["LEFT"]}, references=("LIDAR",), skip_silent=skip)
    bundles, _ = run(steady("LIDAR", 40) + steady("LEFT", 10), two, end=False, tick_ns=MS)
    assert {b.waited_ns for b in bundles if b.stamp_ns > 1000 * MS} == {waited_ns}


@pytest.mark.parametrize(("skip", "waited_ns"), [(False, SETTINGS.budget_ns), (True, 0)])
def test_a_dead_reference_costs_the_budget_unless_it_is_skipped(skip, waited_ns):
    two = replace(SETTINGS, sensors={"LIDAR": LIDAR, "LEFT": SENSORS["LEFT"]}, skip_silent=skip)
    bundles, _ = run(steady("LIDAR", 10) + steady("LEFT", 40), two, end=False, tick_ns=MS)
    skipping = {b.waited_ns for b in bundles if b.stamp_ns > 1000 * MS}
    assert ({b.reference for b in bundles[20:]}, skipping) == ({"LEFT"}, {waited_ns})


def test_measurements_that_come_too_late_or_twice_are_counted_not_used():
    arrivals = all_steady(20)
    late = [(900 * MS, "LEFT", 271 * MS)]  # a stamp of its own, long after its bundle went out
    twice = [(received + MS, name, stamp) for received, name, stamp in arrivals if name == "RIGHT"]
    bundles, synchroniser = run(arrivals + late + twice)
    assert contents(bundles) == contents(run(arrivals)[0])
    counts = synchroniser.statistics().sensors
    assert (counts["LEFT"].late, counts["RIGHT"].duplicated) == (1, len(twice))


def test_queues_are_bounded_and_drop_their_oldest():
    _, synchroniser = run(steady("RIGHT", 100), end=False)
    counts = synchroniser.statistics().sensors["RIGHT"]
    assert (counts.waiting, counts.dropped) == (16, 84)


def test_a_replay_gives_the_bundles_of_the_live_run():
    arrivals = without(all_steady(30), "LEFT", 300, 700)
    live, _ = run(arrivals, end=False, tick_ns=3 * MS)  # its timer runs while nothing arrives; a bag has none
    replayed, _ = run(arrivals, end=False)
    assert contents(live) == contents(replayed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": ("RADAR",)}, "references: expected some of LIDAR, LEFT, RIGHT"),
        ({"references": ("LEFT", "LIDAR")}, "offset of LEFT: expected 0"),
        ({"budget_ns": 50 * MS}, "budget_ns: expected more than 55000000"),
        ({"jump_ns": 200 * MS}, "jump_ns: expected more than twice the budget"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("change", [{"period_ns": 0}, {"tolerance_ns": -1}, {"timeout_ns": 60 * MS}, {"queue": 1}])
def test_sensors_that_cannot_be_are_refused(change):
    with pytest.raises(InputError, match=f"sensor's {next(iter(change))}"):
        SensorSettings(**{"period_ns": 50 * MS, "tolerance_ns": MS} | change)


def test_a_sensor_that_is_not_in_the_settings_is_refused_by_name():
    with pytest.raises(InputError, match="'LIDARR'"):
        Synchroniser(SETTINGS).add(taken("LIDARR", 0), 0)
