"""Fog, for cameras and LiDAR.

Images: Koschmieder's law over the distance of each pixel, as in Sakaridis et al., "Semantic Foggy Scene Understanding
with Synthetic Data" (IJCV 2018). Clouds: Hahner et al., "Fog Simulation on Real LiDAR Point Clouds" (ICCV 2021):
targets are attenuated both ways, and where the fog's own echo from the first metres is stronger, that is what is
measured. The extinctions are MultiCorrupt's.
"""

from __future__ import annotations

import numpy as np

from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.air import THRESHOLD, echo, is_lost, seen_through
from perception.robustness.physics.depth import depth_map
from perception.robustness.physics.falling import overlap
from perception.robustness.physics.light import developed, linear, repainted, sky_light
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import CameraImage, Frame

TITLE = "fog"
SENSORS = ("camera", "lidar")
LEVELS = ("150 m of sight", "100 m of sight", "50 m of sight")
EXTINCTION = (0.02, 0.03, 0.06)  # 1/m; sight (meteorological optical range) is where 5 % of the contrast is left
BACKSCATTER = 0.046  # 1/sr, over the sight [m]: Hahner et al.
PULSE_M = 0.9  # half the length of a pulse of 6 ns
PATCHES = 0.35  # standard deviation of the echo's logarithm: fog isn't even


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    extinction = EXTINCTION[severity - 1]
    airlight = sky_light(frame.cameras)

    def paint(name: str, camera: CameraImage) -> np.ndarray:
        return developed(seen_through(linear(camera.image), depth_map(frame, camera), extinction, airlight))

    painted = repainted(frame, paint)
    return with_pulses(painted, history, lambda pulses: _in_fog(pulses, extinction, draw("lidar")))


def _in_fog(pulses: Pulses, extinction: float, rng: np.random.Generator) -> Pulses:
    distances = pulses.distances
    target = echo(pulses.intensity, distances) * np.exp(-2 * extinction * distances)
    grid, power = _fog_echo(extinction)
    strongest = np.interp(distances, grid, np.maximum.accumulate(power))  # of what lies before the target
    strongest = strongest * np.exp(rng.normal(0, PATCHES, len(distances)))
    from_fog = (strongest > target) & (strongest > THRESHOLD)
    density = power / power.sum()
    nearest = np.interp(rng.random(len(distances)) * _reached(distances, grid, density), np.cumsum(density), grid)
    lost = is_lost(np.where(from_fog, strongest, target), rng)
    faint = np.minimum(rng.exponential(2.0, len(distances)), 15)
    intensity = np.where(from_fog, faint, pulses.intensity * np.exp(-2 * extinction * distances))
    moved = pulses.at_distances(np.where(from_fog, nearest, distances))
    return Pulses(moved.local, intensity.astype(np.float32), pulses.sweep, pulses.lidar_from_sweep, pulses.ages).select(
        ~lost
    )


def _fog_echo(extinction: float) -> tuple[np.ndarray, np.ndarray]:
    """The fog's echo over the distance that the receiver takes it for: distances and powers (K,).

    Each moment it collects a pulse's length of fog: overlap / r2, attenuated both ways, under a pulse like sin2.
    """
    step = 0.1
    grid = np.arange(step, 60, step)
    sight = np.log(20) / extinction
    response = BACKSCATTER / sight * overlap(grid) / grid**2 * np.exp(-2 * extinction * grid)
    behind = np.arange(0, PULSE_M, step)
    pulse = np.sin(np.pi * behind / PULSE_M) ** 2 * step
    return grid, np.convolve(response, pulse)[: len(grid)]


def _reached(distances: np.ndarray, grid: np.ndarray, density: np.ndarray) -> np.ndarray:
    """The share of the fog's echo that comes from before each target."""
    return np.interp(distances, grid, np.cumsum(density))
