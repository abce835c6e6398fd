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
    best = np.zeros(len(boxes))
    views: list[tuple[CameraImage, np.ndarray] | None] = [None] * len(boxes)
    shares, origins = np.zeros(len(boxes), np.float32), np.zeros((len(boxes), 2), np.float32)
    for camera in cameras.values():
        camera = rectified(camera)
        corners, share = _rectangles(boxes, camera)
        shown = share * np.sqrt(np.prod(np.clip(corners[:, 2:] - corners[:, :2], 1, None), axis=1))
        origin = camera.camera_from_lidar.inverse().translation
        for row in np.nonzero(shown > best)[0]:
            best[row], shares[row], views[row] = shown[row], share[row], (camera, corners[row])
            origins[row] = origin[:2]
    rows = np.array([row for row, view in enumerate(views) if view is not None], np.int64)
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    sides = np.zeros(len(rows), np.float32)
    for image, (place, row) in zip(images, enumerate(rows), strict=True):
        camera, rectangle = views[row]
        sides[place] = (rectangle[2:] - rectangle[:2]).max()
        _cut(camera.image, rectangle, margin, image)
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


def _cut(image: np.ndarray, rectangle: np.ndarray, margin: float, out: np.ndarray) -> None:
    """Scale the square around the rectangle into `out` (S, S, 3)."""
    height, width = image.shape[:2]
    size = len(out)
    side = (rectangle[2:] - rectangle[:2]).max() * (1 + 2 * margin)
    left, top = (rectangle[:2] + rectangle[2:]) / 2 - side / 2
    scale = size / side
    first = np.floor([max(left, 0), max(top, 0)]).astype(int)
    last = np.ceil([min(left + side, width), min(top + side, height)]).astype(int)
    x0, y0 = np.round((first - (left, top)) * scale).astype(int).clip(0, size - 1)
    x1, y1 = np.round((last - (left, top)) * scale).astype(int).clip(1, size)
    if x1 <= x0 or y1 <= y0 or (last <= first).any():
        return
    part = image[first[1] : last[1], first[0] : last[0]]
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out[y0:y1, x0:x1] = cv2.resize(part, (int(x1 - x0), int(y1 - y0)), interpolation=smaller)
