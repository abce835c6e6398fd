"""Another LiDAR's pulses taken for own ones: returns from where nothing is.

Half of them are from anywhere along their beam; half are of one interferer, whose turn drifts against the own one, so
that its pulses draw arcs over a sector (Brinon-Arranz et al., "Methodology and Tools for Crosstalk of LiDARs", 2021;
Robo3D and Dong et al. move a share of the points by noise instead).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.losing import in_sector
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import Frame

TITLE = "LiDAR crosstalk"
SENSORS = ("lidar",)
LEVELS = ("2 % of returns", "6 % of returns", "15 % of returns")
SHARE = (0.02, 0.06, 0.15)
SECTOR_DEG = 100.0  # that the interferer is heard in
NEAREST_M, FARTHEST_M = 1.5, 60.0
DRIFT_M = 25.0  # by which an arc gets longer over a radian
JITTER_M = 0.3


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    return with_pulses(frame, history, lambda pulses: _disturbed(pulses, SHARE[severity - 1], draw("lidar")))


def _disturbed(pulses: Pulses, share: float, rng: np.random.Generator) -> Pulses:
    count, azimuths = len(pulses.local), pulses.azimuths
    chance = rng.random(count)
    anywhere = rng.uniform(NEAREST_M, FARTHEST_M, count)
    starts = rng.uniform(0, FARTHEST_M, len(pulses.ages))[pulses.sweep]
    heard = in_sector(azimuths, rng.uniform(-np.pi, np.pi), np.radians(SECTOR_DEG))
    drifted = starts + DRIFT_M * azimuths + JITTER_M * rng.standard_normal(count)
    arc = NEAREST_M + drifted % (FARTHEST_M - NEAREST_M)
    of_arc = heard & (chance < share / 2 * 360 / SECTOR_DEG)
    hit = of_arc | (chance > 1 - share / 2)
    distances = np.where(of_arc, arc, np.where(hit, anywhere, pulses.distances))
    intensity = np.where(hit, rng.integers(1, 60, count), pulses.intensity).astype(np.float32)
    return replace(pulses.at_distances(distances), intensity=intensity)
