"""Cameras whose driver hangs: they deliver the image of half a second ago as if it were new.

As in RoboBEV's frame lost and in MultiCorrupt's temporal misalignment of images, where a camera repeats the keyframe
before with a probability that grows. Where a drive begins there is nothing older, and the image stays.
"""

from __future__ import annotations

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History, required
from perception.robustness.physics.light import repainted
from perception.robustness.physics.losing import chosen
from perception.types import CameraImage, Frame

TITLE = "camera lag"
SENSORS = ("camera",)
LEVELS = ("2 of 6 hang", "4 of 6 hang", "all hang")
SHARE = (1 / 3, 2 / 3, 1.0)
LAG_NS = 500_000_000  # a keyframe of nuScenes


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption; it takes a history."""
    past = required(history, "camera lag")
    late = chosen(frame.cameras, SHARE[severity - 1], draw("cameras"))

    def paint(name: str, camera: CameraImage) -> np.ndarray | None:
        if name not in late:
            return None
        earlier = past.image(frame, name, camera.stamp_ns - LAG_NS)
        if earlier is None or earlier.image.shape != camera.image.shape:
            return None
        return earlier.image

    return repainted(frame, paint)
