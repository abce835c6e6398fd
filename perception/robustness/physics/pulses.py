"""A cloud as its LiDAR measured it: each point seen from where the sensor was in its own sweep.

A Frame's cloud holds half a second of sweeps, moved to one instant; over that time the car drives several metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from calibration.transform import Transform
from perception.robustness.history import History
from perception.types import Frame, PointCloud

BEAMS = 32  # of nuScenes' HDL-32E, whose elevations these are
LOWEST_DEG, HIGHEST_DEG = -30.67, 10.67


@dataclass(frozen=True)
class Pulses:
    """The returns of some sweeps."""

    local: np.ndarray  # (N, 3) float32 [m], each in the lidar frame of its own sweep
    intensity: np.ndarray  # (N,) float32
    sweep: np.ndarray  # (N,) int64, number of each one's sweep, 0 for the newest
    lidar_from_sweep: tuple[Transform, ...]
    ages: np.ndarray  # (sweeps,) float32 [s]

    @property
    def distances(self) -> np.ndarray:
        """(N,) float32 [m]."""
        return np.linalg.norm(self.local, axis=1)

    @property
    def azimuths(self) -> np.ndarray:
        """(N,) float32 [rad], about the sensor's +z from its +x."""
        return np.arctan2(self.local[:, 1], self.local[:, 0])

    @property
    def beams(self) -> np.ndarray:
        """Number (N,) of each one's beam, by its elevation, 0 for the lowest; what lies outside counts to the ends."""
        elevations = np.degrees(np.arctan2(self.local[:, 2], np.hypot(self.local[:, 0], self.local[:, 1])))
        steps = (elevations - LOWEST_DEG) / (HIGHEST_DEG - LOWEST_DEG) * (BEAMS - 1)
        return np.clip(np.round(steps), 0, BEAMS - 1).astype(np.int64)

    def select(self, rows: np.ndarray) -> Pulses:
        """Those that a mask or index array picks."""
        return replace(self, local=self.local[rows], intensity=self.intensity[rows], sweep=self.sweep[rows])

    def at_distances(self, distances: np.ndarray) -> Pulses:
        """The same directions, with returns from other distances (N,) [m]."""
        return replace(self, local=self.local * (distances / np.maximum(self.distances, 1e-3))[:, None])

    def points(self) -> np.ndarray:
        """As points (N, 5) float32 of a Frame's cloud."""
        points = np.empty((len(self.local), 5), np.float32)
        for number, lidar_from_sweep in enumerate(self.lidar_from_sweep):
            rows = self.sweep == number
            moves = self.ages[number] > 0
            points[rows, :3] = _moved(self.local[rows], lidar_from_sweep) if moves else self.local[rows]
        points[:, 3], points[:, 4] = self.intensity, self.ages[self.sweep]
        return points


def pulses_of(frame: Frame, cloud: PointCloud, history: History | None) -> Pulses:
    """The cloud's pulses. Without a history the car is taken to stand still."""
    column = cloud.points[:, 4]
    starts = np.flatnonzero(np.diff(column, prepend=np.float32(np.nan)) != 0)  # sweeps come one after another
    ages, number = np.unique(column[starts], return_inverse=True)
    ends = [*starts[1:], len(column)]
    motions = tuple(_lidar_from_sweep(frame, float(age), history) for age in ages)
    local, sweep = np.array(cloud.points[:, :3]), np.empty(len(column), np.int64)
    for start, end, which in zip(starts, ends, number.reshape(-1), strict=True):
        sweep[start:end] = which
        if ages[which] > 0:
            local[start:end] = _moved(local[start:end], motions[which].inverse())
    return Pulses(local, np.array(cloud.points[:, 3]), sweep, motions, ages)


def with_pulses(frame: Frame, history: History | None, change: Callable[[Pulses], Pulses]) -> Frame:
    """The frame with its cloud's pulses changed; a frame without a cloud, or with an empty one, stays as it is.

    Points that `change` leaves where they are stay bit by bit what they were only in the newest sweep; the others are
    moved there and back in single precision, by micrometres.
    """
    if frame.cloud is None or not len(frame.cloud.points):
        return frame
    points = change(pulses_of(frame, frame.cloud, history)).points()
    return replace(frame, cloud=PointCloud(points, dropped=frame.cloud.dropped))


def _moved(points: np.ndarray, motion: Transform) -> np.ndarray:
    """In single precision: clouds are large, and a sweep's motion is metres."""
    return points @ motion.rotation.T.astype(np.float32) + motion.translation.astype(np.float32)


def _lidar_from_sweep(frame: Frame, age_s: float, history: History | None) -> Transform:
    if history is None or frame.world_from_ego is None or age_s <= 0:
        return Transform.identity()
    then = history.world_from_ego(frame, frame.stamp_ns - round(age_s * 1e9))
    return (frame.world_from_ego @ frame.ego_from_lidar).inverse() @ then @ frame.ego_from_lidar
