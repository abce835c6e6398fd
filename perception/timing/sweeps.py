"""Several clouds as one: the newest, and those before it moved to where they are seen from now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.types import PointCloud


def beyond_own_car(points: np.ndarray, radius_m: float) -> np.ndarray:
    """Points (N, >= 2) outside a square column around the sensor, |x| < r and |y| < r -> (M, ...).

    As in mmdetection3d, and for sweeps only: a keyframe keeps its returns from the own car.
    """
    return points[(np.abs(points[:, 0]) >= radius_m) | (np.abs(points[:, 1]) >= radius_m)]


def write_aged(out: np.ndarray, points: np.ndarray, age_s: float, lidar_from_sweep: Transform | None) -> None:
    """Write points (N, >= 4) x, y, z, intensity into `out` (N, 5) with their age, moved if they are another sweep's."""
    out[:, :4], out[:, 4] = points[:, :4], age_s
    if lidar_from_sweep is not None:
        out[:, :3] = lidar_from_sweep.apply(points[:, :3])


@dataclass(frozen=True)
class _Sweep:
    points: np.ndarray  # (N, 4) float32, without the own car, in its own lidar frame
    stamp_ns: int
    world_from_lidar: Transform
    dropped: int


class Sweeps:
    """A ring of the last clouds.

    A new cloud costs the transform of what is kept, once each and from the numbers that were measured: errors don't
    add up, and the result is that of perception/sources/clouds.py from files.
    """

    def __init__(
        self,
        sweeps: int = 9,  # clouds before the newest that are added to it
        remove_radius_m: float = 1.0,  # see beyond_own_car
        max_age_ns: int = 1_000_000_000,  # older ones are of before an outage
    ) -> None:
        if not (sweeps >= 0 and remove_radius_m >= 0 and max_age_ns >= 0):
            got = f"{sweeps}, {remove_radius_m:g} and {max_age_ns}"
            raise InputError("sweeps, remove_radius_m and max_age_ns", "numbers >= 0", got)
        self._ring: deque[_Sweep] = deque(maxlen=sweeps)
        self._radius_m, self._max_age_ns = remove_radius_m, max_age_ns

    def forget(self) -> None:
        """Start anew, as at a new epoch of the synchroniser."""
        self._ring.clear()

    def add(self, cloud: PointCloud, stamp_ns: int, world_from_lidar: Transform) -> PointCloud:
        """The next cloud of one sweep, deskewed to its stamp -> it and those before, newest first, seen from it.

        Raises InputError for a cloud that isn't deskewed, and for one that isn't newer than the last.
        """
        self._check(cloud, stamp_ns)
        kept = [sweep for sweep in self._ring if stamp_ns - sweep.stamp_ns <= self._max_age_ns]
        ends = np.cumsum([len(cloud.points), *(len(sweep.points) for sweep in kept)])
        points = np.empty((ends[-1], 5), np.float32)
        write_aged(points[: ends[0]], cloud.points, 0, None)
        lidar_from_world = world_from_lidar.inverse()
        for sweep, start, end in zip(kept, ends, ends[1:], strict=False):
            age_s = (stamp_ns - sweep.stamp_ns) / 1e9
            write_aged(points[start:end], sweep.points, age_s, lidar_from_world @ sweep.world_from_lidar)
        self.keep(cloud, stamp_ns, world_from_lidar)
        return PointCloud(points, dropped=cloud.dropped + sum(sweep.dropped for sweep in kept))

    def keep(self, cloud: PointCloud, stamp_ns: int, world_from_lidar: Transform) -> None:
        """The same for later clouds only, where nobody wants to see this one; InputError likewise."""
        self._check(cloud, stamp_ns)
        without_car = beyond_own_car(cloud.points[:, :4], self._radius_m)
        self._ring.appendleft(_Sweep(without_car, stamp_ns, world_from_lidar, cloud.dropped))

    def _check(self, cloud: PointCloud, stamp_ns: int) -> None:
        if cloud.times_ns is not None:
            raise InputError("cloud to accumulate", "one without times", "one with", "deskew it first")
        if self._ring and stamp_ns <= self._ring[0].stamp_ns:
            raise InputError("cloud's stamp", f"later than {self._ring[0].stamp_ns} ns", f"{stamp_ns} ns")
