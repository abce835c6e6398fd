"""A LiDAR with fewer beams: 16, 8 and 4 of 32, as in MultiCorrupt and in Robo3D's cross-sensor."""

from __future__ import annotations

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.pulses import BEAMS, with_pulses
from perception.types import Frame

TITLE = "LiDAR beams"
SENSORS = ("lidar",)
LEVELS = ("16 of 32", "8 of 32", "4 of 32")
BEAMS_LEFT = (16, 8, 4)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption. A beam is told by its elevation."""
    every = BEAMS // BEAMS_LEFT[severity - 1]
    return with_pulses(frame, history, lambda pulses: pulses.select(pulses.beams % every == every // 2))
