"""The sensors of the nuScenes car: where they sit, and when in a turn of the LiDAR each camera fires."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.transform import Transform
from perception.nuscenes import CAMERAS, LIDAR
from perception.simulation.agents import Motion

SWEEP_US = 50_000  # 20 Hz
KEYFRAME_SWEEPS = 10  # 2 Hz
CAMERA_SWEEPS = (0, 1, 3, 5, 6, 8)  # of ten, those in which cameras fire: 12 Hz
COLUMNS, RINGS = 1084, 32
ELEVATIONS_DEG = np.linspace(-30.67, 10.67, RINGS)  # lowest first, as nuScenes numbers rings
FIRST_AZIMUTH_DEG = 194.9  # in the lidar's frame, x right, y forward; the sweep turns clockwise
FOCAL_PX, BACK_FOCAL_PX, REAL_WIDTH_PX = 1266.0, 809.0, 1600  # of the real cameras' images

MOUNTS = {  # x, y, z [m] in the ego frame, and the yaw of the optical axis [deg]
    "CAM_FRONT": (1.70, 0.02, 1.51, 0.3),
    "CAM_FRONT_RIGHT": (1.55, -0.49, 1.50, -56.4),
    "CAM_FRONT_LEFT": (1.52, 0.49, 1.51, 55.2),
    "CAM_BACK": (0.03, 0.00, 1.58, 179.9),
    "CAM_BACK_LEFT": (1.04, 0.48, 1.59, 108.6),
    "CAM_BACK_RIGHT": (1.01, -0.48, 1.56, -110.8),
}
EGO_FROM_LIDAR = Transform(Rotation.from_euler("ZYX", [-89.88, 0.3, 1.4], degrees=True).as_matrix(), (0.94, 0.0, 1.84))
SENSORS = (*CAMERAS, LIDAR)


@dataclass(frozen=True)
class Lens:
    """A pinhole camera's numbers, in pixels."""

    width: int
    height: int
    focal: float
    cx: float
    cy: float

    @property
    def matrix(self) -> np.ndarray:
        return np.array([[self.focal, 0, self.cx], [0, self.focal, self.cy], [0, 0, 1]])

    @property
    def sides(self) -> np.ndarray:
        """Vectors (4, 3) in the camera frame square to the sides of what it sees, pointing inwards."""
        left, top = self.cx + 0.5, self.cy + 0.5
        right, bottom = self.width - left, self.height - top
        return np.array(
            [(self.focal, 0, left), (-self.focal, 0, right), (0, self.focal, top), (0, -self.focal, bottom)]
        )

    def directions(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Unit rays (..., 3) in the camera frame through image points; pixel centres have whole coordinates."""
        x, y = (u - self.cx) / self.focal, (v - self.cy) / self.focal
        length = np.sqrt(x * x + y * y + 1)
        return np.stack([x / length, y / length, 1 / length], axis=-1)


@lru_cache(maxsize=2)  # the cameras have two kinds of lenses
def pixel_directions(optics: Lens) -> np.ndarray:
    """Unit rays (H * W, 3) in the camera frame through all pixels' centres."""
    v, u = np.mgrid[: optics.height, : optics.width].astype(np.float64)
    return optics.directions(u.ravel(), v.ravel())


def lens(camera: str, size: tuple[int, int]) -> Lens:
    """A camera's numbers at an image size: as wide a view as the real one's, centred a bit below the middle."""
    width, height = size
    focal = (BACK_FOCAL_PX if camera == "CAM_BACK" else FOCAL_PX) * width / REAL_WIDTH_PX
    return Lens(width, height, focal, 0.51 * width - 0.5, 0.545 * height - 0.5)


def ego_from_camera(camera: str) -> Transform:
    """Where a camera sits: x right, y down, z forward."""
    x, y, z, yaw = MOUNTS[camera]
    forward_from_camera = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    turn = Rotation.from_euler("ZYX", [yaw, 0.4, 0.2], degrees=True).as_matrix()
    return Transform(turn @ forward_from_camera, (x, y, z))


def ego_from_sensor(sensor: str) -> Transform:
    """Of a camera or the LiDAR."""
    return EGO_FROM_LIDAR if sensor == LIDAR else ego_from_camera(sensor)


def azimuth_deg(column: np.ndarray | float) -> np.ndarray | float:
    """Where the LiDAR looks, in its own frame, when it fires a column."""
    return FIRST_AZIMUTH_DEG - 360.0 * column / COLUMNS


def camera_delay_us(camera: str) -> int:
    """How long after a sweep's begin it passes a camera's centre, which is when that camera fires."""
    forward_lidar = EGO_FROM_LIDAR.inverse().rotate(ego_from_camera(camera).rotation[:, 2])
    azimuth = np.degrees(np.arctan2(forward_lidar[1], forward_lidar[0]))
    return round(float((FIRST_AZIMUTH_DEG - azimuth) % 360 / 360) * SWEEP_US)


def ego_poses(motion: Motion, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`city_from_ego` at N times [s] -> rotations (N, 3, 3), translations (N, 3).

    The body dives when it brakes, leans in bends, and shakes a little on the road.
    """
    times = np.atleast_1d(np.asarray(times, float))
    x, y, yaw = motion.poses(times).T
    pace = np.interp(times, motion.times, motion.speeds)
    turning = (motion.poses(times + 0.1)[:, 2] - motion.poses(times - 0.1)[:, 2]) / 0.2
    shake = 0.002 * np.minimum(pace / 5, 1)
    pitch = -0.006 * motion.acceleration(times) + shake * (np.sin(7.1 * times) + 0.6 * np.sin(17.3 * times + 1))
    roll = 0.005 * pace * turning + shake * np.sin(5.3 * times + 2)
    rotations = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], axis=1)).as_matrix()
    return rotations, np.stack([x, y, 0.01 * np.sin(6.1 * times) * np.minimum(pace / 5, 1)], axis=1)


def ego_pose(motion: Motion, time: float) -> Transform:
    """`city_from_ego` at one time."""
    rotations, translations = ego_poses(motion, np.array([time]))
    return Transform(rotations[0], translations[0])
