"""Surroundings: kernel and readable version gather the same, which is what a plain look at every point gathers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops.surroundings import BOX, gather_surroundings, gather_surroundings_torch
from tests.perception.ops.test_trails import points_of

BOTH = (gather_surroundings, gather_surroundings_torch)
STANDING = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0, 2, 1, 1, -1]], dtype=torch.float64)


def boxes_of(rng: np.random.Generator, count: int) -> torch.Tensor:
    angle = rng.uniform(-math.pi, math.pi, count)
    columns = {
        "cosine": np.cos(angle),
        "sine": np.sin(angle),
        **{name: rng.uniform(-5, 5, count) for name in ("x", "y", "vx", "vy")},
        "z": rng.uniform(-1, 1, count),
        **{f"half_{name}": rng.uniform(0.2, 4, count) for name in ("length", "width", "height")},
        "bottom": rng.uniform(-3, 0.5, count),
    }
    return torch.from_numpy(np.stack([columns[name] for name in BOX], axis=1))


def rows_inside(points: torch.Tensor, box: torch.Tensor) -> list[int]:
    x0, y0, z0, cosine, sine, vx, vy, length, width, height, bottom = box.tolist()
    rows = []
    for row, (x, y, z, _, age) in enumerate(points.double().tolist()):
        east, north, up = x + vx * age - x0, y + vy * age - y0, z - z0
        ahead, left = east * cosine + north * sine, north * cosine - east * sine
        if abs(ahead) < length and abs(left) < width and abs(up) < height and up > bottom:
            rows.append(row)
    return rows


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(0, 6), st.sampled_from([1, 7, 1000]))
def test_all_ways_of_gathering_agree(seed: int, count: int, number: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    points, boxes = points_of(rng, count), boxes_of(rng, number)
    points[:, 3] = torch.arange(count)
    for gather in BOTH:
        seen, counts = gather(points, boxes, most)
        assert seen.shape == (number, most, 5)
        for around, there, box in zip(seen, counts.tolist(), boxes, strict=True):
            rows = rows_inside(points, box)
            rows = rows if len(rows) <= most else [rows[k * len(rows) // most] for k in range(most)]
            assert around[:there, 3].long().tolist() == rows
            assert not around[there:].any()


def test_points_are_told_in_the_axes_of_the_box_and_where_it_has_brought_them() -> None:
    box = torch.tensor([[10.0, 5, 1, 0, 1, 0, 4, 2, 1, 1, -1]], dtype=torch.float64)  # heads for +y at 4 m/s
    points = torch.tensor(
        [[9.5, 4.0, 1.5, 30, 0.5], [9.5, 4.0, 1.5, 40, 0.0]]
    )  # the older one is 2 m farther on by now
    for gather in BOTH:
        seen, counts = gather(points, box, 4)
        assert counts.tolist() == [2]
        torch.testing.assert_close(seen[0, :2], torch.tensor([[1.0, 0.5, 0.5, 30, 0.5], [-1.0, 0.5, 0.5, 40, 0]]))


def test_what_is_no_number_is_nowhere() -> None:
    points = torch.full((6, 5), math.nan)
    points[1], points[2, 4], points[3] = math.inf, 1e38, torch.tensor([0.1, 0.1, math.nan, 3, 0])
    boxes = torch.cat([STANDING, torch.full((2, 11), math.nan, dtype=torch.float64)])
    for gather in BOTH:
        seen, counts = gather(points, boxes, 3)
        assert not counts.any()
        assert not seen.any()


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    points, boxes = points_of(rng, 5000), boxes_of(rng, 40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = gather_surroundings(points, boxes, 50)
        torch.set_num_threads(3)
        three = gather_surroundings(points.T.contiguous().T, boxes, 50)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize(
    ("points", "boxes", "most"),
    [
        (torch.zeros(3, 4), STANDING, 4),
        (torch.zeros(3, 5).double(), STANDING, 4),
        (torch.zeros(3, 5), STANDING.float(), 4),
        (torch.zeros(3, 5), STANDING[:, 1:], 4),
        (torch.zeros(3, 5), STANDING, 0),
    ],
)
def test_other_shapes_and_types_are_refused(points: torch.Tensor, boxes: torch.Tensor, most: int) -> None:
    with pytest.raises(InputError):
        gather_surroundings(points, boxes, most)
