"""Night, for cameras: little light, few photons, and a gain that brings back some brightness and all of the noise.

The noise is what sensors have: photons are counted, reading them out adds noise and a row's own
offset (Wei et al., "A Physics-Based Noise Formation Model for Extreme Low-Light Raw Denoising", CVPR 2020). The LiDAR
brings its own light and sees the same.
"""

from __future__ import annotations

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.light import LUMA, developed, linear, repainted
from perception.types import CameraImage, Frame

TITLE = "darkness"
SENSORS = ("camera",)
LEVELS = ("1/8 of the light", "1/30 of the light", "1/120 of the light")
LIGHT = (1 / 8, 1 / 30, 1 / 120)
GAIN = (2.2, 5.0, 12.0)  # what the camera can bring back
PHOTONS = 4000  # electrons of a pixel that is full by day
READ, ROW = 3.0, 0.6  # electrons
COLD = np.array([0.85, 0.95, 1.15], np.float32)  # the colour of what light there is
GREY = 0.35  # share of the colour that is lost in the dark


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    light, gain = LIGHT[severity - 1], GAIN[severity - 1]

    def paint(name: str, camera: CameraImage) -> np.ndarray:
        rng = draw(name)
        day = linear(camera.image)
        seen = (day + GREY * ((day @ LUMA)[..., None] - day)) * COLD * np.float32(light)
        electrons = seen * np.float32(PHOTONS)
        spread = np.sqrt(electrons + np.float32(READ**2))  # of counting and reading; Gaussian, which is fast
        electrons += spread * rng.standard_normal(electrons.shape, np.float32)
        electrons += ROW * rng.standard_normal((len(electrons), 1, 1), np.float32)
        return developed(electrons * np.float32(gain / PHOTONS))

    return repainted(frame, paint)
