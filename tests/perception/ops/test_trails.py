"""Trails: the kernel counts what the readable version counts, and both what a plain look at every point does."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops.trails import (
    WAY,
    Layout,
    count_trails,
    count_trails_torch,
    straightened,
    straightened_rows,
)

LAYOUT = Layout(spans=5, span_s=0.05, layers=2, cells=40, cell_m=0.25, above_m=0.25, over_m=0.2)


def points_of(rng: np.random.Generator, count: int) -> torch.Tensor:
    points = rng.uniform((-8, -8, -2, 0, -0.01), (8, 8, 2, 255, 0.3), (count, 5))
    return torch.from_numpy(points.astype(np.float32))


def ways_of(rng: np.random.Generator, count: int) -> torch.Tensor:
    angle = rng.uniform(-math.pi, math.pi, count)
    columns = {
        "x": rng.uniform(-4, 4, count),
        "y": rng.uniform(-4, 4, count),
        "bottom": rng.uniform(-2, 0, count),
        "height": rng.uniform(0.5, 3, count),
        "cosine": np.cos(angle),
        "sine": np.sin(angle),
        "side": rng.uniform(0.2, 2, count),
        "far": rng.uniform(1, 9, count),
    }
    return torch.from_numpy(np.stack([columns[name] for name in WAY], axis=1))


def counted_plainly(points: torch.Tensor, way: torch.Tensor) -> np.ndarray:
    x0, y0, bottom, height, cosine, sine, side, far = way.tolist()
    counts = np.zeros(LAYOUT.shape, int)
    for x, y, z, _, age in points.double().tolist():
        along = (x - x0) * cosine + (y - y0) * sine
        span, cell = round(age / LAYOUT.span_s), math.floor(along / LAYOUT.cell_m) + LAYOUT.cells // 2
        beside, above = abs((y - y0) * cosine - (x - x0) * sine), z - bottom
        if beside < side and abs(along) < far and 0.25 < above < height + 0.2 and 0 <= span < 5 and 0 <= cell < 40:
            counts[span * 2 + min(int(above / height * 2), 1), cell] += 1
    return counts


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(0, 6))
def test_all_ways_of_counting_agree(seed: int, count: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    points, ways = points_of(rng, count), ways_of(rng, number)
    found, twin = count_trails(points, ways, LAYOUT), count_trails_torch(points, ways, LAYOUT)
    assert found.shape == (number, 10, 40)
    for trail, other, way in zip(found, twin, ways, strict=True):
        plain = counted_plainly(points, way)
        np.testing.assert_array_equal(other, plain)
        assert np.abs(trail.numpy().astype(int) - plain).sum() <= 2  # a point on an edge, to rounding


def test_counts_end_at_255() -> None:
    points = torch.zeros(1000, 5)
    way = torch.tensor([[0.0, 0, -1, 2, 1, 0, 1, 5]], dtype=torch.float64)
    for count in (count_trails, count_trails_torch):
        assert count(points, way, LAYOUT).sum() == 255


def test_what_is_no_number_is_nowhere() -> None:
    points = torch.full((7, 5), math.nan)
    points[1], points[2, 4] = math.inf, 1e38
    ways = torch.full((3, 8), math.nan, dtype=torch.float64)
    ways[1] = torch.tensor([0.0, 0, -1, 2, 1, 0, 1, 5])
    for count in (count_trails, count_trails_torch):
        assert count(points, ways, LAYOUT).sum() == 0


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    points, ways = points_of(rng, 5000), ways_of(rng, 40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = count_trails(points, ways, LAYOUT)
        torch.set_num_threads(3)
        assert torch.equal(count_trails(points, ways, LAYOUT), one)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(count_trails(points.T.contiguous().T, ways, LAYOUT), one)


@pytest.mark.parametrize(
    ("points", "ways", "layout"),
    [
        (torch.zeros(3, 4), torch.zeros(1, 8).double(), LAYOUT),
        (torch.zeros(3, 5).double(), torch.zeros(1, 8).double(), LAYOUT),
        (torch.zeros(3, 5), torch.zeros(1, 8), LAYOUT),
        (torch.zeros(3, 5), torch.zeros(1, 8).double(), Layout(0, 0.05, 1, 4, 0.1, 0, 0)),
        (torch.zeros(3, 5), torch.zeros(1, 8).double(), Layout(2, 0.05, 1, 4, 0.0, 0, 0)),
    ],
)
def test_other_shapes_and_types_are_refused(points: torch.Tensor, ways: torch.Tensor, layout: Layout) -> None:
    with pytest.raises(InputError):
        count_trails(points, ways, layout)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    count=st.integers(0, 5),
    layers=st.integers(1, 3),
    bins=st.integers(1, 20),
    cells=st.integers(4, 60).map(lambda half: 2 * half),
    known=st.integers(0, 19),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_rows_of_straightened_trails_are_those_of_torch(seed, count, layers, bins, cells, known, dtype) -> None:
    rng = np.random.default_rng(seed)
    layout = Layout(6, 0.05, layers, cells, 0.125, 0.25, 0.2)
    trails = torch.from_numpy(
        rng.poisson(rng.choice([0.1, 3, 60]), (count, *layout.shape)).clip(0, 255).astype(np.uint8)
    )
    halves = torch.from_numpy(rng.uniform(0.5, 8, count).astype(np.float32))
    speeds, about = torch.arange(-9, 10) * 1.5, torch.from_numpy(rng.normal(size=(count, known)).astype(np.float32))
    sizes = speeds.abs() / 10
    rows = straightened_rows(trails, halves, speeds, about.to(dtype), sizes, layout, bins)
    width = layout.shape[0] * bins
    assert rows.dtype == dtype
    assert rows.shape == (count, 19, width + known + 1 + (width + known + 1) % 2)
    straight = straightened(trails, halves, speeds, layout, bins)
    off = 1e-2 if dtype == torch.bfloat16 else 1e-3  # where a count of 1 / cell is cut at 1e-5 of a cell elsewhere
    torch.testing.assert_close(rows[..., :width].float(), straight, atol=off, rtol=off)
    assert torch.equal(rows[..., width : width + known], about.to(dtype)[:, None].expand(-1, 19, -1))
    assert torch.equal(rows[..., width + known], sizes.to(dtype).expand(count, -1))
    assert not rows[..., width + known + 1 :].any()


def test_other_trails_are_refused() -> None:
    trails, three, speeds = torch.zeros(3, *LAYOUT.shape, dtype=torch.uint8), torch.zeros(3), torch.zeros(4)
    for wrong in (
        (trails.float(), three, speeds, three[:, None], speeds),
        (trails[:, :, 1:], three, speeds, three[:, None], speeds),
        (trails, three[1:], speeds, three[:, None], speeds),
        (trails, three, speeds.double(), three[:, None], speeds),
        (trails, three, speeds, three, speeds),
        (trails, three, speeds, three[:, None], speeds[1:]),
    ):
        with pytest.raises(InputError):
            straightened_rows(*wrong, LAYOUT, 5)
