"""One picture a frame for people to look at: every camera, and the scene from above, with what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import InputError
from calibration.files import written_whole
from calibration.spelling import counted
from perception.outputs.drawing.bird_view import draw_bird_view
from perception.outputs.drawing.camera_tile import DEPTH_RANGE, depth_colours, draw_camera, draw_missing
from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED, TRUTH, WARNING, class_colours
from perception.outputs.drawing.legend import Key, key_strip, note_strip, ramp_icon, stroke_icon, swatch, title_strip
from perception.types import Boxes3D, Frame, check_array

# As the driver sees them: first the row in front, then the one behind.
NUSCENES_CAMERAS = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
)
WIDTH = 1920  # [px] of a picture with cameras
MARGIN, GAP = 16, 6  # [px] around it all, and between the panels
PANEL_SIDES = (420, 900)  # [px] the smallest and the largest view from above
TURN_S = 0.1  # [s] a slow LiDAR's turn; points from earlier turns lie beside whatever moved since


def draw_frame(
    frame: Frame,
    boxes: Boxes3D,  # in the lidar frame
    score_threshold: float = 0.2,  # detections below it are not drawn
    cameras: Sequence[str] | None = None,
    told: str | None = None,  # what the title says of the boxes; None: how many there are
) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB of a frame: the cameras as the driver sees them beside the scene from above.

    `cameras` names the tiles in reading order; one without an image says so. By default they are nuScenes' six if
    the frame has no others, else the frame's own in alphabetical order. Truth, where the frame has it, is drawn thin
    and white over the detections. Raises InputError for boxes that aren't in the lidar frame.
    """
    truth = frame.truth.boxes if frame.truth is not None else None
    for what, given in (("detections", boxes), ("truth", truth)):
        if given is not None and given.frame != "lidar":
            raise InputError(f"{what} to draw", "boxes in the lidar frame", f"boxes in {given.frame}", "transform them")
    shown = boxes.select(boxes.scores >= score_threshold)
    names = tuple(cameras) if cameras is not None else camera_order(frame.cameras)
    panels = _panels(frame, shown, truth, names)
    width = panels.shape[1]
    strips = [
        title_strip(frame.token, told or _counts(shown, score_threshold, truth), width),
        key_strip([Key(_clock(frame.stamp_ns), colour=MUTED), *_class_keys(shown)], width),
        panels,
        key_strip(_stroke_keys(truth is not None, bool(frame.cameras)), width),
        note_strip(frame.notes, width, WARNING),
    ]
    return _stacked([strip for strip in strips if len(strip)])


def camera_order(names: Sequence[str]) -> tuple[str, ...]:
    """The order of the tiles: nuScenes' six, missing ones too, if there are no others; else alphabetical."""
    return NUSCENES_CAMERAS if set(names) <= set(NUSCENES_CAMERAS) else tuple(sorted(names))


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 RGB as PNG, whole or not at all; raises InputError where it can't be written."""
    check_array("picture", image, "(H, W, 3)", np.uint8)
    level = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # a third smaller than by default, for 15 ms
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]), level)
    with written_whole(path) as beside:
        beside.write_bytes(encoded.tobytes())


def _panels(frame: Frame, shown: Boxes3D, truth: Boxes3D | None, names: Sequence[str]) -> np.ndarray:
    """The tiles in two rows (one for a single camera), and the view from above beside them, as high as they are."""
    points = frame.cloud.points if frame.cloud is not None else np.zeros((0, 5), np.float32)
    latest = _latest_turn(points)
    columns, size, side = _layout(frame, len(names))
    canvas = np.full((side, columns * (size[0] + GAP) + side, 3), BACKGROUND, np.uint8)
    canvas[:, -side:] = draw_bird_view(side, points, shown, truth, frame.ego_from_lidar)
    for index, name in enumerate(names):
        if name in frame.cameras:
            tile = draw_camera(name, frame.cameras[name], latest, shown, truth, size, frame.stamp_ns)
        else:
            tile = draw_missing(name, size)
        top, left = (index // columns) * (size[1] + GAP), (index % columns) * (size[0] + GAP)
        canvas[top : top + size[1], left : left + size[0]] = tile
    return canvas


def _latest_turn(points: np.ndarray) -> np.ndarray:
    """The newest sweep: all points of exactly the least age if they share it, else those of one turn."""
    ages = points[:, 4]
    least = ages.min(initial=np.inf)
    alike = ages == least
    return points[alike if alike.sum() > 1000 else ages < least + TURN_S]


def _layout(frame: Frame, count: int) -> tuple[int, tuple[int, int], int]:
    """Columns, width and height of a tile, and side of the panel [px]: images of the usual shape fill their tiles."""
    if not count:
        return 0, (0, 0), PANEL_SIDES[1]
    rows = 1 if count == 1 else 2
    columns = -(-count // rows)
    sizes = [camera.intrinsics for camera in frame.cameras.values()]
    aspect = float(np.median([size.width / size.height for size in sizes])) if sizes else 16 / 9
    gaps = (rows - 1) * GAP
    room = WIDTH - 2 * MARGIN - columns * GAP
    width = round((room - np.clip((room - gaps) / (columns * aspect / rows + 1) + gaps, *PANEL_SIDES)) / columns)
    side = room - columns * width  # whatever rounding leaves goes to the panel
    return columns, (width, (side - gaps) // rows), side


def _counts(shown: Boxes3D, score_threshold: float, truth: Boxes3D | None) -> str:
    annotated = "no annotations" if truth is None else counted(len(truth), "annotated object")
    return f"{counted(len(shown), 'detection')} with a score of at least {score_threshold:g} · {annotated}"


def _class_keys(shown: Boxes3D) -> list[Key]:
    counts = np.bincount(shown.labels, minlength=len(shown.class_names))
    colours = class_colours(shown.class_names)
    return [
        Key(f"{name}: {count}", swatch(colour), INK if count else MUTED)
        for name, colour, count in zip(shown.class_names, colours, counts, strict=True)
    ]


def _stroke_keys(with_truth: bool, with_images: bool) -> list[Key]:
    near, far = DEPTH_RANGE
    ramp = ramp_icon(depth_colours(np.geomspace(near, far, 80)))
    keys = [
        (True, Key("detection", stroke_icon(INK, 2), MUTED)),
        (with_truth, Key("annotated", stroke_icon(TRUTH, 1), MUTED)),
        (True, Key("way in one second", stroke_icon(INK, 1, pointed=True), MUTED)),
        (with_images, Key(f"points in the images, {near:g} m to {far:g} m away", ramp, MUTED)),
    ]
    return [key for needed, key in keys if needed]


def _clock(stamp_ns: int) -> str:
    """The stamp in seconds, and as date and time where it can be one."""
    seconds = f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} s"
    if not 1e18 <= stamp_ns < 4e18:  # 2001 to 2096: a clock that counts from its own start is no date
        return seconds
    utc = datetime.fromtimestamp(stamp_ns / 1e9, timezone.utc)
    return f"{seconds} · {utc:%Y-%m-%d %H:%M:%S} UTC"


def _stacked(strips: Sequence[np.ndarray]) -> np.ndarray:
    """The strips below one another on the background, with a margin around."""
    blank = np.full((GAP, strips[0].shape[1], 3), BACKGROUND, np.uint8)
    column = np.concatenate([part for strip in strips for part in (strip, blank)][:-1])
    canvas = np.full((column.shape[0] + 2 * MARGIN, column.shape[1] + 2 * MARGIN, 3), BACKGROUND, np.uint8)
    canvas[MARGIN:-MARGIN, MARGIN:-MARGIN] = column
    return canvas
