"""Falling snow, for cameras and LiDAR: haze and flakes; weaker returns, and flakes that return the light first.

Extinction: ITU-R P.1814, dry snow at 550 nm. Flakes: Gunn and Marshall (1958), several times larger than the drops that
they melt to. Clouds: Hahner et al., "LiDAR Snowfall Simulation for Robust 3D Object Detection" (CVPR 2022), whose rates
these are.
"""

from __future__ import annotations

import cv2
import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.air import seen_through
from perception.robustness.physics.depth import depth_map
from perception.robustness.physics.falling import Particles, fallen_through, streaks
from perception.robustness.physics.light import developed, linear, repainted, sky_light
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import CameraImage, Frame

TITLE = "snow"
SENSORS = ("camera", "lidar")
RATE_MM_H = (0.5, 1.0, 2.5)  # of water
LEVELS = ("0.5 mm/h", "1 mm/h", "2.5 mm/h")
FLAKES = (2500, 6000, 14000)  # those near enough to be seen one by one
NEAR_FLAKES = (12, 30, 70)  # so near that they are out of focus
FALL_M_S, EXPOSURE_S = 1.2, 0.01
WIDER = 3.0  # a flake's diameter over that of its drop
REFLECTANCE = 0.15  # of a flake, back to where the light came from


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    flakes = _flakes(RATE_MM_H[severity - 1])
    airlight = sky_light(frame.cameras)

    def paint(name: str, camera: CameraImage) -> np.ndarray:
        rng = draw(name)
        light = seen_through(linear(camera.image), depth_map(frame, camera), flakes.extinction, airlight)
        wind = (rng.normal(0, 1.5), FALL_M_S, rng.normal(0, 2.0))
        lens = camera.intrinsics
        cover = streaks(lens, FLAKES[severity - 1], (1.0, 11.0), 5e-3, wind, EXPOSURE_S, rng)
        near = streaks(lens, NEAR_FLAKES[severity - 1], (0.5, 1.2), 5e-3, wind, EXPOSURE_S, rng)
        cover = np.maximum(cover, cv2.GaussianBlur(0.7 * near, (0, 0), lens.width / 110))
        cover = np.minimum(2.2 * cv2.GaussianBlur(cover, (0, 0), 0.6), 0.95)[..., None]
        return developed(light + cover * (1.25 * airlight - light))

    def change(pulses: Pulses) -> Pulses:
        return fallen_through(pulses, flakes, np.ones(len(pulses.local)), draw("lidar"))

    return with_pulses(repainted(frame, paint), history, change)


def _flakes(rate: float) -> Particles:
    slope = 2.29 * rate**-0.45  # 1/mm, of melted diameters
    number = 2500 * rate**-0.94 / slope
    extinction = (5.42e-5 * 550 + 5.4958776) * rate**1.38 / (10 / np.log(10)) / 1000  # from dB/km to 1/m
    return Particles(number, WIDER * 1e-3 / slope, REFLECTANCE, extinction)
