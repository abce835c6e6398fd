"""The scene from above: points, boxes, range rings and the vehicle, in the lidar frame with forward up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.transform import Transform
from perception.outputs.drawing.colours import EGO, FAINT, MUTED, PANEL, TRUTH, class_colours
from perception.outputs.drawing.lettering import Text, line_height, text_width, write
from perception.outputs.drawing.strokes import arrow, draw_circle, draw_points, draw_segments, fill_polygon
from perception.types import Boxes3D

REACH = 54.0  # [m] from the middle to each side of the panel
RINGS = (10, 20, 30, 40, 50)  # [m]
HEIGHTS = (-1.0, 3.0)  # [m] above the ground, over which points go from dim to bright
DIM, BRIGHT = np.array((52, 66, 84)), np.array((196, 208, 220))  # neutral: colour is left to the boxes
ARROW_S = 1.0  # a velocity arrow goes as far as the object in this time [s]
SLOWEST = 0.5  # [m/s] with an arrow: below it the direction is noise
# [px] the least that is drawn: around something small, truth is a frame that leaves the detection's colour visible.
DETECTION_SIZE, TRUTH_SIZE = 3, 8
# About a family car around its rear axle, the ego frame's origin: rear, front, right and left end [m].
EGO_FOOTPRINT = (-1.0, 3.4, -0.95, 0.95)


@dataclass(frozen=True)
class BirdView:
    """Where the lidar frame's x-y plane lies on a square panel."""

    side: int  # [px]
    up_lidar: np.ndarray  # (2,) the direction in the lidar frame's x-y plane that points up

    @staticmethod
    def of(side: int, ego_from_lidar: Transform) -> BirdView:
        """The view in which the vehicle drives up, turned by whole quarters so that the lidar's axes stay upright."""
        forward = ego_from_lidar.rotation[0, :2]  # the ego frame's x axis in the lidar frame
        axis = np.argmax(np.abs(forward))
        return BirdView(side, np.sign(forward[axis]) * np.eye(2)[axis])

    @property
    def scale(self) -> float:
        """Pixels a metre."""
        return self.side / (2 * REACH)

    def pixels(self, points_lidar: np.ndarray) -> np.ndarray:
        """Points (..., >= 2) [m] in the lidar frame -> (..., 2) [px]."""
        right = np.array([self.up_lidar[1], -self.up_lidar[0]])
        across, ahead = points_lidar[..., :2] @ right, points_lidar[..., :2] @ self.up_lidar
        return np.stack([across, -ahead], axis=-1) * self.scale + (self.side - 1) / 2


def draw_bird_view(
    side: int,  # width and height of the panel [px]
    points_lidar: np.ndarray,  # (N, >= 3) [m]
    detections: Boxes3D,  # in the lidar frame
    truth: Boxes3D | None,  # in the lidar frame
    ego_from_lidar: Transform,
) -> np.ndarray:
    """A panel (side, side, 3) uint8, about 54 m to each side of the sensor."""
    view = BirdView.of(side, ego_from_lidar)
    panel = np.full((side, side, 3), PANEL, np.uint8)
    rings = _draw_rings(panel, view)
    _draw_points(panel, points_lidar, view, ego_from_lidar)
    _draw_ego(panel, view, ego_from_lidar)
    _draw_detections(panel, detections, view)
    if truth is not None:
        footprints, _ = _outlines(truth, view, TRUTH_SIZE)
        draw_segments(panel, footprints.reshape(-1, 2, 2), TRUTH)
    remark = [] if len(points_lidar) else [Text(8, 6, "no LiDAR points", 13, MUTED)]
    return write(panel, rings + _draw_axes(panel, view) + remark)


def _draw_rings(panel: np.ndarray, view: BirdView) -> list[Text]:
    """Range rings; their labels, halfway between right and down, clear of the road ahead."""
    centre = view.pixels(np.zeros(2))
    labels = []
    for radius in RINGS:
        draw_circle(panel, centre, radius * view.scale, FAINT)
        u, v = centre + radius * view.scale * np.sqrt(0.5)
        label = Text(u, v, f"{radius} m", 11, MUTED, (*PANEL, 200))
        labels.append(replace(label, left=u - label.width / 2, top=v - label.height / 2))
    return labels


def _draw_points(panel: np.ndarray, points_lidar: np.ndarray, view: BirdView, ego_from_lidar: Transform) -> None:
    """Dot the points, high ones bright and on top."""
    heights = ego_from_lidar.apply(points_lidar[:, :3])[:, 2]
    order = np.argsort(heights)
    low, high = HEIGHTS
    level = np.clip((heights[order] - low) / (high - low), 0, 1)[:, None]
    colours = (DIM + level * (BRIGHT - DIM)).astype(np.uint8)
    draw_points(panel, view.pixels(points_lidar[order]), colours, size=1)


def _draw_ego(panel: np.ndarray, view: BirdView, ego_from_lidar: Transform) -> None:
    """The vehicle's outline, with an arrow head that points where it drives."""
    rear, front, right, left = EGO_FOOTPRINT
    hull = np.array([(front, left), (rear, left), (rear, right), (front, right)])
    head = np.array([(front - 0.5, 0), (front - 2.2, left - 0.2), (front - 2.2, right + 0.2)])
    for shape, opacity in ((hull, 0.35), (head, 1.0)):
        corners = np.concatenate([shape, np.zeros((len(shape), 1))], axis=1)
        fill_polygon(panel, view.pixels(ego_from_lidar.inverse().apply(corners)), EGO, opacity)


def _draw_detections(panel: np.ndarray, boxes: Boxes3D, view: BirdView) -> None:
    colours = class_colours(boxes.class_names)
    footprints, noses = _outlines(boxes, view, DETECTION_SIZE)
    moving = np.nan_to_num(np.linalg.norm(boxes.velocities, axis=1)) > SLOWEST
    tips = view.pixels(boxes.centers[:, :2] + ARROW_S * boxes.velocities)
    for row, label in enumerate(boxes.labels):
        fill_polygon(panel, footprints[row, :, 0], colours[label], 0.45)
        draw_segments(panel, np.concatenate([footprints[row], noses[row][None]]), colours[label], 2)
        if moving[row]:
            draw_segments(panel, arrow(noses[row, 0], tips[row]), colours[label])


def _outlines(boxes: Boxes3D, view: BirdView, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Footprints (N, 4, 2, 2) as four segments, and noses (N, 2, 2) from the centre to the middle of the front.

    None is shorter or narrower than `least` [px], or a pedestrian would be a speck.
    """
    corners = view.pixels(replace(boxes, sizes=np.maximum(boxes.sizes, least / view.scale)).corners()[:, :4])
    noses = np.stack([corners.mean(axis=1), (corners[:, 0] + corners[:, 3]) / 2], axis=1)
    return np.stack([corners, np.roll(corners, -1, axis=1)], axis=2), noses


def _draw_axes(panel: np.ndarray, view: BirdView) -> list[Text]:
    """The lidar frame's x and y axes, small, in the corner at the bottom left."""
    origin = np.array([34.0, view.side - 34.0])
    names = []
    for name, axis in zip("xy", np.eye(2), strict=True):
        direction = (view.pixels(axis) - view.pixels(np.zeros(2))) / view.scale
        draw_segments(panel, arrow(origin, origin + 22 * direction), MUTED)
        u, v = origin + 29 * direction
        names.append(Text(u - text_width(name, 12) / 2, v - line_height(12) / 2, name, 12, MUTED))
    return [*names, Text(8, view.side - line_height(11) - 4, "lidar frame", 11, MUTED)]
