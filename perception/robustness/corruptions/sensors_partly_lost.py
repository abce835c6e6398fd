"""Both kinds of sensors partly lost at once: some cameras, and a sector of the LiDAR's turn, wherever they are.

As the combined failures of MSC-Bench (Hao et al., 2025).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.losing import cameras_left, in_sector
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import Frame

TITLE = "both partly lost"
SENSORS = ("camera", "lidar")
LEVELS = ("2 of 6, and 90 deg", "3 of 6, and 180 deg", "4 of 6, and 270 deg")
CAMERAS_LOST = (1 / 3, 1 / 2, 2 / 3)
SECTOR_DEG = (90.0, 180.0, 270.0)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    middle = draw("lidar").uniform(-np.pi, np.pi)

    def change(pulses: Pulses) -> Pulses:
        return pulses.select(~in_sector(pulses.azimuths, middle, np.radians(SECTOR_DEG[severity - 1])))

    left = cameras_left(frame, CAMERAS_LOST[severity - 1], draw("cameras"))
    return with_pulses(replace(frame, cameras=left), history, change)
