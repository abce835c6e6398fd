"""Clouds taken while the car moved become sharp, and land on the right pixels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation, Slerp

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import CAMERAS
from perception.sources import open_source
from perception.timing.deskew import Spin, deskewed
from perception.timing.ego_motion import EgoMotion
from perception.types import EgoPose, PointCloud
from tests.data import KEYFRAME, keyframe_info, needs
from tests.perception.timing import av2

MS = 1_000_000
NUSCENES = Spin(50 * MS, np.radians(194.9))
START_NS = 1_700_000_000_000_000_003
EGO_FROM_LIDAR = Transform(Rotation.from_euler("ZYX", [-90, 1, 2], degrees=True).as_matrix(), (0.9, 0, 1.8))


def turning(stamp_ns: int) -> Transform:
    """30 m/s and 1 rad/s, for 100 ms."""
    t = (stamp_ns - START_NS) / 1e9
    return Transform(Rotation.from_euler("z", 1.0 * t).as_matrix(), (30 * t, 0, 0))


def random_cloud(count: int = 3000) -> PointCloud:
    rng = np.random.default_rng(0)
    points = rng.uniform(-70, 70, (count, 5)).astype(np.float32)
    points[:, 4] = 0
    return PointCloud(points, START_NS + rng.integers(0, 100 * MS, count), dropped=3)


def test_it_is_within_a_millimetre_of_moving_every_point_by_its_own_pose():
    cloud, end_ns = random_cloud(), START_NS + 100 * MS
    lidar_from_world = (turning(end_ns) @ EGO_FROM_LIDAR).inverse()
    exact = [
        (lidar_from_world @ turning(int(time)) @ EGO_FROM_LIDAR).apply(point)
        for point, time in zip(cloud.points[:, :3], cloud.times_ns, strict=True)
    ]
    got = deskewed(cloud, end_ns, EGO_FROM_LIDAR, turning)
    assert np.abs(got.points[:, :3] - exact).max() < 1e-3
    assert np.abs(cloud.points[:, :3] - exact).max() > 3


def test_only_places_change():
    cloud = random_cloud()
    before = cloud.points.copy()
    got = deskewed(cloud, START_NS, EGO_FROM_LIDAR, turning)
    np.testing.assert_array_equal(got.points[:, 3:], cloud.points[:, 3:])
    np.testing.assert_array_equal(cloud.points, before)
    assert (got.times_ns, got.dropped) == (None, 3)


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_are_a_cloud_too(count):
    cloud = random_cloud(count)
    got = deskewed(cloud, int(cloud.times_ns.max(initial=START_NS)), EGO_FROM_LIDAR, turning)
    np.testing.assert_allclose(got.points, cloud.points, atol=1e-5)


def test_without_times_or_poses_nothing_is_deskewed():
    cloud = random_cloud()
    for times_ns in (None, cloud.times_ns[1:]):
        with pytest.raises(InputError, match=r"times of points: expected one each, \(3000,\)"):
            deskewed(replace(cloud, times_ns=times_ns), START_NS, EGO_FROM_LIDAR, turning)
    with pytest.raises(InputError, match="ego pose"):
        deskewed(cloud, START_NS, EGO_FROM_LIDAR, EgoMotion().world_from_ego_at)


@pytest.mark.parametrize("clockwise", [True, False])
def test_a_spin_gives_times_by_azimuth(clockwise):
    share = np.linspace(0.001, 0.999, 500)
    azimuths = 0.4 + (-1 if clockwise else 1) * 2 * np.pi * share
    points = np.stack([np.cos(azimuths), np.sin(azimuths)], axis=1) * 30
    times_ns = Spin(100 * MS, 0.4, clockwise).times_ns(points, START_NS)
    np.testing.assert_allclose((times_ns - START_NS) / (100 * MS), share - 1, atol=1e-6)


@needs(KEYFRAME)
def test_real_cameras_fire_when_the_spin_says():
    (frame,) = open_source("mmdet3d_info", keyframe_info())
    for name in CAMERAS:
        image = frame.cameras[name]
        expected_ns = NUSCENES.offset_ns(image.camera_from_lidar.inverse())
        assert abs(image.stamp_ns - frame.stamp_ns - expected_ns) < 3 * MS, name


@needs(av2.LOG)
def test_a_real_scan_taken_on_a_real_drive_becomes_sharp_again():
    """The scan, taken while the car stood, is smeared by the log's fastest stretch, pose by pose, and deskewed.

    Two LiDARs saw the same surfaces half a turn apart: how well they agree is how sharp the cloud is.
    """
    points, since_ns, upper = av2.sweep()
    poses = av2.poses()[-100:]
    motion = EgoMotion()
    for pose in poses:
        motion.add(pose)
    start_ns = poses[-1].stamp_ns - 110 * MS
    world_from_ego = slerped(poses, start_ns + since_ns)
    world = motion.world_from_ego_at(start_ns).apply(points)
    skewed = np.zeros((len(points), 5), np.float32)
    skewed[:, :3] = np.einsum("nji,nj->ni", world_from_ego[0], world - world_from_ego[1])
    cloud = PointCloud(skewed, start_ns + since_ns)
    sharp = deskewed(cloud, start_ns, Transform.identity(), motion.world_from_ego_at).points[:, :3]
    assert np.abs(sharp - points).max() < 0.005
    before, after, best = (disagreement(cloud, upper) for cloud in (skewed[:, :3], sharp, points))
    assert before - best > 5 * (after - best)
    assert before > 1.5 * after


def slerped(poses: list[EgoPose], stamps_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (N, 3, 3) and translations (N, 3) at N stamps, by SciPy."""
    times = np.array([pose.stamp_ns - poses[0].stamp_ns for pose in poses], np.float64)
    wanted = (stamps_ns - poses[0].stamp_ns).astype(np.float64)
    turns = Slerp(times, Rotation.from_matrix([pose.world_from_ego.rotation for pose in poses]))
    places = np.array([pose.world_from_ego.translation for pose in poses])
    return turns(wanted).as_matrix(), np.stack([np.interp(wanted, times, axis) for axis in places.T], axis=1)


def disagreement(points: np.ndarray, upper: np.ndarray) -> float:
    """Median distance of one LiDAR's points, above the ground and not too far, to the planes of the other's."""
    near = (np.linalg.norm(points[:, :2], axis=1) < 40) & (points[:, 2] > 0.5)
    ours, theirs = points[near & upper][::5], points[near & ~upper]
    distances, rows = cKDTree(theirs).query(ours, k=5)
    patches = theirs[rows[distances[:, -1] < 1]]
    centred = patches - patches.mean(axis=1, keepdims=True)
    normals = np.linalg.svd(centred)[2][:, -1]
    offsets = ours[distances[:, -1] < 1] - patches.mean(axis=1)
    return float(np.median(np.abs((offsets * normals).sum(axis=1))))
