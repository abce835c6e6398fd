"""The proof: a simulated LiDAR's rays leave a car that drives, brakes, turns and shakes; the street becomes sharp."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import CAMERAS
from perception.simulation.agents import Motion
from perception.simulation.geometry import box, merged
from perception.simulation.lidar import NOISE_M, beams, column_times
from perception.simulation.looks import WHITE, Kind, Look
from perception.simulation.raycast import Caster, require
from perception.simulation.rig import (
    COLUMNS,
    EGO_FROM_LIDAR,
    FIRST_AZIMUTH_DEG,
    RINGS,
    SWEEP_US,
    camera_delay_us,
    ego_from_camera,
    ego_pose,
    lens,
)
from perception.simulation.routes import Route
from perception.timing.deskew import Spin, deskewed
from perception.timing.ego_motion import EgoMotion
from perception.types import EgoPose, PointCloud

MS = 1_000_000
SPIN = Spin(SWEEP_US * 1000, np.radians(FIRST_AZIMUTH_DEG))
END = 2.0  # s, of the sweep
END_NS = 2_000 * MS
SIZE = (1600, 900)
# The faces of four walls around the car, askew: what the car drives along looks sharp in any case.
ASKEW, WALLS_X, WALLS_Y = np.radians(40), (-24.0, 40.0), (-9.0, 12.0)


@pytest.fixture(scope="module", autouse=True)
def _simulator() -> None:
    """Skips without the extra `sim` and the system libraries that it links."""
    try:
        require()
    except InputError as error:
        pytest.skip(str(error))


def driving(curvature: float) -> Motion:
    """Slowing down from 15 m/s; 1/curvature is the bend's radius [m]. The sweep ends near the city's origin."""
    along = np.linspace(0, 60, 601)
    headings = curvature * (along - 29)
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * 0.1
    points = np.cumsum(steps, axis=0)
    return Motion(
        Route(points - points[290], headings, along),
        np.array([0.0, 1, 2, 3]),
        np.array([0.0, 15, 29, 42]),
        np.array([15.0, 14.5, 13.5, 12.5]),
    )


@pytest.fixture(params=[0.0, 0.03], ids=["straight", "bend"])
def drive(request: pytest.FixtureRequest) -> Motion:
    return driving(request.param)


def walls() -> Caster:
    """Solid walls whose inner faces are known."""
    look = Look(Kind.PLAIN, WHITE)
    solids = [box((1, 200, 12), (x + np.sign(x) * 0.5, 0, 5), look) for x in WALLS_X]
    solids += [box((200, 1, 12), (0, y + np.sign(y) * 0.5, 5), look) for y in WALLS_Y]
    mesh = merged(solids).moved(yaw=ASKEW)
    return Caster(mesh.vertices, mesh.triangles)


def scanned(drive: Motion, noise_m: float = 0.0) -> tuple[PointCloud, np.ndarray]:
    """A sweep as the sensor sees it, each point from where it then was, with times; and the points in the city."""
    poses = [ego_pose(drive, time) @ EGO_FROM_LIDAR for time in column_times(END)]
    directions = np.stack([pose.rotate(column) for pose, column in zip(poses, beams(), strict=True)])
    origins = np.broadcast_to(np.stack([pose.translation for pose in poses])[:, None], directions.shape)
    rays = np.concatenate([origins, directions], axis=2).reshape(-1, 6)
    distances = walls().first_hits(rays.astype(np.float32)).distances.astype(np.float64)
    distances += np.random.default_rng(0).normal(0, noise_m, len(distances)) if noise_m else 0
    hit = np.isfinite(distances)
    points = np.zeros((hit.sum(), 5), np.float32)
    points[:, :3] = (beams().reshape(-1, 3) * distances[:, None])[hit]
    times_ns = np.repeat(END_NS - np.round((1 - np.arange(COLUMNS) / COLUMNS) * SPIN.period_ns), RINGS)
    return PointCloud(points, times_ns[hit].astype(np.int64)), (rays[:, :3] + rays[:, 3:] * distances[:, None])[hit]


def odometry(drive: Motion) -> EgoMotion:
    """Poses at 100 Hz, at stamps of their own."""
    motion = EgoMotion()
    for stamp_ns in range(1_503 * MS, 2_100 * MS, 10 * MS):
        motion.add(EgoPose(stamp_ns, ego_pose(drive, stamp_ns / 1e9)))
    return motion


def residual(cloud: PointCloud, drive: Motion) -> float:
    """Median distance of a cloud's points to the walls' faces [m]."""
    walls_from_city = Transform(Rotation.from_euler("z", -ASKEW).as_matrix(), (0, 0, 0))
    x, y, _ = (walls_from_city @ ego_pose(drive, END) @ EGO_FROM_LIDAR).apply(cloud.points[:, :3]).T
    return float(np.median(np.min([np.abs(x - a) for a in WALLS_X] + [np.abs(y - a) for a in WALLS_Y], axis=0)))


def with_driver_times(cloud: PointCloud) -> PointCloud:
    return cloud


def with_times_by_azimuth(cloud: PointCloud) -> PointCloud:
    return PointCloud(cloud.points, SPIN.times_ns(cloud.points, END_NS))


@pytest.mark.parametrize("timed", [with_driver_times, with_times_by_azimuth])
def test_the_street_becomes_more_than_five_times_sharper(
    drive: Motion, timed: Callable[[PointCloud], PointCloud]
) -> None:
    cloud, _ = scanned(drive, NOISE_M)
    sharp = deskewed(timed(cloud), END_NS, EGO_FROM_LIDAR, odometry(drive).world_from_ego_at)
    assert residual(sharp, drive) < residual(cloud, drive) / 5
    assert residual(sharp, drive) < NOISE_M


def test_points_land_within_a_pixel_of_where_each_camera_saw_them(drive: Motion) -> None:
    cloud, points_city = scanned(drive)
    motion = odometry(drive)
    sharp = deskewed(cloud, END_NS, EGO_FROM_LIDAR, motion.world_from_ego_at)
    naive = []
    for name in CAMERAS:
        camera_ns = END_NS - SPIN.period_ns + camera_delay_us(name) * 1000
        city_from_camera = ego_pose(drive, camera_ns / 1e9) @ ego_from_camera(name)
        exact, seen = projected(name, city_from_camera.inverse().apply(points_city))
        camera_from_lidar = motion.camera_from_lidar(ego_from_camera(name), camera_ns, EGO_FROM_LIDAR, END_NS)
        got, _ = projected(name, camera_from_lidar.apply(sharp.points[:, :3]))
        assert seen.sum() > 500
        assert np.abs(got - exact)[seen].max() < 1
        rigid = ego_from_camera(name).inverse() @ EGO_FROM_LIDAR
        naive.append(np.abs(projected(name, rigid.apply(cloud.points[:, :3]))[0] - exact)[seen].max())
    assert max(naive) > 5  # px: what it would be without


def projected(name: str, points_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2), and which of the points are in the image."""
    optics = lens(name, SIZE)
    depth = np.maximum(points_camera[:, 2], 0.1)
    pixels = points_camera[:, :2] / depth[:, None] * optics.focal + (optics.cx, optics.cy)
    return pixels, (points_camera[:, 2] > 1) & ((pixels >= 0) & (pixels < SIZE)).all(axis=1)


def test_cameras_fire_when_the_spin_says() -> None:
    for name in CAMERAS:
        lidar_from_camera = EGO_FROM_LIDAR.inverse() @ ego_from_camera(name)
        assert abs(SPIN.offset_ns(lidar_from_camera) + SPIN.period_ns - camera_delay_us(name) * 1000) < 1000


def test_times_by_azimuth_are_those_of_the_columns(drive: Motion) -> None:
    cloud, _ = scanned(drive)
    first_column = cloud.times_ns == cloud.times_ns.min()  # on the seam
    off_ns = SPIN.times_ns(cloud.points, END_NS) - cloud.times_ns
    assert np.abs(off_ns[~first_column]).max() < 0.01 * MS


def test_sensors_rigidly_mounted_agree_with_a_standing_car() -> None:
    standing = driving(0.0)
    standing = Motion(standing.route, standing.times, np.full(4, 26.0), np.zeros(4))
    cloud, _ = scanned(standing)
    sharp = deskewed(cloud, END_NS, EGO_FROM_LIDAR, odometry(standing).world_from_ego_at)
    np.testing.assert_allclose(sharp.points, cloud.points, atol=1e-4)
    camera_from_lidar = odometry(standing).camera_from_lidar(Transform.identity(), END_NS, EGO_FROM_LIDAR, END_NS - MS)
    np.testing.assert_allclose(camera_from_lidar.matrix, EGO_FROM_LIDAR.matrix, atol=1e-6)
