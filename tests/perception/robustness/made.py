"""A street corner that can be computed: textured images, and a LiDAR of 32 beams that sees ground and a round wall."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.nuscenes import CAMERAS
from perception.robustness.physics.pulses import BEAMS, HIGHEST_DEG, LOWEST_DEG
from perception.types import CameraImage, Frame, PointCloud

STAMP_NS = 1_600_000_000_000_000_000
SPEED_M_S = 10.0
HEIGHT_M, WALL_M, COLUMNS = 1.8, 70.0, 240
SIZE = (160, 90)  # px
EGO_FROM_LIDAR = Transform(Rotation.from_euler("z", -90, degrees=True).as_matrix(), (0.9, 0, HEIGHT_M))
YAWS_DEG = dict(zip(CAMERAS, (0, -55, 55, 180, 110, -110), strict=True))


class Driving:
    """A history: the car drives straight on at 10 m/s, and older images are the clean ones, shifted."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def image(self, frame: Frame, camera: str, stamp_ns: int) -> CameraImage | None:
        known = self._frame.cameras.get(camera)
        if known is None:
            return None
        return replace(known, image=np.roll(known.image, 20, axis=1), stamp_ns=stamp_ns)

    def world_from_ego(self, frame: Frame, stamp_ns: int) -> Transform:
        return world_from_ego(stamp_ns)


def world_from_ego(stamp_ns: int) -> Transform:
    return Transform(np.eye(3), (SPEED_M_S * (stamp_ns - STAMP_NS) / 1e9, 0, 0))


def made_frame(token: str = "a", sweeps: int = 1) -> Frame:
    """A frame with six cameras and a cloud of the newest turn and `sweeps` before it."""
    cameras = {name: _camera(number, YAWS_DEG[name]) for number, name in enumerate(CAMERAS)}
    parts = [sweep_points(0.05 * number) for number in range(1 + sweeps)]
    cloud = PointCloud(np.concatenate(parts).astype(np.float32))
    return Frame(STAMP_NS, token, cameras, cloud, EGO_FROM_LIDAR, world_from_ego(STAMP_NS))


def sweep_points(age_s: float) -> np.ndarray:
    """One turn (N, 5), taken this long before the frame and moved to it."""
    elevations = np.radians(np.linspace(LOWEST_DEG, HIGHEST_DEG, BEAMS))[:, None]
    azimuths = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)[None]
    slope = np.sin(elevations)
    distance = np.where(slope < 0, np.minimum(HEIGHT_M / np.maximum(-slope, 1e-6), WALL_M), WALL_M)
    flat = distance * np.cos(elevations)
    x, y, z = np.broadcast_arrays(flat * np.cos(azimuths), flat * np.sin(azimuths), distance * slope)
    xyz = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    xyz[:, 1] -= SPEED_M_S * age_s  # the lidar's y axis looks ahead
    return np.column_stack([xyz, np.full(len(xyz), 30.0), np.full(len(xyz), age_s)])


def _camera(number: int, yaw_deg: float) -> CameraImage:
    width, height = SIZE
    noise = np.random.default_rng(number).random((height // 3, width // 3, 3)).astype(np.float32)
    image = np.clip(cv2.resize(noise, SIZE) * 200 + 20, 0, 255).astype(np.uint8)
    image[: height // 3] = (150, 180, 220)  # sky
    ego_from_forward = Rotation.from_euler("z", yaw_deg, degrees=True)
    forward_from_camera = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    ego_from_camera = Transform((ego_from_forward * forward_from_camera).as_matrix(), (1.5, 0, 1.5))
    intrinsics = Intrinsics(width, height, 127.0, 127.0, width / 2 - 0.5, height / 2 - 0.5)
    return CameraImage(image, STAMP_NS - 20_000_000, intrinsics, ego_from_camera.inverse() @ EGO_FROM_LIDAR)
