"""Extrinsics that are off: each camera is turned and shifted from where its calibration says it is.

The angles are MultiCorrupt's, 1 to 3 degrees, about an axis of each camera's own, in every frame rather than in some.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.transform import Transform
from perception.robustness import Draw
from perception.robustness.history import History
from perception.types import Frame

TITLE = "spatial misalignment"
SENSORS = ("camera",)
LEVELS = ("1 deg, 3 cm", "2 deg, 6 cm", "3 deg, 9 cm")
TURN_DEG = (1.0, 2.0, 3.0)
SHIFT_M = (0.03, 0.06, 0.09)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    cameras = {}
    for name, camera in frame.cameras.items():
        axis, direction = (v / np.linalg.norm(v) for v in draw(name).normal(0, 1, (2, 3)))
        turn = Rotation.from_rotvec(np.radians(TURN_DEG[severity - 1]) * axis).as_matrix()
        believed_from_camera = Transform(turn, SHIFT_M[severity - 1] * direction)
        cameras[name] = replace(camera, camera_from_lidar=believed_from_camera @ camera.camera_from_lidar)
    return replace(frame, cameras=cameras)
