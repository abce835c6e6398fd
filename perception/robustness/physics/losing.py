"""Which sensors, or which part of a turn, are lost."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from perception.types import CameraImage, Frame


def chosen(names: Iterable[str], share: float, rng: np.random.Generator) -> set[str]:
    """A share of these names, rounded up; with the same draws a larger share has all of a smaller one's."""
    names = sorted(names)
    count = int(np.ceil(share * len(names) - 1e-9))
    return {names[place] for place in rng.permutation(len(names))[:count]}


def cameras_left(frame: Frame, lost: float, rng: np.random.Generator) -> dict[str, CameraImage]:
    """The frame's cameras but for a share of them."""
    gone = chosen(frame.cameras, lost, rng)
    return {name: camera for name, camera in frame.cameras.items() if name not in gone}


def in_sector(azimuths: np.ndarray, middle: float, width: float) -> np.ndarray:
    """Which azimuths (N,) [rad] are within a sector this wide around its middle."""
    return np.abs((azimuths - middle + np.pi) % (2 * np.pi) - np.pi) <= width / 2
