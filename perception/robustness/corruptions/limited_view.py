"""A LiDAR that sees a sector in front only: mounted behind something, or of another kind.

As the limited field of view of Yu et al., "Benchmarking the Robustness of LiDAR-Camera Fusion for 3D Object Detection"
(2023), who keep 180 and 120 degrees, and of Dong et al. (CVPR 2023).
"""

from __future__ import annotations

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.losing import in_sector
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import Frame

TITLE = "limited view"
SENSORS = ("lidar",)
LEVELS = ("240 deg in front", "180 deg in front", "120 deg in front")
VIEW_DEG = (240, 180, 120)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    forward = frame.ego_from_lidar.rotation[0]  # the ego frame's x axis in the lidar frame
    middle = float(np.arctan2(forward[1], forward[0]))

    def change(pulses: Pulses) -> Pulses:
        return pulses.select(in_sector(pulses.azimuths, middle, np.radians(VIEW_DEG[severity - 1])))

    return with_pulses(frame, history, change)
