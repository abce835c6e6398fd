"""Images as linear light, in which light adds up, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from perception.types import CameraImage, Frame

GAMMA = 2.2  # about sRGB's
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear RGB, ITU-R BT.709


def linear(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) uint8 -> light (H, W, 3) float32, 0 to 1."""
    return _decoding()[image]


def developed(light: np.ndarray) -> np.ndarray:
    """Light (H, W, 3), clipped to 0 to 1 -> pixels (H, W, 3) uint8."""
    return _encoding()[(np.clip(light, 0, 1) * 65535 + 0.5).astype(np.uint16)]


@cache
def _decoding() -> np.ndarray:
    return ((np.arange(256) / 255) ** GAMMA).astype(np.float32)


@cache
def _encoding() -> np.ndarray:
    return ((np.arange(65536) / 65535) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)


def repainted(frame: Frame, paint: Callable[[str, CameraImage], np.ndarray | None]) -> Frame:
    """The frame with each camera's image as `paint` gives it, None for unchanged."""
    cameras: dict[str, CameraImage] = {}
    for name, camera in frame.cameras.items():
        image = paint(name, camera)
        cameras[name] = camera if image is None else replace(camera, image=image)
    return replace(frame, cameras=cameras)


def sky_light(cameras: Mapping[str, CameraImage]) -> np.ndarray:
    """What the air would be lit by, (3,) linear: the brighter part of all images, nearly grey. Zeros for no image."""
    bright = []
    for camera in cameras.values():
        step = max(1, camera.image.shape[1] // 160)
        upper = linear(camera.image[: camera.image.shape[0] * 2 // 3 : step, ::step]).reshape(-1, 3)
        level = upper @ LUMA
        bright.append(upper[level >= np.quantile(level, 0.6)].mean(axis=0))
    if not bright:
        return np.zeros(3, np.float32)
    colour = np.median(bright, axis=0)
    return np.float32(0.3 * colour + 0.7 * (colour @ LUMA))
