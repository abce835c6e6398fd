"""What the cameras see of boxes: for each box the part of the image that shows it best, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from perception.prepare import rectified
from perception.types import Boxes3D, CameraImage

NEAR = 0.2  # m: corners nearer to a camera's plane, or behind it, are projected from there
SEEN = 0.3  # of a box's rectangle that must lie in the image
LEAST = 4.0  # px, the shorter side of what is seen


@dataclass(frozen=True)
class Looks:
    """K views of boxes, of each box that a camera sees the best one."""

    rows: np.ndarray  # (K,) int64, ascending: the box
    images: np.ndarray  # (K, S, S, 3) uint8 RGB, square, the box in the middle; black beyond the image's edges
    pixels: np.ndarray  # (K,) float32, how long the box's rectangle is in the image [px]
    visible: np.ndarray  # (K,) float32, how much of the rectangle lies in the image, 0-1
    bearing: np.ndarray  # (K,) float32, azimuth of the line from camera to box in the boxes' frame [rad]
    origin: np.ndarray  # (K, 2) float32, where that camera is: x and y in the boxes' frame [m]


def looks_at(boxes: Boxes3D, cameras: Mapping[str, CameraImage], size: int, margin: float) -> Looks:
    """The best view of each of the boxes, in the lidar frame; `margin` is left around, as part of the box's side."""
    taken = [rectified(camera) for camera in cameras.values()]
    count = len(boxes)
    best, by = np.zeros(count), np.zeros(count, np.int64)
    shares, origins = np.zeros(count, np.float32), np.zeros((count, 2), np.float32)
    rectangles = np.zeros((count, 4))
    for number, camera in enumerate(taken):
        corners, share = _rectangles(boxes, camera)
        shown = share * np.sqrt(np.prod(np.clip(corners[:, 2:] - corners[:, :2], 1, None), axis=1))
        better = shown > best
        best[better], shares[better] = shown[better], share[better]
        rectangles[better], by[better] = corners[better], number
        origins[better] = camera.camera_from_lidar.inverse().translation[:2]
    rows = np.nonzero(best > 0)[0]
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    for number, camera in enumerate(taken):
        members = np.nonzero(by[rows] == number)[0]
        _cut(camera.image, rectangles[rows[members]], margin, images, members)
    sides = (rectangles[rows, 2:] - rectangles[rows, :2]).max(axis=1, initial=0.0).astype(np.float32)
    x, y = (boxes.centers[rows, :2] - origins[rows]).T
    return Looks(rows, images, sides, shares[rows], np.arctan2(y, x).astype(np.float32), origins[rows])


def _rectangles(boxes: Boxes3D, camera: CameraImage) -> tuple[np.ndarray, np.ndarray]:
    """Each box's rectangle, left, top, right, bottom (N, 4) [px], and how much of it the image shows; 0: unseen."""
    points = camera.camera_from_lidar.apply(boxes.corners().reshape(-1, 3)).reshape(-1, 8, 3)
    centers = points.mean(axis=1)
    points[..., 2] = np.maximum(points[..., 2], NEAR)
    pixels = camera.intrinsics.project(points.reshape(-1, 3)).reshape(-1, 8, 2)
    rectangles = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    height, width = camera.image.shape[:2]
    inside = np.clip(rectangles, 0, [width, height, width, height])
    sides = inside[:, 2:] - inside[:, :2]
    area = np.prod(rectangles[:, 2:] - rectangles[:, :2], axis=1)
    share = np.prod(sides, axis=1) / np.maximum(area, 1e-6)
    seen = (centers[:, 2] > NEAR) & (share >= SEEN) & (sides.min(axis=1) >= LEAST)
    return rectangles, np.where(seen, share, 0.0)


def _cut(image: np.ndarray, rectangles: np.ndarray, margin: float, out: np.ndarray, members: np.ndarray) -> None:
    """Scale the squares around the rectangles (K, 4) into the `members` (K,) of `out` (N, S, S, 3)."""
    size, limits = out.shape[1], np.array(image.shape[1::-1])
    sides = (rectangles[:, 2:] - rectangles[:, :2]).max(axis=1, keepdims=True, initial=0.0) * (1 + 2 * margin)
    corners = (rectangles[:, :2] + rectangles[:, 2:]) / 2 - sides / 2  # left, top
    scales = size / sides
    first = np.floor(np.maximum(corners, 0)).astype(int)  # of the image: column, row
    last = np.ceil(np.minimum(corners + sides, limits)).astype(int)
    start = np.round((first - corners) * scales).astype(int).clip(0, size - 1)  # of the view
    end = np.round((last - corners) * scales).astype(int).clip(1, size)
    there = ((end > start) & (last > first)).all(axis=1)
    numbers = np.concatenate([first, last, start, end], axis=1)
    for member, (left, top, right, bottom, x0, y0, x1, y1), smaller in zip(
        members[there].tolist(), numbers[there].tolist(), (scales[there, 0] < 1).tolist(), strict=True
    ):
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        out[member, y0:y1, x0:x1] = cv2.resize(image[top:bottom, left:right], (x1 - x0, y1 - y0), interpolation=how)
