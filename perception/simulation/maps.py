"""A scene's map mask: white where one may drive, 0.1 m a pixel, north up, as nuScenes has it."""

from __future__ import annotations

import numpy as np

from calibration.transform import Transform
from perception.simulation.layout import Layout
from perception.simulation.scenery import rounded

PIXELS_PER_M = 10


def drivable_mask(layout: Layout, world_from_city: Transform, extent: float) -> bytes:
    """A PNG of the square [0, extent] m in the world frame."""
    import cv2

    pixels = round(extent * PIXELS_PER_M)
    mask = np.full((pixels, pixels), 255, np.uint8)
    for block in layout.blocks:
        outline = np.c_[rounded(block), np.zeros(len(rounded(block)))]
        x, y = world_from_city.apply(outline)[:, :2].T
        cv2.fillPoly(mask, [np.round(np.c_[x * PIXELS_PER_M, pixels - y * PIXELS_PER_M]).astype(np.int32)], 0)
    return cv2.imencode(".png", mask)[1].tobytes()
