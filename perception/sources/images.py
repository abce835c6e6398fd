"""Image files, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.sources import MissingDataError, find_file
from perception.sources.together import outcomes
from perception.types import CameraImage

MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK")  # Pillow's names of what has 8 bits a channel


@dataclass(frozen=True)
class Shot:
    """An image that isn't read yet: CameraImage with paths instead of pixels."""

    paths: tuple[Path, ...]  # where it may be; the first that exists is read
    stamp_ns: int
    intrinsics: Intrinsics
    camera_from_lidar: Transform


def read_cameras(
    names: Iterable[str],
    shot_of: Callable[[str], Shot],  # raises MissingDataError where there is no such camera
    allow_missing: bool,
) -> tuple[dict[str, CameraImage], tuple[str, ...]]:
    """Read these cameras' images -> images by name, and one sentence for each that had to be left out."""
    cameras, notes, names = {}, [], list(names)
    for name, read in zip(names, outcomes(lambda name: read_shot(shot_of(name)), names), strict=True):
        if isinstance(read, CameraImage):
            cameras[name] = read
        elif not allow_missing or not isinstance(read, MissingDataError):
            raise read
        else:
            notes.append(f"{name} is left out: {read}.")
    return cameras, tuple(notes)


def read_shot(shot: Shot) -> CameraImage:
    """Read one image; MissingDataError if it can't be read, or if its size isn't that of its intrinsics."""
    path = find_file(shot.paths)
    image = read_image(path)
    height, width = image.shape[:2]
    if (width, height) != (shot.intrinsics.width, shot.intrinsics.height):
        expected = f"{shot.intrinsics.width}x{shot.intrinsics.height} pixels, as its calibration says"
        raise MissingDataError(str(path), expected, f"{width}x{height}")
    return CameraImage(image, shot.stamp_ns, shot.intrinsics, shot.camera_from_lidar)


def read_image(path: Path) -> np.ndarray:
    """Decode a JPEG or PNG file -> (H, W, 3) uint8 RGB; grey becomes RGB, transparency is ignored.

    Raises MissingDataError for a file that is no such image, is cut short, or has more than 8 bits a channel.
    """
    return decode_image(path, str(path))


def decode_image(file: Path | BinaryIO, what: str) -> np.ndarray:
    """The same of a file that may be in memory; `what` is how errors call it."""
    from PIL import Image

    expected = "a JPEG or PNG image with 8 bits a channel"
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            mode, pixels = image.mode, np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, for broken PNGs too
        got = str(error).replace(f" {str(file)!r}", "").replace(f" {file!r}", "")
        raise MissingDataError(what, expected, f"a file that can't be decoded ({got})") from error
    if mode not in MODES:
        raise MissingDataError(what, expected, f"mode {mode}")
    return pixels
