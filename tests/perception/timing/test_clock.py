"""Clocks that jump, restart, stand wrong or send nonsense: what was remembered goes, and nothing stale comes out."""

from dataclasses import replace

import pytest

from perception.timing.clock import ClockWatch, Verdict
from perception.timing.sync import Synchroniser
from tests.perception.timing.streams import MS, SENSORS, SETTINGS, Arrival, all_steady, contents, run, steady, taken

S = 1000 * MS


def moved(arrivals: list[Arrival], from_ns: int, stamps_ns: int, received_ns: int = 0) -> list[Arrival]:
    """The same with the clocks of all sensors moved."""
    return [(at + received_ns, name, stamp + stamps_ns) for at, name, stamp in arrivals if stamp >= from_ns]


def all_used_were_fresh(arrivals: list[Arrival], **change) -> tuple[list, object]:
    """Runs; checks that no bundle mixes what arrived far apart."""
    bundles, synchroniser = run(arrivals, replace(SETTINGS, **change))
    arrived = {(name, stamp): at for at, name, stamp in arrivals}
    for bundle in bundles:
        times = [arrived[name, m.stamp_ns] for name, m in bundle.measurements.items()]
        assert max(times) - min(times) < 200 * MS
    return bundles, synchroniser.statistics()


@pytest.mark.parametrize("jump_ns", [-10 * S, 10 * S])
def test_a_step_of_the_whole_robots_clock_starts_a_new_epoch_within_two_measurements(jump_ns):
    before = [a for a in all_steady(40) if a[2] < S]
    after = moved(all_steady(40), S, jump_ns)
    bundles, statistics = all_used_were_fresh(before + after)
    assert statistics.resets == 1
    assert {counts.jumps for counts in statistics.sensors.values()} == {1}
    new = [bundle for bundle in bundles if bundle.epoch == 1]
    assert new[0].stamp_ns <= S + jump_ns + 50 * MS
    assert [bundle.complete for bundle in new[2::2]] == [True] * len(new[2::2])
    stamps = [bundle.stamp_ns for bundle in new]
    assert stamps == sorted(stamps)


def test_a_bag_that_starts_over_gives_the_same_bundles_again():
    synchroniser, rounds = Synchroniser(SETTINGS), []
    for _ in range(2):
        bundles = []
        for at, name, stamp in sorted(all_steady(40, start_ns=100 * S)):
            bundles += synchroniser.add(taken(name, stamp), at)
        rounds.append(bundles)
    assert [bundle.epoch for bundle in rounds[1]] == [1] * len(rounds[0])
    assert [entry[1:] for entry in contents(rounds[0])] == [entry[1:] for entry in contents(rounds[1])]


@pytest.mark.parametrize("jump_ns", [-10 * S, 10 * S])
def test_one_cameras_jump_leaves_the_others_alone_and_its_old_images_never_come_back(jump_ns):
    arrivals = [a for a in all_steady(400) if a[1] != "LEFT"] + steady("LEFT", 20)
    arrivals += moved(steady("LEFT", 40), S - 30 * MS, jump_ns)  # and then it dies
    bundles, statistics = all_used_were_fresh(arrivals)
    assert (statistics.resets, statistics.sensors["LEFT"].jumps, len(bundles)) == (0, 1, 400)
    assert not any("LEFT" in bundle.measurements for bundle in bundles if bundle.stamp_ns > S)


def test_a_camera_that_may_lead_and_jumps_does_not_take_the_lead():
    arrivals = [a for a in all_steady(40) if a[1] != "LEFT"] + moved(steady("LEFT", 40), -S, 10 * S)
    bundles, _ = run(arrivals)
    assert {bundle.reference for bundle in bundles} == {"LIDAR"}


def test_a_reference_that_restarts_counting_from_zero_starts_a_new_epoch():
    start_ns = 1_700_000_000 * S
    arrivals = [a for a in all_steady(40, start_ns) if a[1] != "LIDAR"] + steady("LIDAR", 20, start_ns)
    arrivals += [(at, name, stamp - start_ns) for at, name, stamp in steady("LIDAR", 20, start_ns + 1100 * MS)]
    bundles, statistics = all_used_were_fresh(arrivals, references=("LIDAR",))
    assert (statistics.resets, statistics.sensors["LIDAR"].jumps) == (1, 1)
    assert len([bundle for bundle in bundles if bundle.epoch == 1]) == 20


def test_silence_is_no_jump():
    arrivals = all_steady(20) + all_steady(20, start_ns=60 * S)
    _, statistics = all_used_were_fresh(arrivals)
    assert statistics.resets == 0
    assert not any(counts.jumps for counts in statistics.sensors.values())


def test_one_wrong_stamp_is_left_out_and_changes_nothing_else():
    arrivals = all_steady(20)
    wrong = [(501 * MS, "LIDAR", 77 * S), (701 * MS, "LEFT", 0)]
    bundles, synchroniser = run(arrivals + wrong)
    assert contents(bundles) == contents(run(arrivals)[0])
    counts = synchroniser.statistics().sensors
    assert [counts[name].jumped for name in SENSORS] == [1, 0, 0]
    assert counts["LEFT"].duplicated == 0
    assert counts["LEFT"].late == 1


def test_a_watch_needs_two_stamps_that_agree():
    watch = ClockWatch(jump_ns=S)
    stamps = [0, 10 * S, 20 * S, S, 10 * S, 10 * S + MS, 10 * S + 2 * MS]
    verdicts = [watch.judge(stamp, 0) for stamp in stamps]
    steady, suspect, jumped = Verdict.STEADY, Verdict.SUSPECT, Verdict.JUMPED
    assert verdicts == [steady, suspect, suspect, steady, suspect, jumped, steady]
