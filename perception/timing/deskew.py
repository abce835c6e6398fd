"""A cloud as if all its points had been measured at once.

A spinning LiDAR takes a turn to look everywhere, while the car drives on: at 20 m/s and 20 Hz its first point is a
metre off its last. Each point is moved by what the car did between its own time and the frame's. What moves by itself
stays where it was hit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.timing.ego_motion import PoseAt
from perception.types import PointCloud

KNOTS = 33  # instants of a sweep at which the pose is taken


@dataclass(frozen=True)
class Spin:
    """How a LiDAR turns, for drivers that give points no times.

    Times are right where the turn is steady. At the seam, where a turn begins and ends, a point that lies a hair on
    the wrong side gets the time of the turn's other end.
    """

    period_ns: int  # of a turn
    start_azimuth_rad: float  # where it looks when a sweep begins, about +z from +x of the lidar frame
    clockwise: bool = True  # seen from above

    def times_ns(self, points_lidar: np.ndarray, end_ns: int) -> np.ndarray:
        """When each of the points (N, >= 2), as measured, was hit in the sweep that ends at a stamp -> (N,) int64."""
        points = np.asarray(points_lidar, np.float64)
        turned = np.arctan2(points[:, 1], points[:, 0]) - self.start_azimuth_rad
        share = np.mod(-turned if self.clockwise else turned, 2 * np.pi) / (2 * np.pi)
        return int(end_ns) - np.round((1 - share) * self.period_ns).astype(np.int64)

    def offset_ns(self, lidar_from_camera: Transform) -> int:
        """When a camera fires that is triggered as the sweep passes its centre, less the sweep's end."""
        return int(self.times_ns(lidar_from_camera.rotation[None, :2, 2], 0)[0])


def deskewed(
    cloud: PointCloud,  # each point in the lidar frame at its own time, `times_ns` given
    stamp_ns: int,  # the frame's
    ego_from_lidar: Transform,
    world_from_ego_at: PoseAt,  # for example EgoMotion's
) -> PointCloud:
    """The cloud in the lidar frame at `stamp_ns`, without times; intensities and ages stay.

    Poses are taken at 33 instants and points moved linearly between: less than 1 mm from the exact way per point for
    up to 1 rad/s, 100 m and turns of 100 ms. Raises InputError for a cloud without times and where poses don't reach.
    """
    if cloud.times_ns is None or np.shape(cloud.times_ns) != (len(cloud.points),):
        got = "none" if cloud.times_ns is None else f"shape {np.shape(cloud.times_ns)}"
        raise InputError("times of points", f"one each, ({len(cloud.points)},)", got, "use Spin.times_ns")
    points = cloud.points.copy()
    if len(points):
        knots_ns = _knots(cloud.times_ns)
        lidar_from_world = (world_from_ego_at(stamp_ns) @ ego_from_lidar).inverse()
        moves = [lidar_from_world @ world_from_ego_at(int(time)) @ ego_from_lidar for time in knots_ns]
        points[:, :3] = _moved(points[:, :3], cloud.times_ns, knots_ns, np.stack([move.matrix[:3] for move in moves]))
    return replace(cloud, points=points, times_ns=None)


def _knots(times_ns: np.ndarray) -> np.ndarray:
    first_ns, last_ns = int(times_ns.min()), int(times_ns.max())
    steps = np.round(np.linspace(0, last_ns - first_ns, KNOTS)).astype(np.int64)
    return first_ns + np.unique(steps)


def _moved(
    points: np.ndarray,  # (N, 3)
    times_ns: np.ndarray,  # (N,)
    knots_ns: np.ndarray,  # (K,)
    moves: np.ndarray,  # (K, 3, 4) at the knots
) -> np.ndarray:
    """Points moved by the transforms at their times, linear between the knots -> (N, 3)."""
    since_ns = times_ns - knots_ns[0]  # small numbers, which fit a float
    knots = (knots_ns - knots_ns[0]).astype(np.float64)
    before = np.clip(np.searchsorted(knots, since_ns, side="right") - 1, 0, max(len(knots) - 2, 0))
    after = np.minimum(before + 1, len(knots) - 1)
    share = (since_ns - knots[before]) / np.maximum(knots[after] - knots[before], 1)
    out = np.empty((len(points), 3))
    order = np.argsort(before, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(before[order])) + 1):
        knot, part = before[rows[0]], points[rows].astype(np.float64)
        start = part @ moves[knot, :, :3].T + moves[knot, :, 3]
        end = part @ moves[after[rows[0]], :, :3].T + moves[after[rows[0]], :, 3]
        out[rows] = start + share[rows, None] * (end - start)
    return out
