"""sensor_msgs/msg/PointCloud2: any layout, byte order and padding.

Times of points, as drivers write them (the field's name and type differ, the header says nothing about them):

    whole numbers       nanoseconds after the header's stamp (Ouster's t, Livox's offset_time)
    up to 1000          seconds after, or where negative before, the header's stamp (Velodyne's time)
    up to 1e8           nanoseconds after the header's stamp, as a float
    up to 1e16          seconds since 1970 (Hesai's and RoboSense's timestamp)
    beyond              nanoseconds since 1970 (Livox's timestamp)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from calibration.errors import InputError
from perception.ros.fields import SECOND_NS, bytes_of, header_message, stamp_ns_of
from perception.types import PointCloud

FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # of PointField.datatype
NUMBERS = {name: number for number, name in FORMATS.items()}
COLUMNS = ("x", "y", "z", "intensity")
TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time")
RELATIVE_SECONDS, RELATIVE_NS, ABSOLUTE_SECONDS = 1e3, 1e8, 1e16
LARGEST = 2**31  # bytes of a point, for NumPy to take them
FURTHEST_S = 10.0  # no point of a cloud was taken further from the header's stamp

Layout = tuple[tuple[str, int, int, int], ...]  # name, offset [bytes], datatype, count of each field


def cloud_from_message(message: Any, what: str = "cloud") -> tuple[PointCloud, tuple[str, ...]]:
    """A PointCloud in the sensor's frame, its ages 0, with its points' own times if the message has any; and notes.

    Points that aren't finite are dropped and counted. Without an intensity it is 0, which a note says. Raises
    InputError for data that is no whole cloud, fields that don't fit in a point or have no known type, missing
    coordinates, and times further than 10 s from the header's stamp.
    """
    cloud = _records(message, what)
    points = np.zeros((cloud.size, 5), np.float32)
    with np.errstate(over="ignore"):  # what float32 can't hold isn't finite, and is dropped
        for column, name in enumerate(COLUMNS):
            if name in cloud.dtype.names:
                points[:, column] = cloud[name].reshape(-1)
    times = _times(cloud)
    finite = np.isfinite(points).all(axis=1)
    if times is not None:
        finite &= np.isfinite(times)
    dropped = int(finite.size - np.count_nonzero(finite))
    if dropped:
        points, times = points[finite], None if times is None else times[finite]
    times_ns = None if times is None else _times_ns(times, stamp_ns_of(message), what)
    return PointCloud(points, times_ns, dropped), _notes(cloud, dropped)


def has_times(message: Any) -> bool:
    """Whether a PointCloud2 has times of its points."""
    return any(field.name in TIME_FIELDS for field in message.fields)


def cloud_message(
    make: Callable[..., Any],  # see perception.ros.codec
    stamp_ns: int,
    frame_id: str,
    points: np.ndarray,  # (N, >= 4): x, y, z [m], intensity
    rings: np.ndarray | None = None,  # (N,)
    times_s: np.ndarray | None = None,  # (N,) after the stamp
) -> Any:
    """A PointCloud2 with fields x, y, z, intensity and, where they are known, ring (uint16) and time (float32)."""
    columns = {name: ("f4", points[:, column]) for column, name in enumerate(COLUMNS)}
    if rings is not None:
        columns["ring"] = ("u2", rings)
    if times_s is not None:
        columns["time"] = ("f4", times_s)
    dtype = np.dtype([(name, f"<{kind}") for name, (kind, _) in columns.items()], align=True)
    cloud = np.zeros(len(points), dtype)
    for name, (_, values) in columns.items():
        cloud[name] = values
    fields = [
        make("sensor_msgs/msg/PointField", name=name, offset=dtype.fields[name][1], datatype=NUMBERS[kind], count=1)
        for name, (kind, _) in columns.items()
    ]
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=header_message(make, stamp_ns, frame_id),
        height=1,
        width=len(cloud),
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * len(cloud),
        data=cloud.view(np.uint8),
        is_dense=bool(np.isfinite(points[:, :3]).all()),
    )


def _records(message: Any, what: str) -> np.ndarray:
    """The points as they lie in the message (height, width), a structured view of its bytes."""
    layout = tuple((f.name, int(f.offset), int(f.datatype), int(f.count)) for f in message.fields)
    dtype = _dtype(layout, bool(message.is_bigendian), int(message.point_step), what)
    height, width = int(message.height), int(message.width)
    used = width * dtype.itemsize
    row_step = int(message.row_step) or used
    if row_step < used:
        raise InputError(f"{what} row_step", f"at least {width} points of {dtype.itemsize} bytes", f"{row_step}")
    data = bytes_of(message.data, f"{what} data")
    if data.size not in (height * row_step, (height - 1) * row_step + used):  # the last row's padding may be left out
        expected = f"{height * row_step} bytes, {height} rows of {row_step}"
        raise InputError(f"{what} data", expected, f"{data.size} bytes")
    return np.ndarray((height, width), dtype, data, strides=(row_step, dtype.itemsize))


@lru_cache(maxsize=64)  # a sensor's layout doesn't change
def _dtype(layout: Layout, is_bigendian: bool, point_step: int, what: str) -> np.dtype:
    """A point's fields; those without a name are padding."""
    named = [field for field in layout if field[0]]
    names = [name for name, *_ in named]
    if point_step >= LARGEST:
        raise InputError(f"{what} point_step", f"less than {LARGEST} bytes", f"{point_step}")
    for axis in ("x", "y", "z"):
        if axis not in names:
            raise InputError(f"{what} fields", "x, y and z", ", ".join(names) or "none")
    if len(set(names)) < len(names):
        raise InputError(f"{what} fields", "each name once", ", ".join(names))
    formats, offsets = [], []
    for name, offset, datatype, count in named:
        if datatype not in FORMATS:
            raise InputError(f"{what} field {name}", f"a datatype 1 to {len(FORMATS)}", f"{datatype}")
        kind = np.dtype((">" if is_bigendian else "<") + FORMATS[datatype])
        if count > 1 and name in (*COLUMNS, *TIME_FIELDS):
            raise InputError(f"{what} field {name}", "one number a point", f"{count}")
        formats.append((kind, (count,)) if count > 1 else kind)
        offsets.append(offset)
        if offset + kind.itemsize * max(count, 1) > point_step:
            raise InputError(f"{what} field {name}", f"within the {point_step} bytes of a point", f"it at {offset}")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": point_step})


def _times(cloud: np.ndarray) -> np.ndarray | None:
    """The points' times as the message has them (N,), None without."""
    name = next((name for name in TIME_FIELDS if name in cloud.dtype.names), None)
    return None if name is None else cloud[name].reshape(-1)


def _times_ns(times: np.ndarray, stamp_ns: int, what: str) -> np.ndarray:
    """Absolute times (N,) int64 [ns] of finite ones in any unit that drivers use."""
    if not times.size:
        return np.zeros(0, np.int64)
    furthest = max(abs(float(times.min())), abs(float(times.max())))
    if times.dtype.kind in "iu" or RELATIVE_SECONDS < furthest <= RELATIVE_NS:
        times_ns = stamp_ns + np.rint(times).astype(np.int64)
    elif furthest <= RELATIVE_SECONDS:
        times_ns = stamp_ns + _ns_of_seconds(times)
    elif furthest <= ABSOLUTE_SECONDS:
        times_ns = _ns_of_seconds(times)
    else:
        times_ns = np.rint(times).astype(np.int64)
    away_s = max(abs(int(times_ns.min()) - stamp_ns), abs(int(times_ns.max()) - stamp_ns)) / SECOND_NS
    if away_s > FURTHEST_S:
        expected = f"times within {FURTHEST_S:g} s of the header's stamp"
        raise InputError(f"{what} times of points", expected, f"{away_s:g} s away", "let the driver stamp both alike")
    return times_ns


def _ns_of_seconds(times: np.ndarray) -> np.ndarray:
    """Whole seconds first: what is left of a time since 1970 has room for its digits."""
    times = times.astype(np.float64)
    whole = np.floor(times)
    return whole.astype(np.int64) * SECOND_NS + np.rint((times - whole) * 1e9).astype(np.int64)


def _notes(cloud: np.ndarray, dropped: int) -> tuple[str, ...]:
    notes = []
    if "intensity" not in cloud.dtype.names:
        notes.append("The cloud has no intensity: it is taken as 0.")
    if dropped:
        notes.append(f"{dropped} points that were not finite are dropped.")
    return tuple(notes)
