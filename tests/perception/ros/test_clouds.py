"""A cloud's points come out of any layout that a PointCloud2 can have; what can't be one is named."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ros.clouds import FORMATS, cloud_from_message, cloud_message
from perception.ros.codec import Codec

pytest.importorskip("rosbags")
STAMP_NS = 1_533_000_000_123_457_000
XYZ = (("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1))


def message(cloud: np.ndarray, fields: tuple = XYZ, **changes: Any) -> SimpleNamespace:
    """A PointCloud2 with one row of the records of an array."""
    step, sec, nanosec = cloud.dtype.itemsize, *divmod(STAMP_NS, 10**9)
    made = {
        "header": SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="lidar"),
        "height": 1,
        "width": len(cloud),
        "fields": [
            SimpleNamespace(name=name, offset=offset, datatype=kind, count=count)
            for name, offset, kind, count in fields
        ],
        "is_bigendian": False,
        "point_step": step,
        "row_step": step * len(cloud),
        "data": cloud.tobytes(),
    }
    return SimpleNamespace(**(made | changes))


def xyz(count: int = 4) -> np.ndarray:
    return np.arange(3 * count, dtype="<f4").reshape(count, 3).view("<f4,<f4,<f4").reshape(-1)


def timed(times: np.ndarray, name: str, number: int) -> SimpleNamespace:
    """A cloud whose points have times."""
    cloud = np.zeros(len(times), [("xyz", "<f4", 3), ("t", times.dtype)])
    cloud["t"] = times
    return message(cloud, (*XYZ, (name, 12, number, 1)))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[SimpleNamespace, np.ndarray]:
    """A message of any layout, and the x, y, z, intensity that are in it."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    order = draw(st.sampled_from("<>"))
    names = draw(st.permutations(["x", "y", "z", "intensity", "ring", "t_unused", ""]))
    fields, offset = [], 0
    for name in names:
        kind = draw(st.sampled_from(sorted(FORMATS)))
        offset += draw(st.integers(0, 3))
        fields.append((name, offset, kind, draw(st.integers(0, 2)) if name in ("", "ring") else 1))
        offset += np.dtype(FORMATS[kind]).itemsize * max(fields[-1][3], 1)
    step = offset + draw(st.integers(0, 5))
    padding = draw(st.integers(0, 7))
    data = np.full((rows, columns * step + padding), 0xA5, np.uint8)
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 120, (rows * columns, 4))
    for name, start, kind, _ in fields:
        if name in ("x", "y", "z", "intensity"):
            dtype = np.dtype(order + FORMATS[kind])
            column = values[:, ("x", "y", "z", "intensity").index(name)].astype(dtype)
            raw = column.view(np.uint8).reshape(rows, columns, dtype.itemsize)
            for byte in range(dtype.itemsize):
                data[:, start + byte : columns * step : step] = raw[..., byte]
    cloud = message(np.zeros(0, "u1"), tuple(fields))
    cloud.height, cloud.width, cloud.point_step, cloud.row_step = rows, columns, step, data.shape[1]
    cloud.is_bigendian, cloud.data = order == ">", data.tobytes()
    return cloud, values


@given(layouts())
def test_points_of_any_layout_come_out_as_they_went_in(made: tuple[SimpleNamespace, np.ndarray]) -> None:
    cloud, notes = cloud_from_message(made[0])
    np.testing.assert_array_equal(cloud.points[:, :4], made[1])
    assert (cloud.points[:, 4] == 0).all()
    assert (cloud.times_ns, cloud.dropped, notes) == (None, 0, ())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_any_kind_of_byte_array_will_do(kind: type) -> None:
    cloud = message(xyz())
    expected = cloud_from_message(cloud)[0].points
    cloud.data = kind(cloud.data)
    np.testing.assert_array_equal(cloud_from_message(cloud)[0].points, expected)
    cloud.data = list(cloud.data)
    with pytest.raises(InputError, match="cloud data: expected bytes, got list"):
        cloud_from_message(cloud)


def test_what_is_written_is_read_and_survives_its_bytes() -> None:
    points = np.random.default_rng(0).uniform(-50, 50, (100, 4)).astype(np.float32)
    times_s = np.linspace(-0.05, 0, 100, dtype=np.float32)
    codec = Codec()
    made = cloud_message(codec.make, STAMP_NS, "lidar", points, rings=np.arange(100) % 32, times_s=times_s)
    decoded = codec.decode(codec.encode(made), "sensor_msgs/msg/PointCloud2")
    for one in (made, decoded):
        cloud, notes = cloud_from_message(one)
        np.testing.assert_array_equal(cloud.points[:, :4], points)
        np.testing.assert_allclose(cloud.times_ns - STAMP_NS, times_s * 1e9, atol=1)
        assert notes == ()
    assert [field.name for field in decoded.fields] == ["x", "y", "z", "intensity", "ring", "time"]


def test_without_intensity_it_is_0_and_a_note_says_so() -> None:
    cloud, notes = cloud_from_message(message(xyz()))
    assert (cloud.points[:, 3] == 0).all()
    assert notes == ("The cloud has no intensity: it is taken as 0.",)


def test_points_that_are_not_finite_are_dropped_and_counted_with_their_times() -> None:
    cloud = np.zeros(5, [("xyz", "<f4", 3), ("t", "<u4")])
    cloud["xyz"][1, 0], cloud["xyz"][3, 2], cloud["t"] = np.nan, np.inf, np.arange(5) * 1000
    got, notes = cloud_from_message(message(cloud, (*XYZ, ("t", 12, 6, 1))))
    assert (len(got.points), got.dropped) == (3, 2)
    assert (got.times_ns - STAMP_NS).tolist() == [0, 2000, 4000]
    assert notes[1] == "2 points that were not finite are dropped."


@pytest.mark.parametrize(
    ("name", "number", "times", "expected_ns"),
    [
        ("t", 6, np.array([0, 99_000_000], "<u4"), [0, 99_000_000]),
        ("offset_time", 5, np.array([-5, 7], "<i4"), [-5, 7]),
        ("time", 7, np.array([-0.1, 0.0], "<f4"), [-100_000_001, 0]),
        ("time_stamp", 7, np.array([0, 5e7], "<f4"), [0, 50_000_000]),
        ("timestamp", 8, np.array([STAMP_NS / 1e9 - 0.1, STAMP_NS / 1e9]), [-100_000_000, 0]),
        ("timestamp", 8, np.array([STAMP_NS - 1e8, STAMP_NS]), [-100_000_000, 0]),
    ],
)
def test_times_in_every_unit_that_drivers_use(name: str, number: int, times: np.ndarray, expected_ns: list) -> None:
    got = cloud_from_message(timed(times, name, number))[0].times_ns
    np.testing.assert_allclose(got - STAMP_NS, expected_ns, atol=300)


def test_times_of_another_clock_than_the_headers_are_an_input_error() -> None:
    with pytest.raises(InputError, match=r"within 10 s of the header's stamp, got 3600 s away"):
        cloud_from_message(timed(np.full(3, STAMP_NS / 1e9 - 3600), "timestamp", 8))


def test_an_empty_cloud_is_one() -> None:
    assert cloud_from_message(message(xyz(0)))[0].points.shape == (0, 5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": bytes(47)}, "expected 48 bytes, 1 rows of 48, got 47 bytes"),
        ({"data": bytes(60)}, "expected 48 bytes, 1 rows of 48, got 60 bytes"),
        ({"data": b""}, "got 0 bytes"),
        ({"row_step": 40}, "row_step: expected at least 4 points of 12 bytes, got 40"),
        ({"point_step": 2**31}, "point_step: expected less than 2147483648 bytes"),
        ({"point_step": 10}, "field z: expected within the 10 bytes of a point, got it at 8"),
        ({"fields": []}, "expected x, y and z, got none"),
    ],
)
def test_what_does_not_fit_together_is_named(changes: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cloud_from_message(message(xyz(), **changes))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (("z", 8, 9, 1), "field z: expected a datatype 1 to 8, got 9"),
        (("z", 8, 2, 3), "field z: expected one number a point, got 3"),
        (("x", 8, 7, 1), "expected x, y and z, got x, y, x"),
    ],
)
def test_a_field_that_cannot_be_is_named(field: tuple, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cloud_from_message(message(xyz(), (*XYZ[:2], field)))
