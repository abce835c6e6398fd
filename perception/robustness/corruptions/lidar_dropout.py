"""Packets of the LiDAR that are lost on their way, and in the end all of them.

A packet holds the returns of all beams over a few degrees of a turn (an HDL-32E's: twelve firings, 2 degrees at 10 Hz);
MultiCorrupt and Robo3D lose single points instead, which no network cable does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import Frame

TITLE = "LiDAR drop-out"
SENSORS = ("lidar",)
LEVELS = ("40 % of packets lost", "80 % of packets lost", "no cloud")
LOST = (0.4, 0.8, 1.0)
PACKETS = 90  # a turn at 20 Hz: 4 degrees each


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    lost = LOST[severity - 1]
    if lost == 1:
        return replace(frame, cloud=None)

    def change(pulses: Pulses) -> Pulses:
        arrives = draw("lidar").random((len(pulses.ages), PACKETS)) >= lost
        packet = ((pulses.azimuths + np.pi) / (2 * np.pi) * PACKETS).astype(np.int64) % PACKETS
        return pulses.select(arrives[pulses.sweep, packet])

    return with_pulses(frame, history, change)
