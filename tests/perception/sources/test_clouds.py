"""Clouds arrive as they are in the file, sweeps where they were seen from the keyframe, and nothing is made up."""

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from calibration.transform import Transform
from perception.sources import FrameOptions, MissingDataError
from perception.sources.clouds import Sweep, read_cloud, read_points

KEY_NS = 1_533_000_000_123_457_000


def write(path: Path, points: object) -> Path:
    np.asarray(points, "<f4").tofile(path)
    return path


def sweep(path: Path, age_ms: int = 0, x: float = 0.0) -> Sweep:
    """A sweep at an x position in the world, turned by 90 degrees there."""
    world_from_lidar = Transform([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [1000 + x, 2000, 0])
    return Sweep((path,), KEY_NS - age_ms * 1_000_000, world_from_lidar)


def far_points(count: int, seed: int = 0) -> np.ndarray:
    """Points (count, 5) at least 2 m from the sensor, with a ring number."""
    return np.random.default_rng(seed).uniform(2, 50, (count, 5)).astype(np.float32)


def test_points_come_in_the_order_of_the_file_without_the_ring(tmp_path: Path) -> None:
    points = far_points(7)
    got, dropped = read_points(write(tmp_path / "a.bin", points))
    assert (got.dtype, dropped) == (np.float32, 0)
    np.testing.assert_array_equal(got, points[:, :4])


@pytest.mark.parametrize("size", [0, 1, 19, 21, 7 * 20 - 4])
def test_an_empty_or_cut_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(MissingDataError, match=rf"a\.bin: expected points of 5 float32 each, got {size} bytes"):
        read_points(path)


def test_points_that_are_not_finite_are_dropped_counted_and_noted(tmp_path: Path) -> None:
    points = far_points(6)
    points[1, 0], points[2, 2], points[4, 3] = np.nan, np.inf, -np.inf
    points[5, 4] = np.nan  # a ring, which nobody reads
    path = write(tmp_path / "a.bin", points)
    cloud, notes = read_cloud(sweep(path), [sweep(path, 50)], FrameOptions())
    assert len(cloud.points) == 2 * 3
    assert np.isfinite(cloud.points).all()
    assert cloud.dropped == 2 * 3
    assert notes == ("6 points that were not finite are dropped.",)


def test_the_keyframe_comes_first_then_the_sweeps_from_newest_to_oldest_with_their_ages(tmp_path: Path) -> None:
    sizes = {0: 3, 50: 4, 100: 5, 150: 6}
    sweeps = {age: sweep(write(tmp_path / f"{age}.bin", far_points(n)), age) for age, n in sizes.items()}
    cloud, notes = read_cloud(sweeps[0], [sweeps[100], sweeps[150], sweeps[50]], FrameOptions())
    expected = np.repeat(np.float32([0, 0.05, 0.1, 0.15]), [3, 4, 5, 6])
    np.testing.assert_array_equal(cloud.points[:, 4], expected)
    assert notes == ()
    newest, _ = read_cloud(sweeps[0], [sweeps[100], sweeps[150], sweeps[50]], FrameOptions(sweeps=2))
    np.testing.assert_array_equal(newest.points, cloud.points[:12])


def test_what_stands_still_in_the_world_stays_in_one_place(tmp_path: Path) -> None:
    """The car drove 3 m along the world's x, which is the turned lidar's -y."""
    place = np.array([[10, 5, 1, 99, 0]], np.float32)
    seen_before = place + np.float32([0, -3, 0, 0, 0])
    key, before = write(tmp_path / "key.bin", place), write(tmp_path / "before.bin", seen_before)
    cloud, _ = read_cloud(sweep(key, x=3), [sweep(before, 50, x=0)], FrameOptions())
    np.testing.assert_allclose(cloud.points[:, :4], np.repeat(place[:, :4], 2, axis=0), atol=1e-4)


def test_returns_from_the_own_car_are_removed_in_a_square_from_the_sweeps_only(tmp_path: Path) -> None:
    points = np.zeros((5, 5), np.float32)
    points[:, :3] = [[0, 0, 0], [0.99, -0.99, 5], [1.0, 0.5, 0], [-0.5, 1.01, 0], [0.8, 0.8, -1]]
    path = write(tmp_path / "a.bin", points)
    cloud, _ = read_cloud(sweep(path), [sweep(path, 50)], FrameOptions(remove_radius_m=1.0))
    np.testing.assert_array_equal(cloud.points[:5, :3], points[:, :3])
    np.testing.assert_allclose(cloud.points[5:, :3], points[2:4, :3], atol=1e-6)
    kept, _ = read_cloud(sweep(path), [sweep(path, 50)], FrameOptions(remove_radius_m=0))
    assert len(kept.points) == 10


def test_a_scene_that_just_began_has_fewer_sweeps_and_no_padding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", far_points(4))
    cloud, notes = read_cloud(sweep(path), [], FrameOptions(sweeps=9))
    assert (len(cloud.points), notes) == (4, ())


def test_a_sweep_from_the_future_is_an_input_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", far_points(4))
    with pytest.raises(InputError, match=r"a\.bin: expected a sweep before its keyframe, got one 0.05 s after it"):
        read_cloud(sweep(path), [sweep(path, -50)], FrameOptions(allow_missing=True))


def test_a_lost_sweep_is_left_out_with_its_reason_only_if_that_is_allowed(tmp_path: Path) -> None:
    path, lost = write(tmp_path / "a.bin", far_points(4)), tmp_path / "lost.bin"
    cloud, notes = read_cloud(sweep(path), [sweep(lost, 50), sweep(path, 100)], FrameOptions(allow_missing=True))
    np.testing.assert_array_equal(cloud.points[:, 4], np.repeat(np.float32([0, 0.1]), 4))
    assert notes == (f"A sweep is left out: lost.bin: expected a file at {lost}, got none.",)
    with pytest.raises(MissingDataError, match=r"lost\.bin"):
        read_cloud(sweep(path), [sweep(lost, 50)], FrameOptions())


def test_without_the_keyframes_cloud_there_is_none(tmp_path: Path) -> None:
    path, lost = write(tmp_path / "a.bin", far_points(4)), tmp_path / "lost.bin"
    cloud, notes = read_cloud(sweep(lost), [sweep(path, 50)], FrameOptions(allow_missing=True))
    assert cloud is None
    assert notes == (f"The cloud is left out: lost.bin: expected a file at {lost}, got none.",)
    with pytest.raises(MissingDataError, match=r"lost\.bin"):
        read_cloud(sweep(lost), [], FrameOptions())
