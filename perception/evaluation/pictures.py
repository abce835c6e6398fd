"""Pictures of mistakes: the part of a camera's image around one, and the scene from above."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.evaluation.misses import Mistake, WorkingPoint
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth
from perception.outputs.drawing.bird_view import BirdView, draw_bird_view
from perception.outputs.drawing.camera_tile import draw_camera
from perception.outputs.drawing.colours import WARNING
from perception.outputs.drawing.strokes import draw_circle, draw_segments
from perception.sources import FrameOptions
from perception.sources.nuscenes import Source
from perception.types import Boxes3D, CameraImage, Frame

TILE = (480, 360)  # px, width and height
AROUND = 4.0  # a camera's part is as many times as large as the object in it
BIRD_SIDE, BIRD_PART = 1404, 360  # px, of the whole view (13 a metre) and of what is shown of it
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A mistake to look at, as `data:` addresses of images."""

    mistake: Mistake
    token: str  # of the sample
    camera: str  # name of the camera, "" where no image shows it
    views: tuple[str, ...]


def draw_mistakes(
    mistakes: Sequence[Mistake], scores: Scores, truth: Truth, points: Mapping[str, WorkingPoint]
) -> Iterator[Picture]:
    """Each mistake's picture, with the detections at their classes' working points or above.

    Images and clouds that aren't there are left out of it.
    """
    tokens = list(dict.fromkeys(truth.tokens[mistake.sample] for mistake in mistakes))
    if not tokens:
        return
    options = FrameOptions(sweeps=0, allow_missing=True)
    source = Source(truth.folder.parent, options, version=truth.folder.name, tokens=tokens)
    for token in tokens:  # one frame at a time is in memory
        frame = source.frame(token)
        for mistake in mistakes:
            if truth.tokens[mistake.sample] == token:
                yield _picture(mistake, frame, scores, points)


def _picture(mistake: Mistake, frame: Frame, scores: Scores, points: Mapping[str, WorkingPoint]) -> Picture:
    lidar_from_world = (frame.world_from_ego @ frame.ego_from_lidar).inverse()
    target = (scores.objects if mistake.missed else scores.predictions).boxes.select([mistake.row])
    target = target.transformed(lidar_from_world, "lidar")
    shown = detections_at(mistake.sample, scores, points, lidar_from_world)
    cloud = frame.cloud.points if frame.cloud is not None else np.zeros((0, 5), np.float32)
    truth = frame.truth.boxes if frame.truth is not None else None
    views = []
    camera = _best_camera(frame, target)
    if camera:
        part = _part(frame.cameras[camera], target)
        tile = draw_camera(camera, part, cloud, shown, truth, TILE, frame.stamp_ns)
        views.append(jpeg_address(_marked(tile, part, target)))
    views.append(jpeg_address(_from_above(frame, cloud, shown, truth, target)))
    return Picture(mistake, frame.token, camera, tuple(views))


def detections_at(
    sample: int, scores: Scores, points: Mapping[str, WorkingPoint], lidar_from_world: Transform
) -> Boxes3D:
    """A sample's detections at their classes' working points or above, in the lidar frame."""
    boxes = scores.predictions.boxes.select(scores.predictions.samples == sample)
    least = np.array([points[name].score for name in boxes.class_names])
    return boxes.select(boxes.scores >= least[boxes.labels]).transformed(lidar_from_world, "lidar")


def _best_camera(frame: Frame, target: Boxes3D) -> str:
    """The camera whose image has the box's centre nearest to its middle; "" for none."""
    found = {}
    for name, camera in frame.cameras.items():
        center = camera.camera_from_lidar.apply(target.centers)
        pixel = camera.intrinsics.project(center)
        if center[0, 2] > 0 and camera.intrinsics.in_image(pixel)[0]:
            found[name] = abs(pixel[0, 0] / camera.intrinsics.width - 0.5)
    return min(found, key=found.get, default="")


def _outline(camera: CameraImage, target: Boxes3D) -> np.ndarray:
    """Left, top, right, bottom [px] of a box whose centre is in the image; what lies behind the camera is left out."""
    corners = camera.camera_from_lidar.apply(np.concatenate([target.corners()[0], target.centers]))
    pixels = camera.intrinsics.project(corners[corners[:, 2] > 0.1])
    size = (camera.intrinsics.width - 1, camera.intrinsics.height - 1)
    pixels = np.clip(pixels[np.isfinite(pixels).all(axis=1)], 0, size)
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def _part(camera: CameraImage, target: Boxes3D) -> CameraImage:
    """The image cut to a box and its surroundings, in the shape of a tile where the image is large enough."""
    left, top, right, bottom = _outline(camera, target)
    whole = np.array([camera.intrinsics.width, camera.intrinsics.height])
    shape = np.array(TILE) / TILE[1]
    height = np.clip(AROUND * max(bottom - top, (right - left) / shape[0]), whole[1] / 5, whole[1])
    size = np.minimum(np.round(height * shape), whole).astype(int)
    corner = np.clip(np.round(np.array([left + right, top + bottom]) / 2 - size / 2), 0, whole - size).astype(int)
    image = np.ascontiguousarray(camera.image[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]])
    return replace(camera, image=image, intrinsics=camera.intrinsics.cropped(*corner.tolist(), *size.tolist()))


def _marked(tile: np.ndarray, part: CameraImage, target: Boxes3D) -> np.ndarray:
    """The tile with a frame around the object in question."""
    whole = part.intrinsics
    scale = min(TILE[0] / whole.width, TILE[1] / whole.height)
    border = (np.array(TILE) - np.round(scale * np.array([whole.width, whole.height]))) / 2
    left, top, right, bottom = _outline(part, target) * scale + np.tile(border, 2) + np.array([-6, -6, 6, 6])
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    tile = tile.copy()
    draw_segments(tile, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), WARNING, 2, casing=True)
    return tile


def _from_above(frame: Frame, cloud: np.ndarray, shown: Boxes3D, truth: Boxes3D | None, target: Boxes3D) -> np.ndarray:
    panel = draw_bird_view(BIRD_SIDE, cloud, shown, truth, frame.ego_from_lidar).copy()
    view = BirdView.of(BIRD_SIDE, frame.ego_from_lidar)
    middle = view.pixels(target.centers)[0]
    radius = max(target.sizes[0, :2].max() * view.scale * 0.7, 12)
    draw_circle(panel, middle, radius, WARNING, 2)
    left, top = np.clip(np.round(middle - BIRD_PART / 2), 0, BIRD_SIDE - BIRD_PART).astype(int)
    return panel[top : top + BIRD_PART, left : left + BIRD_PART]


def jpeg_address(image: np.ndarray) -> str:
    """An image (H, W, 3) uint8 RGB as a `data:` address."""
    good, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not good:
        raise InputError("picture", "an image that can be written as JPEG", f"{image.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
