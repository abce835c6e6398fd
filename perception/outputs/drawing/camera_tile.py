"""One camera image with LiDAR points and boxes projected into it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from calibration.camera import Intrinsics
from perception.outputs.drawing.box_edges import FRONT, box_edges, corner_stubs, project_edges
from perception.outputs.drawing.colours import FAINT, INK, MUTED, PANEL, TRUTH, class_colours, ramp
from perception.outputs.drawing.lettering import Text, fitted, place, text_width, write
from perception.outputs.drawing.strokes import clip_segments, draw_points, draw_segments, fill_polygon
from perception.types import Boxes3D, CameraImage

DEPTH_RANGE = (2.0, 60.0)  # [m] over which the points' colour changes, evenly in the logarithm
MOST_POINTS = 3000  # a tile with more is paint, not dots
BRACKET = 0.22  # how much of each edge, from each corner, is drawn of an annotated box
SMALL = 24  # [px] a box that is less high gets thin strokes, one of less than half of it no label
LABEL_PLATE = (12, 14, 18, 190)
SHORT_NAMES = {
    "construction_vehicle": "constr",
    "motorcycle": "moto",
    "bicycle": "bike",
    "pedestrian": "ped",
    "traffic_cone": "cone",
}


def draw_camera(
    name: str,
    camera: CameraImage,
    points_lidar: np.ndarray,  # (N, >= 3) [m]
    detections: Boxes3D,  # in the lidar frame
    truth: Boxes3D | None,  # in the lidar frame
    size: tuple[int, int],  # width and height of the tile [px]
    frame_stamp_ns: int,  # the tile says how much earlier or later its image is
) -> np.ndarray:
    """A tile (height, width, 3) uint8: the whole image, as large as fits, with what was measured and detected in it."""
    picture, intrinsics = _fitted_image(camera, size)
    _draw_depths(picture, camera.camera_from_lidar.apply(points_lidar[:, :3]), intrinsics)
    order = np.argsort(-camera.camera_from_lidar.apply(detections.centers)[:, 2])
    detections = detections.select(order)  # far ones first, so that near ones lie on top
    edges = project_edges(camera.camera_from_lidar.apply(box_edges(detections)), intrinsics)
    fronts = intrinsics.project(camera.camera_from_lidar.apply(detections.corners()[:, FRONT]))
    _draw_detections(picture, detections, edges, fronts)
    if truth is not None:
        _draw_truth(picture, truth, camera, intrinsics)
    title = _title(name, f"{(camera.stamp_ns - frame_stamp_ns) / 1e6:+.0f} ms", intrinsics.width)
    labels = _labels(detections, edges, [text.rectangle for text in title], intrinsics)
    return _centred(write(picture, labels + title), size)


def draw_missing(name: str, size: tuple[int, int]) -> np.ndarray:
    """A dark tile that says that this camera has no image."""
    tile = np.full((size[1], size[0], 3), PANEL, np.uint8)
    cv2.rectangle(tile, (0, 0), (size[0] - 1, size[1] - 1), FAINT, 1)
    string = fitted(f"{name}: no image", 15, size[0])
    return write(tile, [Text((size[0] - text_width(string, 15)) / 2, size[1] / 2 - 10, string, 15, MUTED)])


def _fitted_image(camera: CameraImage, size: tuple[int, int]) -> tuple[np.ndarray, Intrinsics]:
    whole = camera.intrinsics
    scale = min(size[0] / whole.width, size[1] / whole.height)
    intrinsics = whole.resized(max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(camera.image, (intrinsics.width, intrinsics.height), interpolation=method), intrinsics


def _draw_depths(picture: np.ndarray, points_camera: np.ndarray, intrinsics: Intrinsics) -> None:
    """Dot points into the picture, coloured by distance, near ones on top."""
    pixels = intrinsics.project(points_camera)
    seen = np.flatnonzero(intrinsics.in_image(pixels))
    seen = seen[:: max(1, -(-len(seen) // MOST_POINTS))]
    distances = np.linalg.norm(points_camera[seen], axis=-1)
    order = np.argsort(-distances)
    draw_points(picture, pixels[seen][order], depth_colours(distances[order]))


def depth_colours(distances: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of points at these distances (N,) [m]: light is near, dark is far, even in the logarithm."""
    near, far = DEPTH_RANGE
    return ramp(np.log(np.maximum(distances, near)), np.log(far), np.log(near))


def _draw_detections(picture: np.ndarray, detections: Boxes3D, edges: np.ndarray, fronts: np.ndarray) -> None:
    """Whole boxes in their class's colour, the face that looks along the heading tinted."""
    colours = class_colours(detections.class_names)
    for label, segments, front in zip(detections.labels, edges, fronts, strict=True):
        fill_polygon(picture, front, colours[label], 0.3)
        small = np.ptp(segments[..., 1]) < SMALL  # not so if a part can't be imaged
        draw_segments(picture, segments, colours[label], thickness=1 if small else 2, casing=not small)


def _draw_truth(picture: np.ndarray, truth: Boxes3D, camera: CameraImage, intrinsics: Intrinsics) -> None:
    """Only the corners, so that what lies beneath keeps its colour."""
    edges = camera.camera_from_lidar.apply(box_edges(truth))
    segments = project_edges(corner_stubs(edges[:, :12], BRACKET), intrinsics)
    draw_segments(picture, segments.reshape(-1, 2, 2), TRUTH)


def _labels(boxes: Boxes3D, edges: np.ndarray, taken: list, intrinsics: Intrinsics) -> list[Text]:
    """Class and score beside each box that shows, the nearest first, as long as there is room."""
    colours = class_colours(boxes.class_names)
    texts, anchors = [], []
    for row in reversed(range(len(boxes))):  # they come far ones first
        shown = clip_segments(edges[row], intrinsics.width, intrinsics.height, margin=0).reshape(-1, 2)
        if len(shown) and np.ptp(shown[:, 1]) >= SMALL / 2:
            name = boxes.class_names[boxes.labels[row]]
            string = f"{SHORT_NAMES.get(name, name)} {boxes.scores[row]:.2f}".replace(" 0.", " .")
            texts.append(Text(0, 0, string, 11, colours[boxes.labels[row]], LABEL_PLATE))
            anchors.append((*shown.min(axis=0), *shown.max(axis=0)))
    return place(texts, np.array(anchors).reshape(-1, 4), taken, intrinsics.width, intrinsics.height)


def _title(name: str, caption: str, width: int) -> list[Text]:
    left = Text(4, 4, fitted(name, 12, width - 14), 12, INK, LABEL_PLATE)
    right = Text(0, 4, caption, 12, MUTED, LABEL_PLATE)
    if left.rectangle[2] + right.width + 8 > width:
        return [left]
    return [left, replace(right, left=width - 4 - right.width)]


def _centred(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    tile = np.full((size[1], size[0], 3), PANEL, np.uint8)
    height, width = picture.shape[:2]
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    tile[top : top + height, left : left + width] = picture
    return tile
