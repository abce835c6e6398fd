"""How far away is what each pixel shows: from the LiDAR's returns, the ground plane, and the image's edges."""

from __future__ import annotations

import cv2
import numpy as np

from calibration.camera import Intrinsics
from perception.robustness.physics.light import LUMA
from perception.types import CameraImage, Frame

SKY_M = 300.0  # what nothing is known of, above the horizon
WIDTH = 240  # px of the coarse map: a beam of 32 is 4 of them below the next one
REACH_PX = 7  # coarse pixels that a return fills around itself
TOP_DEG = 8.0  # returns from this high up belong to something that goes on above the LiDAR's view: houses, trees
OWN_CAR_M = 2.5  # nearer returns are from the own car


def depth_map(frame: Frame, camera: CameraImage) -> np.ndarray:
    """Distance along the ray of each pixel (H, W) float32 [m].

    Nearest returns fill their surroundings, columns go on upwards from a return that is near the top of the LiDAR's
    view, and the rest is the plane of the ground (z = 0 of the ego frame) or sky. A guided filter (He et al., TPAMI
    2013) moves edges to where the image has them.
    """
    whole = camera.intrinsics
    small = whole.resized(WIDTH, max(1, round(WIDTH * whole.height / whole.width)))
    grid = np.stack(np.meshgrid(np.arange(small.width), np.arange(small.height)), axis=-1)
    lidar_from_camera = camera.camera_from_lidar.inverse()
    rays = (frame.ego_from_lidar @ lidar_from_camera).rotate(np.nan_to_num(small.unproject(grid)))
    height = (frame.ego_from_lidar @ lidar_from_camera).translation[2]
    depth = _ground(rays[..., 2], height)
    if frame.cloud is not None and len(frame.cloud.points):
        _fill(depth, frame, camera, small)
    guide = cv2.resize(camera.image, (small.width, small.height), interpolation=cv2.INTER_AREA)
    inverse = _guided(1 / depth, guide.astype(np.float32) @ LUMA / 255)  # near edges matter most
    fine = cv2.resize(inverse, (whole.width, whole.height), interpolation=cv2.INTER_LINEAR)
    return 1 / np.clip(fine, 1 / SKY_M, 1.0)


def _ground(downward: np.ndarray, height: float) -> np.ndarray:
    """Distance to the plane along rays whose z (...) is given, from `height` above it."""
    with np.errstate(divide="ignore"):
        distance = np.where(downward < 0, -max(height, 0.1) / np.minimum(downward, -1e-9), SKY_M)
    return np.clip(distance, 1.0, SKY_M).astype(np.float32)


def _fill(depth: np.ndarray, frame: Frame, camera: CameraImage, small: Intrinsics) -> None:
    points = frame.cloud.points[frame.cloud.points[:, 4] < 0.06, :3]  # older sweeps smear what moves
    distances = np.linalg.norm(points, axis=1)
    elevations = np.degrees(np.arcsin(np.clip(points[:, 2] / np.maximum(distances, 1e-6), -1, 1)))
    seen = camera.camera_from_lidar.apply(points)
    pixels = small.project(seen)
    rows = np.flatnonzero(small.in_image(pixels) & (distances > OWN_CAR_M))
    if not len(rows):
        return
    rows = rows[np.argsort(-np.linalg.norm(seen[rows], axis=1))]  # near ones last
    u, v = np.round(pixels[rows]).astype(int).T
    sparse = np.zeros(depth.shape, np.float32)
    sparse[v, u] = np.linalg.norm(seen[rows], axis=1)
    high = np.zeros(depth.shape, bool)
    high[v, u] = elevations[rows] > TOP_DEG
    away, labels = cv2.distanceTransformWithLabels(
        (sparse == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = sparse > 0
    of_label = np.zeros(labels.max() + 1, np.float32)
    of_label[labels[known]] = sparse[known]
    np.copyto(depth, of_label[labels], where=away <= REACH_PX)
    for column in np.flatnonzero(high.any(axis=0)):
        top = int(np.argmax(high[:, column]))
        depth[:top, max(0, column - 2) : column + 3] = sparse[top, column]


def _guided(values: np.ndarray, guide: np.ndarray, radius: int = 6, strength: float = 2e-3) -> np.ndarray:
    """The guided filter: locally a linear function of the guide."""

    def mean(array: np.ndarray) -> np.ndarray:
        return cv2.blur(array.astype(np.float32), (2 * radius + 1, 2 * radius + 1))

    middle, level = mean(guide), mean(values)
    slope = (mean(guide * values) - middle * level) / (mean(guide * guide) - middle**2 + strength)
    return mean(slope) * guide + mean(level - slope * middle)
