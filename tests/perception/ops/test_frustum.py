"""Cells of frustum points by the kernel: bit for bit those of torch, which are those of the public code."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops import native
from perception.ops.frustum import Frustums, Map, frustum_cells, frustum_cells_torch

BEV = Map((-10.0, -8.0, -2.0), (0.5, 0.4, 5.0), (40, 37))
needs_kernels = pytest.mark.skipif(native.library() is None, reason="kernels weren't built")


def frustums(count: int, pixels: int, depths: int, seed: int, scale: float = 1.0) -> Frustums:
    chance = torch.Generator().manual_seed(seed)
    shapes = ((count, pixels, 2), (count, 3, 3), (count, 3))
    where, along, origin = (torch.randn(*shape, generator=chance) * scale for shape in shapes)
    return Frustums(where, torch.arange(depths) * 0.37 + 1, along, origin, torch.arange(count) // 2)


@needs_kernels
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 3),
    pixels=st.integers(0, 40),
    depths=st.integers(0, 150),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_the_kernel_finds_torchs_cells(count, pixels, depths, seed, scale):
    points = frustums(count, pixels, depths, seed, scale)
    assert torch.equal(frustum_cells(points, BEV), frustum_cells_torch(points, BEV))


@needs_kernels
def test_points_are_inside_and_outside_of_all_sides():
    cells = frustum_cells(frustums(4, 500, 60, 0), BEV)
    assert 0.05 < (cells >= 0).float().mean() < 0.95
    assert int(cells.max()) < 2 * 40 * 37
    assert (cells >= 40 * 37).any()  # the second frame's


@needs_kernels
def test_what_is_not_a_number_is_nowhere():
    points = frustums(2, 50, 20, 0)
    expected = frustum_cells(points, BEV)
    for value in (float("nan"), float("inf"), -float("inf"), 1e38):
        points.pixels[0, 7] = value
        found = frustum_cells(points, BEV)
        assert (found[0, 7] == -1).all()
        assert torch.equal(found[1], expected[1])


@needs_kernels
@pytest.mark.parametrize("field", ["pixels", "along", "origin", "frame"])
def test_what_does_not_fit_is_refused(field):
    points = frustums(2, 50, 20, 0)
    with pytest.raises(InputError, match=field):
        frustum_cells(points._replace(**{field: getattr(points, field)[..., :1].contiguous()[:1]}), BEV)
