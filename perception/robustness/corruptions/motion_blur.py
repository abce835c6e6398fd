"""Vibration: images are smeared over the exposure, and the LiDAR's turn is bent.

Images: the mean, in linear light, of what the camera sees while it turns about its own centre, which needs no depth:
image_t = K R(t) K^-1 image. Clouds: within each turn the sensor nods and rolls a little, at its own phase, as in the
motion blur of MultiCorrupt and of Robo3D.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.light import developed, linear, repainted
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import CameraImage, Frame

TITLE = "motion blur"
SENSORS = ("camera", "lidar")
LEVELS = ("0.5 deg an exposure", "1 deg an exposure", "2 deg an exposure")
TURN_DEG = (0.5, 1.0, 2.0)  # of a camera, while it exposes
NOD_DEG = (0.1, 0.2, 0.4)  # amplitude of the LiDAR
STEPS_PX = 2.0  # the camera is looked through this often on its way
WAVES = 3  # of the LiDAR's shaking in a turn


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""

    def paint(name: str, camera: CameraImage) -> np.ndarray:
        return _smeared(camera, np.radians(TURN_DEG[severity - 1]), draw(name))

    def change(pulses: Pulses) -> Pulses:
        return _shaken(pulses, np.radians(NOD_DEG[severity - 1]), draw("lidar"))

    return with_pulses(repainted(frame, paint), history, change)


def _smeared(camera: CameraImage, turn: float, rng: np.random.Generator) -> np.ndarray:
    lens = camera.intrinsics
    direction = rng.normal(0, 1, 3) * (1.0, 0.7, 0.5)  # nodding shakes more than yawing, and rolling
    turn_by = turn * direction / np.linalg.norm(direction)
    steps = 2 * max(2, round(turn * lens.fx / STEPS_PX / 2)) + 1
    light, total = linear(camera.image), 0
    for share in np.linspace(-0.5, 0.5, steps):
        homography = lens.matrix @ Rotation.from_rotvec(share * turn_by).as_matrix() @ np.linalg.inv(lens.matrix)
        total = total + cv2.warpPerspective(
            light, homography, (lens.width, lens.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return developed(total / steps)


def _shaken(pulses: Pulses, amplitude: float, rng: np.random.Generator) -> Pulses:
    """Each sweep's points turned by a rotation that swings with the azimuth."""
    phases = rng.uniform(0, 2 * np.pi, (len(pulses.ages), 2))[pulses.sweep]
    swing = amplitude * np.sin(WAVES * pulses.azimuths[:, None] + phases)  # about x and y
    x, y, z = pulses.local.T.astype(np.float64)
    about_x, about_y = swing.T
    y, z = y * np.cos(about_x) - z * np.sin(about_x), y * np.sin(about_x) + z * np.cos(about_x)
    x, z = x * np.cos(about_y) + z * np.sin(about_y), z * np.cos(about_y) - x * np.sin(about_y)
    return replace(pulses, local=np.stack([x, y, z], axis=1).astype(np.float32))
