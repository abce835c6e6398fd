"""Cameras that are dead, as in RoboBEV's camera crash and MultiCorrupt's missing camera."""

from __future__ import annotations

from dataclasses import replace

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.losing import cameras_left
from perception.types import Frame

TITLE = "camera drop"
SENSORS = ("camera",)
LEVELS = ("1 of 6 dead", "3 of 6 dead", "all dead")
SHARE = (1 / 6, 1 / 2, 1.0)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    return replace(frame, cameras=cameras_left(frame, SHARE[severity - 1], draw("cameras")))
