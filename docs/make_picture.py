"""Make docs/picture.png, the README's picture: a made-up street, seen by six made-up cameras and a made-up LiDAR.

    python docs/make_picture.py

No recorded data goes in. The street's images and points become a Frame like any other, "detections" are the truth
moved and turned a little at random, some left out and some added, and the project's own code draws it all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from made_up.camera import photograph
from made_up.lidar import EGO_FROM_LIDAR, scan
from made_up.street import street

from perception.nuscenes import CLASS_NAMES
from perception.outputs.pictures import draw_frame, write_png
from perception.types import Boxes3D, CameraImage, Frame, PointCloud, Truth

SEED = 7
STAMP_NS = 12_400_000_000
CAMERAS = (  # name, x, y, z [m] in the ego frame, direction [deg] to the left of forward, focal length [px]
    ("CAM_FRONT", 1.70, 0.0, 1.51, 0, 1260),
    ("CAM_FRONT_LEFT", 1.52, 0.49, 1.51, 55, 1260),
    ("CAM_FRONT_RIGHT", 1.55, -0.49, 1.50, -55, 1260),
    ("CAM_BACK", 0.03, 0.0, 1.57, 180, 805),
    ("CAM_BACK_LEFT", 1.03, 0.48, 1.56, 110, 1260),
    ("CAM_BACK_RIGHT", 1.01, -0.48, 1.56, -110, 1260),
)


def main() -> None:
    """Make the street, sense it, detect in it, draw it."""
    random = np.random.default_rng(SEED)
    made_up = street()
    cloud = scan(made_up.solids, random)
    cameras = {}
    for name, x, y, z, direction_deg, focal_length in CAMERAS:
        image, intrinsics, camera_from_ego = photograph(made_up, (x, y, z), direction_deg, focal_length)
        cameras[name] = CameraImage(image, STAMP_NS, intrinsics, camera_from_ego @ EGO_FROM_LIDAR)
    truth = seen_by(cloud, made_up.boxes.transformed(EGO_FROM_LIDAR.inverse(), "lidar"))
    frame = Frame(STAMP_NS, "a made-up street", cameras, cloud, EGO_FROM_LIDAR, truth=truth)
    write_png(Path(__file__).with_name("picture.png"), draw_frame(frame, detections(truth, random)))


def seen_by(cloud: PointCloud, boxes: Boxes3D) -> Truth:
    """The boxes with at least one point."""
    hits = boxes.contain(cloud.points).sum(axis=1)
    return Truth(boxes.select(hits > 0), hits[hits > 0], np.zeros_like(hits[hits > 0]))


def detections(truth: Truth, random: np.random.Generator) -> Boxes3D:
    """What a good detector might say: all but the least visible, not quite in place, and two things that aren't."""
    found = truth.boxes.select(np.argsort(-truth.lidar_points, kind="stable")[:-3])
    count = len(found)
    moved = replace(
        found,
        centers=found.centers + random.normal(0, 1, (count, 3)) * (0.03 + 0.02 * found.sizes) * (1, 1, 0.5),
        sizes=found.sizes * random.normal(1, 0.03, (count, 3)),
        yaws=found.yaws + np.radians(random.normal(0, 2, count)),
        velocities=found.velocities * random.normal(1, 0.08, (count, 1)),
        scores=np.sort(random.uniform(0.4, 0.95, count))[::-1],
    )
    return joined(moved, false_alarms())


def false_alarms() -> Boxes3D:
    """A bin taken for a pedestrian, and a hydrant for a traffic cone."""
    labels = np.array([CLASS_NAMES.index(name) for name in ("pedestrian", "traffic_cone")])
    sizes = np.array([(0.6, 0.6, 1.1), (0.4, 0.4, 0.8)])
    centers = np.array([(5.75, -7.85, 0.55), (8.6, 14.95, 0.4)])
    nothing, scores = np.zeros(2), np.array([0.42, 0.47])
    boxes = Boxes3D(centers, sizes, nothing, np.zeros((2, 2)), scores, labels, CLASS_NAMES, "ego")
    return boxes.transformed(EGO_FROM_LIDAR.inverse(), "lidar")


def joined(first: Boxes3D, second: Boxes3D) -> Boxes3D:
    """Both lots of boxes as one."""
    names = ("centers", "sizes", "yaws", "velocities", "scores", "labels")
    return replace(first, **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


if __name__ == "__main__":
    main()
