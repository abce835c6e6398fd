"""What corruptions look like: a camera, and the scene from above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.files import make_folder
from perception.evaluation.truth import Truth
from perception.outputs.drawing.bird_view import draw_bird_view
from perception.outputs.drawing.camera_tile import draw_camera, draw_missing
from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED
from perception.outputs.drawing.lettering import Text, write
from perception.outputs.pictures import write_png
from perception.robustness import SEVERITIES, corruption
from perception.robustness.frames import Condition, FrameMaker, Recipe
from perception.sources import FrameOptions
from perception.types import Boxes3D, CameraImage, Frame

TILE = (640, 360)  # px, width and height of a camera
SIDE = 360  # px of the scene from above
GAP, HEAD = 8, 30  # px between tiles, and above a row
FIRST = "CAM_FRONT"  # is shown where no camera changes more than others


@dataclass(frozen=True)
class Views:
    """A frame under a condition."""

    camera: str  # which one is drawn
    image: np.ndarray  # (TILE[1], TILE[0], 3) uint8
    above: np.ndarray  # (SIDE, SIDE, 3) uint8


def picture_maker(truth: Truth, seed: int) -> tuple[FrameMaker, str]:
    """Frames to draw, of one sample in the middle, with all cameras and one turn of the LiDAR; and its token."""
    token = truth.tokens[len(truth.tokens) // 2]
    options = FrameOptions(sweeps=0, allow_missing=True)
    return FrameMaker(Recipe(truth.folder, (token,), options, seed)), token


def views_of(frame: Frame, camera: str, with_points: bool) -> Views:
    """What to show of a frame; points in the image show where its calibration takes it to be."""
    above = draw_bird_view(SIDE, _points(frame), Boxes3D.empty(("car",)), None, frame.ego_from_lidar)
    if camera not in frame.cameras:
        return Views(camera, draw_missing(camera, TILE), above)
    points = _points(frame) if with_points else np.zeros((0, 5), np.float32)
    nothing = Boxes3D.empty(("car",))
    return Views(camera, draw_camera(camera, frame.cameras[camera], points, nothing, None, TILE, frame.stamp_ns), above)


def are_moved(clean: Frame, frame: Frame) -> bool:
    """Whether the calibration is what a corruption changes."""
    return any(
        not np.array_equal(camera.camera_from_lidar.matrix, clean.cameras[name].camera_from_lidar.matrix)
        for name, camera in frame.cameras.items()
    )


def most_changed(clean: Frame, frames: Sequence[Frame]) -> str:
    """The camera that a corruption changes most in these frames; the one in front if that changes about as much."""
    changes = {
        name: sum(_change(camera, frame.cameras.get(name)) for frame in frames)
        for name, camera in clean.cameras.items()
    }
    most = max(changes, key=changes.get, default=FIRST)
    return FIRST if changes.get(FIRST, -1) >= 0.6 * changes.get(most, 0) else most


def _change(before: CameraImage, after: CameraImage | None) -> float:
    if after is None:
        return 255.0
    if after.image is before.image:
        return 0.0
    return float(np.abs(after.image[::4, ::4].astype(np.int16) - before.image[::4, ::4]).mean())


def _points(frame: Frame) -> np.ndarray:
    return frame.cloud.points if frame.cloud is not None else np.zeros((0, 5), np.float32)


def draw_all(truth: Truth, names: Sequence[str], seed: int, out: Path) -> Iterator[Path]:
    """Draw `out`/NAME.png of each corruption: the clean frame, and the three severities below it."""
    make_folder(out)
    maker, token = picture_maker(truth, seed)
    clean = maker.frame(token, Condition())
    for name in names:
        frames = [maker.frame(token, Condition(name, severity)) for severity in SEVERITIES]
        camera, moved = most_changed(clean, frames), are_moved(clean, frames[0])
        heads = ["clean", *(f"severity {s}: {corruption(name).LEVELS[s - 1]}" for s in SEVERITIES)]
        rows = [
            _row(f"{corruption(name).TITLE} · {head}", views_of(frame, camera, moved))
            for head, frame in zip(heads, [clean, *frames], strict=True)
        ]
        path = out / f"{name}.png"
        write_png(path, np.concatenate([np.concatenate(rows[:2], axis=1), np.concatenate(rows[2:], axis=1)]))
        yield path


def _row(title: str, views: Views) -> np.ndarray:
    canvas = np.full((HEAD + SIDE + GAP, TILE[0] + SIDE + 3 * GAP, 3), BACKGROUND, np.uint8)
    canvas[HEAD : HEAD + TILE[1], GAP : GAP + TILE[0]] = views.image
    canvas[HEAD : HEAD + SIDE, TILE[0] + 2 * GAP : TILE[0] + 2 * GAP + SIDE] = views.above
    return write(canvas, [Text(GAP, 6, title, 15, INK)])


def draw_side_by_side(clean: Views, worse: Views) -> np.ndarray:
    """Clean and corrupted camera, and the corrupted scene from above, in one strip at half size."""
    strip = np.concatenate([clean.image, worse.image, worse.above], axis=1)
    small = cv2.resize(strip, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    left = round(TILE[0] * 0.6)
    return write(small, [Text(8, 24, "clean", 12, MUTED), Text(left + 8, 24, "corrupted", 12, MUTED)])
