"""Rain, for cameras and LiDAR: streaks, drops on the lens, haze; lost and early returns, and a dark wet road.

Extinction: ITU-R P.1814 (Carbonneau's fit, 1.076 R^0.67 dB/km). Drops: Marshall and Palmer (1948). Streaks: Garg and
Nayar (IJCV 2007). A wet road reflects the LiDAR's light away, as in Hahner et al. (CVPR 2022) and Robo3D's wet ground.
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

TITLE = "rain"
SENSORS = ("camera", "lidar")
RATE_MM_H = (10.0, 25.0, 60.0)
LEVELS = ("10 mm/h", "25 mm/h", "60 mm/h")
STREAKS = (900, 2000, 4500)  # those near enough to be seen one by one
LENS_DROPS = (5, 12, 26)
DIM = (0.85, 0.72, 0.58)  # light that is left under such clouds
WET = (0.5, 0.3, 0.18)  # reflectance that is left of a wet road
FALL_M_S, EXPOSURE_S = 6.5, 0.012
REFLECTANCE = 0.1  # of a drop, back to where the light came from
GROUND_M = 0.25  # above the ground: road


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    rate = RATE_MM_H[severity - 1]
    particles = _drops(rate)
    airlight = sky_light(frame.cameras) * DIM[severity - 1]

    def paint(name: str, camera: CameraImage) -> np.ndarray:
        rng = draw(name)
        light = linear(camera.image) * np.float32(DIM[severity - 1])
        light = seen_through(light, depth_map(frame, camera), particles.extinction, airlight)
        wind = (rng.normal(0, 0.8), FALL_M_S, rng.normal(0, 1.5))
        size = 1000 * particles.diameter  # mm
        cover = streaks(camera.intrinsics, STREAKS[severity - 1], (0.8, 5.0), size * 2e-3, wind, EXPOSURE_S, rng)
        light += np.minimum(6 * cover, 0.7)[..., None] * (1.5 * airlight - 0.6 * light)
        return developed(_through_drops(light, LENS_DROPS[severity - 1], rng))

    def change(pulses: Pulses) -> Pulses:
        height = frame.ego_from_lidar.apply(pulses.local)[:, 2]  # of each in its own sweep
        darkened = np.where(height < GROUND_M, WET[severity - 1], 1.0)
        return fallen_through(pulses, particles, darkened, draw("lidar"))

    return with_pulses(repainted(frame, paint), history, change)


def _drops(rate: float) -> Particles:
    slope = 4.1 * rate**-0.21  # 1/mm
    extinction = 1.076 * rate**0.67 / (10 / np.log(10)) / 1000  # from dB/km to 1/m
    return Particles(8000 / slope, 1e-3 / slope, REFLECTANCE, extinction)


def _through_drops(light: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Drops on the lens: each shows its surroundings upside down, out of focus, brighter below than above."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), width / 360), (width, height))
    for u, v, size in rng.uniform((0, 0, 0), (width, height, 1), (count, 3)):
        radius = width * (0.008 + 0.022 * size**2)
        left, right = max(0, int(u - radius)), min(width, int(u + radius) + 2)
        top, bottom = max(0, int(v - radius)), min(height, int(v + radius) + 2)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        dx, dy = (x - u) / radius, (y - v) / (1.15 * radius)
        inside = np.clip((1 - np.hypot(dx, dy)) * 4, 0, 1)[..., None]
        mapped = cv2.remap(
            soft,
            np.float32(np.clip(u - dx * 4 * radius, 0, width - 1)),
            np.float32(np.clip(v - dy * 5 * radius, 0, height - 1)),
            cv2.INTER_LINEAR,
        )
        shade = (0.85 + 0.3 * np.clip(dy, -1, 1))[..., None]
        part = light[top:bottom, left:right]
        light[top:bottom, left:right] = part + 0.85 * inside * (mapped * shade - part)
    return light
