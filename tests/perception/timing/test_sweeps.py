"""Clouds accumulated as they come are those that the sources read from files."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import Transform
from perception.sources import FrameOptions
from perception.sources.clouds import Sweep, read_cloud
from perception.timing.sweeps import Sweeps
from perception.types import PointCloud

START_NS, STEP_NS = 1_533_000_000_123_457_000, 50_000_000


def recorded(folder: Path, count: int) -> list[Sweep]:
    """Sweeps of random points on a winding way, some of the own car."""
    rng, sweeps = np.random.default_rng(0), []
    for k in range(count):
        path = folder / f"{k}.bin"
        rng.normal(0, 10, (200 + k, 5)).astype("<f4").tofile(path)
        pose = Transform(Rotation.from_euler("zyx", rng.normal(0, 0.2, 3)).as_matrix(), (600 + k, 1600, 1))
        sweeps.append(Sweep((path,), START_NS + k * STEP_NS, pose))
    return sweeps


def live(sweep: Sweep) -> tuple[PointCloud, int, Transform]:
    points = np.fromfile(sweep.paths[0], "<f4").reshape(-1, 5).copy()
    points[:, 4] = 0
    return PointCloud(points), sweep.stamp_ns, sweep.world_from_lidar


@pytest.mark.parametrize(("kept", "radius_m"), [(9, 1.0), (3, 5.0), (0, 1.0)])
def test_clouds_are_those_read_from_files_bit_by_bit(tmp_path: Path, kept, radius_m):
    ring, recording = Sweeps(kept, radius_m), recorded(tmp_path, 14)
    options = FrameOptions(sweeps=kept, remove_radius_m=radius_m)
    for k, sweep in enumerate(recording):
        expected, _ = read_cloud(sweep, recording[:k], options)
        np.testing.assert_array_equal(ring.add(*live(sweep)).points, expected.points)


def test_clouds_that_are_only_kept_are_seen_from_those_after(tmp_path: Path):
    ring, recording = Sweeps(), recorded(tmp_path, 4)
    for sweep in recording[:3]:
        ring.keep(*live(sweep))
    expected, _ = read_cloud(recording[3], recording[:3], FrameOptions())
    np.testing.assert_array_equal(ring.add(*live(recording[3])).points, expected.points)


def test_dropped_points_are_those_of_all_sweeps(tmp_path: Path):
    ring, recording = Sweeps(2), recorded(tmp_path, 4)
    dropped = []
    for k, sweep in enumerate(recording):
        cloud, stamp_ns, pose = live(sweep)
        dropped.append(ring.add(PointCloud(cloud.points, dropped=10**k), stamp_ns, pose).dropped)
    assert dropped == [1, 11, 111, 1110]


def test_sweeps_from_before_an_outage_or_an_epoch_are_left_out(tmp_path: Path):
    ring, recording = Sweeps(max_age_ns=2 * STEP_NS), recorded(tmp_path, 8)
    for sweep in recording[:4]:
        cloud = ring.add(*live(sweep))
    assert np.unique(cloud.points[:, 4]).tolist() == np.float32([0, 0.05, 0.1]).tolist()
    assert not ring.add(*live(recording[7])).points[:, 4].any()
    ring.forget()
    assert len(ring.add(*live(recording[0])).points) == 200


def test_what_was_given_is_not_changed(tmp_path: Path):
    ring, recording = Sweeps(), recorded(tmp_path, 2)
    cloud, stamp_ns, pose = live(recording[0])
    before = cloud.points.copy()
    first = ring.add(cloud, stamp_ns, pose)
    held = first.points.copy()
    ring.add(*live(recording[1]))
    np.testing.assert_array_equal(cloud.points, before)
    np.testing.assert_array_equal(first.points, held)


def test_a_cloud_that_is_not_deskewed_or_not_newer_is_refused(tmp_path: Path):
    ring, (first, second) = Sweeps(), recorded(tmp_path, 2)
    cloud, stamp_ns, pose = live(second)
    with pytest.raises(InputError, match="deskew it first"):
        ring.add(PointCloud(cloud.points, np.zeros(len(cloud.points), np.int64)), stamp_ns, pose)
    ring.add(cloud, stamp_ns, pose)
    with pytest.raises(InputError, match="cloud's stamp: expected later than"):
        ring.add(*live(first))


@pytest.mark.parametrize("change", [{"sweeps": -1}, {"remove_radius_m": np.nan}, {"max_age_ns": -1}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(InputError, match="numbers >= 0"):
        Sweeps(**change)
