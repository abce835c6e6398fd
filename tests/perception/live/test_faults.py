"""Whatever goes wrong with the sensors, the node goes on with what is left, says so, and is back when they are.

Everything goes at the messages' own times, so that nothing depends on how fast the machine is.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from perception.ros.rig_file import LiveRig, load_live_rig
from tests.perception.live.driving import (
    Driven,
    check_made_of_its_moment,
    drive,
    with_faults,
    with_faults_between,
)
from tests.perception.live.made import RIG, MadeDrive

pytest.importorskip("rosbags")
LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
NOMINAL = ("nominal", frozenset())
RECOVERED_S = 1.0  # after a sensor's return all must be as before
ALIVE_S = 0.35  # the longest time without an answer, while the detector is busy for 0.08 s with each
FROM_S, UNTIL_S = 1.2, 2.4  # of most faults
NOTICED_S = 0.5  # by then a dead sensor is reported


@pytest.fixture(scope="module")
def rig() -> LiveRig:
    live = load_live_rig(RIG)
    return live.model_copy(update={"sync": live.sync.model_copy(update={"skip_silent": True})})


@pytest.fixture(scope="module")
def made() -> MadeDrive:
    return MadeDrive(4.0)


def check_honest(driven: Driven, rig: LiveRig, back_ns: int = 0) -> None:
    """Nothing is stale, and nothing comes twice."""
    assert driven.answers
    for answer in driven.answers:
        check_made_of_its_moment(answer, rig, back_ns)
    for earlier, later in pairwise(driven.answers):
        assert later.epoch > earlier.epoch or later.frame.stamp_ns > earlier.frame.stamp_ns


def check_degraded_and_back(driven: Driven, rig: LiveRig, lost: set[str], from_s: float, until_s: float) -> None:
    """While sensors are lost, frames go on without them and the state says so; afterwards it is as before."""
    check_honest(driven, rig)
    assert driven.states_between(from_s - 0.3, from_s) == {NOMINAL}
    assert driven.states_between(from_s + NOTICED_S, until_s) == {("degraded", frozenset(lost))}
    assert driven.longest_gap_s(from_s - 0.3, until_s + RECOVERED_S) < ALIVE_S
    for answer in driven.between(from_s + NOTICED_S, until_s):
        assert answer.state == "degraded"
        assert set(answer.missing) == lost
        assert not lost & set(answer.made_from)
    check_all_is_well(driven, until_s + RECOVERED_S)


def check_all_is_well(driven: Driven, from_s: float) -> None:
    until_s = driven.states[-1][0]
    assert until_s > from_s + 0.3
    assert driven.states_between(from_s, until_s) == {NOMINAL}
    used = set.union(*(set(answer.made_from) for answer in driven.between(from_s, until_s)))
    assert used == {LIDAR, *CAMERAS}


def test_without_faults_all_is_well_from_the_first_second_on(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(made, rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert driven.longest_gap_s(0.5, 3.9) < 0.2


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
    check_all_is_well(driven, UNTIL_S + RECOVERED_S)


def test_a_lidar_at_half_its_rate_is_no_loss(made: MadeDrive, rig: LiveRig) -> None:
    driven = drive(with_faults(made, "thin:LIDAR_TOP:2"), rig)
    check_honest(driven, rig)
    check_all_is_well(driven, 1.0)
    assert len(driven.between(1.0, 3.0)) >= 18


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


@pytest.mark.parametrize("damage", ["resize", "truncate"])
def test_a_camera_whose_pictures_cannot_be_used_is_left_out(made: MadeDrive, rig: LiveRig, damage: str) -> None:
    driven = drive(with_faults_between(made, FROM_S, UNTIL_S, f"{damage}:CAM_BACK:1"), rig)
    check_degraded_and_back(driven, rig, {"CAM_BACK"}, FROM_S, UNTIL_S)
