"""The car's pose at any stamp: right between poses, brief beyond them, and never made up."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import PoseTrack, Transform
from perception.sources import FrameOptions, open_source
from perception.timing.ego_motion import EgoMotion
from perception.types import EgoPose
from tests.data import needs
from tests.nuscenes_fixture import CAMERAS, LIDAR, START_US, ego_from_sensor, world_from_ego, write_nuscenes
from tests.perception.timing import av2

MS = 1_000_000
START_NS = 1_700_000_000_000_000_003  # fits no float


def bend(stamp_ns: int) -> Transform:
    """20 m/s, and a turn of 0.5 rad/s."""
    t = (stamp_ns - START_NS) / 1e9
    return Transform(Rotation.from_euler("z", 0.5 * t).as_matrix(), (20 * t, 0, 0))


def driven(count: int = 10, step_ns: int = 10 * MS, start_ns: int = START_NS, **settings) -> EgoMotion:
    motion = EgoMotion(**settings)
    for k in range(count):
        assert motion.add(EgoPose(start_ns + k * step_ns, bend(start_ns + k * step_ns)))
    return motion


def assert_same(got: Transform, expected: Transform, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(got.matrix, expected.matrix, atol=atol)


@pytest.mark.parametrize("after_ns", [0, 1, 5 * MS + 1, 10 * MS, 89_999_999, 90 * MS, 190 * MS, -100 * MS])
def test_at_constant_velocity_the_pose_is_exact_between_poses_and_a_while_beyond(after_ns):
    assert_same(driven().world_from_ego_at(START_NS + after_ns), bend(START_NS + after_ns))


@pytest.mark.parametrize("after_ns", [190 * MS + 1, -100 * MS - 1])
def test_farther_beyond_there_is_no_pose(after_ns):
    with pytest.raises(InputError, match=r"ego pose: expected a stamp from .* ns, 100 ms outside at most"):
        driven().world_from_ego_at(START_NS + after_ns)


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_poses_there_is_none_but_its_own(count):
    motion = driven(count)
    with pytest.raises(InputError, match="ego pose"):
        motion.world_from_ego_at(START_NS + 1)
    if count:
        assert_same(motion.world_from_ego_at(START_NS), bend(START_NS))


def test_a_wide_gap_between_poses_is_not_bridged():
    motion = driven(3, step_ns=400 * MS, max_gap_ns=300 * MS)
    with pytest.raises(InputError, match=r"two poses within 0\.3 s .*, got .* in a gap of 0\.400 s"):
        motion.world_from_ego_at(START_NS + 200 * MS)


def test_two_poses_a_nanosecond_apart_are_no_velocity():
    motion = driven()
    end_ns = START_NS + 90 * MS
    shaken = bend(end_ns) @ Transform(np.eye(3), (0.001, 0.001, 0))  # 1 mm in 1 ns
    assert motion.add(EgoPose(end_ns + 1, shaken))
    off = motion.world_from_ego_at(end_ns + 50 * MS).translation - bend(end_ns + 50 * MS).translation
    assert np.abs(off).max() < 0.02


def test_poses_that_are_not_finite_or_not_newer_are_refused_and_counted():
    motion = driven()
    broken = Transform.identity() @ Transform(np.eye(3), (0, 0, 0))
    object.__setattr__(broken, "translation", np.array([np.nan, 0, 0]))
    assert not motion.add(EgoPose(START_NS + 100 * MS, broken))
    assert not motion.add(EgoPose(START_NS + 90 * MS, bend(START_NS)))
    assert not motion.add(EgoPose(START_NS + 35 * MS, bend(START_NS)))
    assert motion.refused == 3
    assert_same(motion.world_from_ego_at(START_NS + 95 * MS), bend(START_NS + 95 * MS))


@pytest.mark.parametrize("jump_ns", [-10_000 * MS, 10_000 * MS])
def test_after_a_jump_of_the_clock_only_new_poses_count(jump_ns):
    motion = driven()
    for k in range(3):
        motion.add(EgoPose(START_NS + jump_ns + k * 10 * MS, bend(START_NS + k * 10 * MS)))
    assert motion.jumps == 1
    assert_same(motion.world_from_ego_at(START_NS + jump_ns + 15 * MS), bend(START_NS + 15 * MS))
    with pytest.raises(InputError, match="ego pose"):
        motion.world_from_ego_at(START_NS + 15 * MS)


def test_one_wrong_stamp_is_no_jump():
    motion = driven()
    motion.add(EgoPose(0, Transform.identity()))
    assert motion.add(EgoPose(START_NS + 100 * MS, bend(START_NS + 100 * MS)))
    assert (motion.jumps, motion.refused) == (0, 1)
    assert_same(motion.world_from_ego_at(START_NS + 95 * MS), bend(START_NS + 95 * MS))


def test_old_poses_are_let_go():
    motion = driven(50, poses=10)
    assert_same(motion.world_from_ego_at(START_NS + 400 * MS), bend(START_NS + 400 * MS))
    with pytest.raises(InputError, match="ego pose"):
        motion.world_from_ego_at(START_NS + 200 * MS)


def test_what_stands_still_stays_in_the_world():
    motion, tree_world = driven(), np.array([30.0, 4, 1])
    t0, t1 = START_NS + 3 * MS, START_NS + 77 * MS
    tree_t0, tree_t1 = (motion.world_from_ego_at(t).inverse().apply(tree_world) for t in (t0, t1))
    np.testing.assert_allclose(motion.ego_t1_from_ego_t0(t1, t0).apply(tree_t0), tree_t1, atol=1e-9)


def test_it_agrees_with_a_pose_track():
    stamps = [START_NS + k * 10 * MS for k in range(10)]
    track = PoseTrack(np.array(stamps), [bend(stamp) for stamp in stamps])
    assert_same(driven().world_from_ego_at(START_NS + 34 * MS), track.at(START_NS + 34 * MS), 0)


def test_cameras_are_placed_as_the_nuscenes_source_places_them(tmp_path: Path):
    """From poses at 100 Hz that hold none of the sensors' stamps."""
    root = write_nuscenes(tmp_path / "data", scenes=1, samples=2, sweeps=1)
    motion = EgoMotion()
    for stamp_us in range(START_US - 200_003, START_US + 800_000, 10_000):
        motion.add(EgoPose(stamp_us * 1000, world_from_ego(0, stamp_us)))
    for frame in open_source("nuscenes", root, FrameOptions()):
        assert len(frame.cameras) == len(CAMERAS)
        for name, image in frame.cameras.items():
            mount = ego_from_sensor(name), image.stamp_ns
            got = motion.camera_from_lidar(*mount, ego_from_sensor(LIDAR), frame.stamp_ns)
            assert_same(got, image.camera_from_lidar, 1e-4)


@needs(av2.LOG)
def test_real_poses_are_found_between_their_neighbours():
    poses = av2.poses()
    motion, left_out = EgoMotion(poses=5000), poses[100:-100:10]
    for pose in poses:
        if pose not in left_out:
            motion.add(pose)
    off = [motion.world_from_ego_at(p.stamp_ns).translation - p.world_from_ego.translation for p in left_out]
    assert np.percentile(np.linalg.norm(off, axis=1), 95) < 0.005


@needs(av2.LOG)
def test_real_parked_cars_stand_still_once_the_own_motion_is_undone():
    """Boxes 0.3 s apart, while the car drives at more than 3 m/s; those that drive themselves are a minority."""
    motion = EgoMotion(poses=5000)
    for pose in av2.poses():
        motion.add(pose)
    raw, compensated = [], []
    for centres in av2.vehicles():
        stamps = sorted(centres)
        for t0, t1 in zip(stamps, stamps[3:], strict=False):
            ego_t1_from_ego_t0 = motion.ego_t1_from_ego_t0(t1, t0)
            if np.linalg.norm(ego_t1_from_ego_t0.translation) > 3 * (t1 - t0) / 1e9:
                raw.append(np.linalg.norm(centres[t0] - centres[t1]))
                compensated.append(np.linalg.norm(ego_t1_from_ego_t0.apply(centres[t0]) - centres[t1]))
    assert len(raw) > 500
    assert np.median(compensated) < 0.2 * np.median(raw)
