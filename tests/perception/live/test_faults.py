"""Whatever goes wrong with the sensors, the node goes on with what is left, says so, and is back when they are.

Everything goes at the messages' own times, so that nothing depends on how fast the machine is.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.replay.faults import Fault, Faulty
from perception.ros.rig_file import MS, LiveRig, load_live_rig
from perception.timing.sync import SensorCounts
from tests.perception.live.driving import (
    Driven,
    check_made_of_its_moment,
    drive,
    with_faults,
    with_faults_between,
)
from tests.perception.live.made import BEGIN_NS, RIG, MadeDrive

pytest.importorskip("rosbags")
LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
NOMINAL = ("nominal", frozenset())
RECOVERED_S = 1.0  # after a sensor's return all must be as before
ALIVE_S = 0.35  # the longest time without an answer, while the detector is busy for 0.08 s with each
FROM_S, UNTIL_S = 1.2, 2.4  # of most faults
NOTICED_S = 0.7  # by then a dead sensor is reported


@pytest.fixture(scope="module")
def rig() -> LiveRig:
    return load_live_rig(RIG)


@pytest.fixture(scope="module")
def made() -> MadeDrive:
    return MadeDrive(4.0)


def check_honest(driven: Driven, rig: LiveRig, back_ns: int = 0) -> None:
    """Nothing is stale, and nothing comes twice."""
    assert driven.answers
    for answer in driven.answers:
        check_made_of_its_moment(answer, rig, back_ns)
    for earlier, later in pairwise(driven.answers):
        assert later.place > earlier.place


def check_degraded_and_back(driven: Driven, rig: LiveRig, lost: set[str], from_s: float, until_s: float) -> None:
    """While sensors are lost, frames go on without them and the state says so; afterwards it is as before."""
    check_honest(driven, rig)
    assert driven.states_between(from_s - 0.3, from_s) == {NOMINAL}
    assert driven.states_between(from_s + NOTICED_S, until_s) == {("degraded", frozenset(lost))}
    assert driven.longest_gap_s(from_s - 0.3, until_s + RECOVERED_S) < ALIVE_S
    for answer in driven.between(from_s + NOTICED_S, until_s):
        assert answer.said.state.level.value == "degraded"
        assert set(answer.said.state.lost) == lost
        assert not lost & set(answer.made_from)
    check_all_is_well(driven, until_s + RECOVERED_S)


def check_all_is_well(driven: Driven, from_s: float) -> None:
    """From then on to its end nothing is lost, and all sensors are used."""
    until_s = driven.states[-1][0]
    assert until_s > from_s + 0.3
    assert driven.states_between(from_s, until_s) == {NOMINAL}
    used = set.union(*(set(answer.made_from) for answer in driven.between(from_s, until_s)))
    assert used == {LIDAR, *CAMERAS}


def told_of(driven: Driven, sensor: str) -> SensorCounts:
    return driven.core.now()[2].sensors[sensor]


def test_without_faults_all_is_well_from_the_first_second_on(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(made, rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert driven.longest_gap_s(0.5, 3.9) < 0.2


def test_a_detector_that_is_too_slow_always_takes_the_newest_frame(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(made, rig, detecting_ns=400 * MS)
    taken_after = [(a.now_ns - a.frame.stamp_ns) / 1e9 - 0.4 for a in driven.answers]
    assert len(driven.answers) > 8
    assert max(taken_after) < 0.2
    assert driven.core.counts.passed_over > 2 * len(driven.answers)
    check_all_is_well(driven, 1.0)


@pytest.mark.parametrize("camera", CAMERAS)
def test_any_one_camera_dies_and_comes_back(made: MadeDrive, rig: LiveRig, camera: str) -> None:
    kill = f"kill:{camera}:{FROM_S + 0.2}:{UNTIL_S + 0.2}"  # the drive's first message comes 0.2 s before its begin
    check_degraded_and_back(drive(with_faults(made, kill), rig), rig, {camera}, FROM_S, UNTIL_S)


def test_all_cameras_die_and_come_back(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, f"kill:image:{FROM_S + 0.2}:{UNTIL_S + 0.2}"), rig)
    check_degraded_and_back(driven, rig, set(CAMERAS), FROM_S, UNTIL_S)


def test_the_lidar_dies_for_5_s_and_comes_back(rig: LiveRig) -> None:
    driven = drive(with_faults(MadeDrive(8.0), "kill:LIDAR_TOP:1.4:6.4"), rig)
    check_degraded_and_back(driven, rig, {LIDAR}, 1.2, 6.2)


def test_everything_dies_and_comes_back(made: MadeDrive, rig: LiveRig) -> None:
    faults = [f"kill:{target}:{FROM_S + 0.2}:{UNTIL_S + 0.2}" for target in ("image", LIDAR)]
    driven = drive(with_faults(made, *faults), rig)
    check_honest(driven, rig)
    assert driven.states_between(FROM_S + NOTICED_S, UNTIL_S) == {("blind", frozenset({LIDAR, *CAMERAS}))}
    assert not driven.between(FROM_S + 0.3, UNTIL_S)
    blinds = [(at_s, said) for at_s, said in driven.blinds if FROM_S + NOTICED_S < at_s < UNTIL_S]
    assert len(blinds) >= 2
    for at_s, said in blinds:
        assert abs((said.stamp_ns - BEGIN_NS) / 1e9 - at_s) < 0.05  # now, on the sensors' clock
        assert (said.boxes, said.records, said.made_from) == (None, (), {})
    places = [answer.place for answer in driven.between(0, FROM_S)]
    places += [(said.epoch, said.stamp_ns) for _, said in blinds]
    places += [answer.place for answer in driven.between(UNTIL_S, 4.0)]
    assert places == sorted(set(places))
    check_all_is_well(driven, UNTIL_S + RECOVERED_S)


def test_a_lidar_at_half_its_rate_is_no_loss(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, "thin:LIDAR_TOP:2"), rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert driven.longest_gap_s(1.0, 3.9) < ALIVE_S


def test_jitter_of_30_ms_changes_nothing(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, "jitter:all:0.03"), rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert driven.longest_gap_s(0.5, 3.9) < 0.2


def test_messages_twice_and_in_disorder_make_no_frame_twice(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, "duplicate:all:0.5", "reorder:all:0.2"), rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert driven.longest_gap_s(0.5, 3.9) < ALIVE_S


def test_broken_clouds_leave_frames_without_them(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults_between(made, FROM_S, UNTIL_S, "truncate:LIDAR_TOP:1"), rig)
    check_degraded_and_back(driven, rig, {LIDAR}, FROM_S, UNTIL_S)


def test_a_camera_whose_pictures_have_another_size_is_left_out(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults_between(made, FROM_S, UNTIL_S, "resize:CAM_BACK:1"), rig)
    check_degraded_and_back(driven, rig, {"CAM_BACK"}, FROM_S, UNTIL_S)
    assert "16x9" in driven.core.tallies[rig.sensors["CAM_BACK"].topic].last_error


@pytest.mark.parametrize("allowed", [False, True])
def test_a_camera_clock_that_is_off_by_80_ms_is_told_and_put_right_where_allowed(
    made: MadeDrive, rig: LiveRig, allowed: bool
) -> None:
    trusting = rig.model_copy(update={"sync": rig.sync.model_copy(update={"correct_offsets": allowed})})
    driven = drive(with_faults(made, "offset:CAM_BACK:0.08"), trusting)
    offset_ms = told_of(driven, "CAM_BACK").offset.offset_ns / 1e6
    assert abs(offset_ms - 80) < 5
    assert abs(told_of(driven, "CAM_FRONT").offset.offset_ns / 1e6) < 5
    if allowed:
        assert [a for a in driven.between(3.0, 4.0) if "CAM_BACK" in a.made_from]
        for answer in driven.between(3.0, 4.0):
            check_made_of_its_moment(answer, rig)


@pytest.mark.parametrize("back_s", [10, -10])
def test_all_clocks_jump_back_or_ahead(made: MadeDrive, rig: LiveRig, back_s: int) -> None:
    jump = f"jump:all:{FROM_S + 0.2}:{-back_s}"
    driven = drive(with_faults(made, jump), rig)
    before = [a for a in driven.answers if a.said.epoch == 0]
    after = [a for a in driven.answers if a.said.epoch == 1]
    assert len(before) + len(after) == len(driven.answers)
    check_honest(replace(driven, answers=before), rig)
    check_honest(replace(driven, answers=after), rig, back_ns=back_s * 10**9)
    assert after[0].at_s < FROM_S + RECOVERED_S
    assert driven.longest_gap_s(FROM_S + RECOVERED_S, 3.9) < ALIVE_S
    check_all_is_well(driven, FROM_S + RECOVERED_S)


def test_time_begins_again(made: MadeDrive, rig: LiveRig) -> None:
    """As when a bag is played again: stamps and the receiver's clock go back together."""
    again_s = 1.5
    first = [m for m in made if m.received_ns < BEGIN_NS + again_s * 1e9]
    driven = drive([*first, *made], rig)
    assert {answer.said.epoch for answer in driven.answers} == {0, 1}
    second = replace(driven, answers=[a for a in driven.answers if a.said.epoch == 1])
    check_honest(second, rig)
    assert second.answers[0].at_s < RECOVERED_S
    assert second.longest_gap_s(RECOVERED_S, 3.9) < ALIVE_S
    check_all_is_well(second, 3.0)


def test_transforms_that_are_nowhere_are_not_believed(made: MadeDrive, rig: LiveRig) -> None:
    """Until mountings come that can be, nothing is detected by those that can't."""
    nowhere = with_faults(made, "nan:tf_static:1")
    assert nowhere[0].topic == rig.tf_static_topic
    good = next(iter(made))
    later = replace(good, received_ns=BEGIN_NS + 10**9)
    driven = drive(sorted([*nowhere, later], key=lambda message: message.received_ns), rig)
    assert not driven.between(-1, 1.0)
    assert {state for state, _ in driven.states_between(-0.1, 1.0)} == {"blind"}
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0 + RECOVERED_S)


def test_poses_that_are_nowhere_blind_it_until_they_are_back(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults_between(made, FROM_S, UNTIL_S, "nan:odom:1"), rig)
    check_honest(driven, rig)
    assert not driven.between(FROM_S + NOTICED_S, UNTIL_S)
    states = driven.states_between(FROM_S + NOTICED_S, UNTIL_S)
    assert {state for state, _ in states} == {"blind"}
    assert all("poses" in missing for _, missing in states)
    check_all_is_well(driven, UNTIL_S + RECOVERED_S)


def test_a_camera_of_which_no_info_comes_is_left_out(made: MadeDrive, rig: LiveRig) -> None:
    topic = rig.sensors["CAM_BACK"].camera_info
    driven = drive(with_faults(made, f"drop:{topic}:1"), rig)
    check_honest(driven, rig)
    assert driven.states_between(1.0, 3.9) == {("degraded", frozenset({"CAM_BACK"}))}
    assert driven.longest_gap_s(0.5, 3.9) < ALIVE_S
    for answer in driven.answers:
        assert "CAM_BACK" not in answer.made_from
    assert "/CAM_BACK/camera_info" in driven.answers[-1].said.state.lost["CAM_BACK"]


def test_infos_that_come_late_make_up_for_it(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, f"kill:camera_info:0:{FROM_S + 0.2}"), rig)
    check_honest(driven, rig)
    assert driven.states_between(0.7, FROM_S) == {("degraded", frozenset(CAMERAS))}
    check_all_is_well(driven, FROM_S + RECOVERED_S)


def test_a_node_that_begins_in_the_middle_sees_at_once(made: MadeDrive, rig: LiveRig) -> None:
    """As after it was killed: it has missed everything but what is latched."""
    latched, *rest = made
    driven = drive([latched, *(m for m in rest if m.received_ns > BEGIN_NS + 1.5e9)], rig)
    check_honest(driven, rig)
    assert driven.answers[0].at_s < 1.5 + RECOVERED_S
    check_all_is_well(driven, 1.5 + RECOVERED_S)


@pytest.mark.filterwarnings("ignore:overflow")  # of points as far away as numbers go
def test_messages_whose_bytes_are_others_are_counted_and_end_nothing(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, "garble:all:0.15"), rig)
    for earlier, later in pairwise(driven.answers):
        assert later.place > earlier.place
    left_out = {topic: tally.left_out for topic, tally in driven.core.tallies.items()}
    assert all(left_out[sensor.topic] > 0 for sensor in rig.sensors.values())


MANY = (
    "drop:all:0.2",
    "delay:LIDAR_TOP:0.06",
    "jitter:all:0.05",
    "offset:CAM_FRONT:-0.5",
    "jump:all:1.1:-10",
    "thin:image:2",
    "reorder:all:0.3",
    "duplicate:all:0.3",
    "kill:LIDAR_TOP:0.7:1.4",
    "truncate:all:0.3",
    "nan:all:0.2",
    "resize:image:0.3",
    "garble:all:0.2",
)


SHORT = MadeDrive(2.0)


@settings(max_examples=12)
@given(st.lists(st.sampled_from(MANY), min_size=2, max_size=5, unique=True), st.integers(0, 9))
def test_several_at_once_end_nothing_and_make_no_frame_twice(rig: LiveRig, texts: list[str], seed: int) -> None:
    driven = drive(Faulty(SHORT, [Fault.parse(text) for text in texts], seed), rig)
    for earlier, later in pairwise(driven.answers):
        assert later.place > earlier.place
    for answer in driven.answers:
        assert set(answer.made_from) >= set(answer.frame.cameras)
