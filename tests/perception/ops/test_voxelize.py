"""Voxels are means of the points that share a cell: first come, first served, and the same in every run."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops.voxelize import (
    _means_at_once,
    points_inside,
    voxelize,
    voxelize_batch,
    voxelize_torch,
    with_spans,
)
from tests.data import GOLDEN, needs
from tests.golden import golden_config, golden_inputs, golden_results

LOWER, VOXEL, SIZE = (-2.0, -1.0, 0.0), (0.5, 0.25, 1.0), (8, 8, 3)  # up to (2, 1, 3)


def voxelize_plainly(points: np.ndarray, max_points=None, max_voxels=None) -> dict[tuple[int, ...], np.ndarray]:
    """The definition, point by point: mean point of each voxel's cell, in the order of arrival."""
    voxels: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point in points:
        place = (point[:3] - np.float32(LOWER)) / np.float32(VOXEL)
        cell = tuple(math.floor(value) for value in place)
        if any(not 0 <= index < count for index, count in zip(cell, SIZE, strict=True)):
            continue
        if cell not in voxels and max_voxels is not None and len(voxels) == max_voxels:
            continue
        members = voxels.setdefault(cell, [])
        if max_points is None or len(members) < max_points:
            members.append(point)
    return {cell: np.mean(members, axis=0, dtype=np.float64) for cell, members in voxels.items()}


def random_points(seed: int, count: int) -> np.ndarray:
    """Some of them outside, many in the same voxels."""
    rng = np.random.default_rng(seed)
    return rng.uniform((-2.5, -1.2, -0.5, 0, 0), (2.5, 1.2, 3.5, 255, 1), (count, 5)).astype(np.float32)


def assert_as_plain(points: np.ndarray, **limits: int | None) -> None:
    features, coordinates = voxelize(torch.from_numpy(points), LOWER, VOXEL, SIZE, **limits)
    expected = voxelize_plainly(points, **limits)
    assert list(map(tuple, coordinates.tolist())) == list(expected)  # the same voxels in the same order
    np.testing.assert_allclose(features.numpy(), np.array(list(expected.values())).reshape(-1, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_points", [None, 1, 3])
@pytest.mark.parametrize("max_voxels", [None, 1, 20])
@pytest.mark.parametrize("seed", range(3))
def test_it_does_what_a_plain_loop_does(seed, max_points, max_voxels):
    assert_as_plain(random_points(seed, 500), max_points=max_points, max_voxels=max_voxels)


CORNERS = [
    (-2.0, -1.0, 0.0),
    (2.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 3.0),
    (1.9999, 0.9999, 2.9999),
    (-2.0001, 0, 0),
]


@given(st.lists(st.sampled_from(CORNERS), max_size=12), st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 2]))
def test_borders_and_few_points(corners, max_points, max_voxels):
    points = np.array([(*corner, i, 0) for i, corner in enumerate(corners)], np.float32).reshape(-1, 5)
    assert_as_plain(points, max_points=max_points, max_voxels=max_voxels)


def test_points_on_the_borders_of_the_public_grid_are_rounded_as_in_the_public_code():
    """It divides by the voxel's size in single precision: multiplying by the reciprocal moves some points."""
    lower, voxel, size = (-54.0, -54.0, -5.0), (0.075, 0.075, 0.2), (1440, 1440, 40)
    steps = np.arange(1440)
    points = np.stack([-54 + 0.075 * steps, -54 + 0.075 * steps[::-1], -5 + 0.2 * (steps % 40)], axis=1)
    points = points.astype(np.float32)
    expected = np.floor((points - np.float32(lower)) / np.float32(voxel))
    assert (expected != np.floor((points - np.float32(lower)) * (1 / np.float32(voxel)))).any()
    inside = ((expected >= 0) & (expected < size)).all(axis=1)
    _, coordinates = voxelize(torch.from_numpy(points), lower, voxel, size)
    np.testing.assert_array_equal(np.unique(coordinates, axis=0), np.unique(expected[inside], axis=0))


def test_the_first_points_of_a_voxel_count():
    points = torch.tensor([[0.1, 0.1, 0.1, intensity] for intensity in (10.0, 20.0, 60.0)])
    (feature,), _ = voxelize(points, LOWER, VOXEL, SIZE, max_points=2)
    assert feature[3] == 15
    (feature,), _ = voxelize(points, LOWER, VOXEL, SIZE)
    assert feature[3] == 30


def test_the_first_voxels_count_and_later_points_still_join_them():
    points = torch.tensor([[1.1, 0.1, 0.1, 10.0], [-1.1, 0.1, 0.1, 0.0], [1.1, 0.1, 0.1, 20.0]])
    features, coordinates = voxelize(points, LOWER, VOXEL, SIZE, max_voxels=1)
    assert coordinates.tolist() == [[6, 4, 0]]
    assert features[0, 3] == 15


@pytest.mark.parametrize("points", [torch.zeros(0, 5), torch.full((4, 5), 100.0)], ids=["no point", "all outside"])
def test_nothing_inside_gives_no_voxel(points):
    features, coordinates = voxelize(points, LOWER, VOXEL, SIZE, max_points=10, max_voxels=100)
    assert features.shape == (0, 5)
    assert coordinates.shape == (0, 3)
    assert coordinates.dtype == torch.int64


def test_the_number_of_threads_does_not_change_a_bit():
    points = torch.from_numpy(random_points(0, 50_000))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            results.append(voxelize(points, LOWER, VOXEL, SIZE, max_points=400, max_voxels=150))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@needs(GOLDEN)
def test_the_keyframe_has_as_many_voxels_as_in_the_public_code():
    config = golden_config("lidar")
    points, limits = torch.from_numpy(golden_inputs()["points"]), config.points
    grid, size = config.grid, (1440, 1440, 40)
    _, coordinates = voxelize(points, grid.lower, grid.voxel, size, limits.max_points_per_voxel, limits.max_voxels)
    assert len(coordinates) == golden_results("lidar")["num_voxels"]


def test_clouds_looked_at_together_give_the_voxels_of_each():
    """What a GPU does, on a CPU: one cloud after the other says what is right."""
    generator = torch.Generator().manual_seed(3)
    scale, grid = torch.tensor([12.0, 12, 5, 1, 1]), ((0.0, 0.0, 0.0), (0.5, 0.5, 1.0), (20, 20, 4))
    clouds = [torch.rand(count, 5, generator=generator) * scale - 1 for count in (500, 0, 300)]
    means, places = voxelize_batch(clouds, *grid)
    assert torch.bincount(places[:, 0], minlength=3).tolist() == [len(voxelize(cloud, *grid)[0]) for cloud in clouds]
    order = np.lexsort(places.numpy().T[::-1])
    together, places_together = _means_at_once(clouds, *grid)
    assert torch.equal(places_together, places[order])
    torch.testing.assert_close(together, means[order])


@pytest.mark.parametrize("size", [(0, 4, 4), (4, -1, 4), (2**21, 2**21, 2**21), (2**62, 2**62, 1)])
def test_a_grid_without_voxels_or_with_more_than_can_be_counted_is_an_input_error(size):
    with pytest.raises(InputError, match=r"voxel grid: expected at least 1 voxel .* fewer than 2\^63, got"):
        voxelize(torch.zeros(3, 3), (0, 0, 0), (1, 1, 1), size)
    with pytest.raises(InputError, match="voxel grid"):
        voxelize_batch([torch.zeros(3, 3)], (0, 0, 0), (1, 1, 1), size)


def test_points_are_told_apart_by_the_span_that_holds_their_age():
    points = torch.arange(20.0).view(4, 5)
    points[:, 4] = torch.tensor([0.0, 0.1, 0.101, 7.0])
    told = with_spans(points, (0.1, 0.2))
    assert torch.equal(told[:, :5], points)
    assert told[:, 5:].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert with_spans(points, ()) is points
    assert with_spans(points[:0], (0.1,)).shape == (0, 7)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(0, 200), limits=st.sampled_from([(None, None), (3, None), (2, 7)]))
def test_spans_are_the_mean_of_their_columns(seed, count, limits):
    chance = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 5, generator=chance) * torch.tensor([4.0, 4, 4, 255, 0.5])
    edges = (0.1, 0.2, 0.2, 0.4)
    points[::7, 4], points[::11, 4] = 0.2, float("nan")
    where = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 3))
    found, places = voxelize(points, *where, *limits, edges)
    expected, expected_places = voxelize(with_spans(points, edges), *where, *limits)
    assert torch.equal(places, expected_places)
    torch.testing.assert_close(found, expected, equal_nan=True)
    plain, plain_places = voxelize_torch(points, *where, *limits, edges)
    assert torch.equal(places, plain_places)
    torch.testing.assert_close(found, plain, equal_nan=True)


def test_points_at_the_bounds_and_numbers_that_are_none_are_not_inside():
    points = torch.rand(500, 5, generator=torch.Generator().manual_seed(0)) * 4
    points[:40, :3] = points[:40, :3].round()
    points[::9, 1] = float("nan")
    lower, upper = (1.0, 1.0, 0.0), (3.0, 3.5, 2.0)
    xyz = points[:, :3]
    expected = points[((xyz > torch.tensor(lower)) & (xyz < torch.tensor(upper))).all(dim=1)]
    assert 10 < len(expected) < 400
    assert torch.equal(points_inside(points, lower, upper), expected)
    assert torch.equal(points_inside(points.T.contiguous().T, lower, upper), expected)
    assert torch.equal(points_inside(points.double(), lower, upper), expected.double())
    assert points_inside(points[:0], lower, upper).shape == (0, 5)
