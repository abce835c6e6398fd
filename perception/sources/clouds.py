"""LiDAR files, and the accumulation of sweeps into one cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.sources import FrameOptions, MissingDataError, find_file
from perception.timing.sweeps import beyond_own_car, write_aged
from perception.types import PointCloud

COLUMNS = 5  # of a nuScenes .bin file: x, y, z, intensity, ring


@dataclass(frozen=True)
class Sweep:
    """A cloud that isn't read yet."""

    paths: tuple[Path, ...]  # where it may be; the first that exists is read
    stamp_ns: int
    world_from_lidar: Transform  # at stamp_ns, of this sweep's own sensor


def read_points(path: Path) -> tuple[np.ndarray, int]:
    """Read a nuScenes .bin file -> points (N, 4) float32 x, y, z [m], intensity [0-255], and how many it dropped.

    Dropped are points with a NaN or an infinity; the ring number is not read. Raises MissingDataError for a file that
    is empty or no whole number of points long.
    """
    expected = f"points of {COLUMNS} float32 each"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingDataError(str(path), expected, error.strerror or str(error)) from error
    point_bytes = COLUMNS * np.dtype(np.float32).itemsize
    if not data or len(data) % point_bytes:
        raise MissingDataError(
            str(path), expected, f"{len(data)} bytes", f"its size must be a multiple of {point_bytes}"
        )
    points = np.frombuffer(data, "<f4").reshape(-1, COLUMNS)[:, :4]
    if np.isfinite(points).all():
        return points, 0
    finite = np.isfinite(points).all(axis=1)
    return points[finite], int(len(points) - finite.sum())


def read_cloud(
    key: Sweep, previous: Sequence[Sweep], options: FrameOptions
) -> tuple[PointCloud | None, tuple[str, ...]]:
    """The keyframe's cloud and the newest `options.sweeps` before it, in the keyframe's lidar frame -> cloud and notes.

    Points come in this order: the keyframe's, then the sweeps' from newest to oldest, each as in its file. A sweep is
    moved through the world frame, so ego motion is undone but moving objects smear, which `age` lets a network see:
    the seconds from the sweep to the keyframe. As in mmdetection3d, `remove_radius_m` cuts a square column around the
    sensor, |x| < r and |y| < r in the sweep's own frame, and from the sweeps only. There is no padding: where a scene
    begins, there are fewer sweeps. Without the keyframe's cloud there is none (None), whatever the sweeps hold.
    """
    newest = sorted(previous, key=lambda sweep: -sweep.stamp_ns)
    parts, notes, dropped = [], [], 0
    for sweep in (key, *newest[: options.sweeps]):
        try:
            points, lost = read_points(find_file(sweep.paths))
        except MissingDataError as error:
            if not options.allow_missing:
                raise
            notes.append(f"{'The cloud' if sweep is key else 'A sweep'} is left out: {error}.")
            if sweep is key:
                return None, tuple(notes)
            continue
        parts.append(_as_of(key, sweep, points, options.remove_radius_m))
        dropped += lost
    if dropped:
        notes.append(f"{dropped} points that were not finite are dropped.")
    return PointCloud(np.concatenate(parts), dropped=dropped), tuple(notes)


def _as_of(key: Sweep, sweep: Sweep, points: np.ndarray, remove_radius_m: float) -> np.ndarray:
    """A sweep's points (N, 4) in the keyframe's lidar frame, with their age (M, 5) float32."""
    age = (key.stamp_ns - sweep.stamp_ns) / 1e9
    if age < 0:
        raise InputError(sweep.paths[0].name, "a sweep before its keyframe", f"one {-age:g} s after it")
    if sweep is not key:
        points = beyond_own_car(points, remove_radius_m)
    aged = np.empty((len(points), 5), np.float32)
    lidar_from_sweep = key.world_from_lidar.inverse() @ sweep.world_from_lidar
    write_aged(aged, points, age, None if sweep is key else lidar_from_sweep)
    return aged
