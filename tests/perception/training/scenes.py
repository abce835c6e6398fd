"""Truth made up for tests."""

from __future__ import annotations

import numpy as np

from perception.nuscenes import CLASS_NAMES as CLASSES
from perception.types import Boxes3D, Frame, PointCloud, Truth
from tests.tiny import tiny_frame

VEHICLES = ((4.6, 1.9, 1.7), (7.0, 2.5, 3.0), (6.5, 2.8, 3.2), (11.0, 2.9, 3.5), (12.0, 2.9, 3.9))
OTHERS = ((0.5, 2.5, 1.0), (2.1, 0.8, 1.5), (1.7, 0.6, 1.3), (0.8, 0.7, 1.8), (0.4, 0.4, 0.8))
SIZES = np.array([*VEHICLES, *OTHERS])  # m, length, width, height; one a class


def random_boxes(count: int, seed: int = 0, reach: float = 35.0, class_names: tuple[str, ...] = CLASSES) -> Boxes3D:
    """Boxes all over the map, of all classes in turn, every third without a known velocity."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(class_names)
    velocities = rng.uniform(-5, 5, (count, 2))
    velocities[::3] = np.nan
    centers = rng.uniform((-reach, -reach, -2), (reach, reach, 0), (count, 3))
    sizes = SIZES[labels] * rng.uniform(0.8, 1.2, (count, 3))
    return Boxes3D(centers, sizes, rng.uniform(-3.1, 3.1, count), velocities, np.ones(count), labels, class_names)


def scene(seed: int = 0, objects: int = 8, points_each: int = 30, **settings: object) -> Frame:
    """A frame with random points and, in each of its boxes, some more."""
    frame, boxes = tiny_frame(seed, **settings), random_boxes(objects, seed, reach=28.0)
    rng = np.random.default_rng(seed)
    inside = [frame.cloud.points]
    for center, size, yaw in zip(boxes.centers, boxes.sizes, boxes.yaws, strict=True):
        local = rng.uniform(-0.45, 0.45, (points_each, 3)) * size
        cos, sin = np.cos(yaw), np.sin(yaw)
        xyz = local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + center
        rest = np.column_stack([rng.uniform(0, 255, points_each), np.zeros(points_each)])
        inside.append(np.column_stack([xyz, rest]).astype(np.float32))
    counts = np.full(objects, points_each)
    cloud = PointCloud(np.concatenate(inside))
    truth = Truth(boxes, counts, np.zeros(objects, np.int64))
    return Frame(frame.stamp_ns, frame.token, frame.cameras, cloud, frame.ego_from_lidar, truth=truth)
