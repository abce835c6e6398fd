"""BEV pooling is the sum of depth times feature over the frustum points of each cell, in value and gradient."""

import pytest
import torch

from calibration.errors import InputError
from perception.ops.bev_pool import PoolingPlan, bev_pool, bev_pool_plain

PIXELS, DEPTHS, CHANNELS, CELLS = 30, 7, 5, 12


def random_inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (P, C) and depth distributions (P, D) that require gradients."""
    features = torch.randn(PIXELS, CHANNELS, dtype=dtype, requires_grad=True)
    depth = torch.rand(PIXELS, DEPTHS, dtype=dtype, requires_grad=True)
    return features, depth


def some_cells(kind: str) -> torch.Tensor:
    cells = torch.randint(0, CELLS, (PIXELS, DEPTHS))
    if kind == "some outside":
        cells[torch.rand(PIXELS, DEPTHS) < 0.4] = -1
    elif kind == "most cells empty":
        cells = torch.where(cells % 4 == 0, cells // 6, -1)
    elif kind == "all in one cell":
        cells[:] = CELLS - 1
    elif kind == "all outside":
        cells[:] = -1
    return cells


KINDS = ("all inside", "some outside", "most cells empty", "all in one cell", "all outside")
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_values_and_gradients_are_those_of_the_definition(kind):
    features, depth = random_inputs()
    cells = some_cells(kind)
    found = bev_pool(features, depth, PoolingPlan.of(cells, CELLS))
    expected = bev_pool_plain(features, depth, cells, CELLS)
    assert found.shape == (CELLS, CHANNELS)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(found)
    gradients = [torch.autograd.grad(result, (features, depth), cotangent) for result in (found, expected)]
    torch.testing.assert_close(*gradients)


@kinds
def test_gradients_are_those_of_finite_differences(kind):
    plan = PoolingPlan.of(some_cells(kind), CELLS)
    assert torch.autograd.gradcheck(lambda features, depth: bev_pool(features, depth, plan), random_inputs())


def test_cells_that_no_point_falls_into_are_zero():
    cells = some_cells("most cells empty")
    pooled = bev_pool(*random_inputs(), PoolingPlan.of(cells, CELLS))
    filled = torch.isin(torch.arange(CELLS), cells)
    assert 0 < filled.sum() < CELLS
    assert torch.equal((pooled != 0).any(dim=1), filled)


def test_no_pixels_at_all():
    plan = PoolingPlan.of(torch.zeros(0, DEPTHS, dtype=torch.int64), CELLS)
    assert torch.equal(bev_pool(torch.zeros(0, CHANNELS), torch.zeros(0, DEPTHS), plan), torch.zeros(CELLS, CHANNELS))


def test_a_plan_holds_each_point_inside_once():
    cells = some_cells("some outside")
    plan = PoolingPlan.of(cells, CELLS)
    assert plan.points.sort().values.tolist() == torch.nonzero(cells.flatten() >= 0).squeeze(1).tolist()
    assert sorted(plan.order.tolist()) == list(range(CELLS))
    assert plan.offsets[-1] == len(plan.points)
    for cell, start, end in zip(plan.order, plan.offsets, plan.offsets[1:], strict=False):
        assert (cells.flatten()[plan.points[start:end]] == cell).all()
        assert end - start == (cells == cell).sum()


@pytest.mark.parametrize("image", [(1, 1), (5, 3), (3, 5), (1, 30), (30, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_shape_of_images_changes_nothing(image, dtype):
    features, depth = random_inputs(dtype)
    cells = some_cells("some outside")
    found = bev_pool(features, depth, PoolingPlan.of(cells, CELLS, image))
    expected = bev_pool_plain(features, depth, cells, CELLS)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(found)
    gradients = [torch.autograd.grad(result, (features, depth), cotangent) for result in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("image", [(0, 1), (-1, 30), (7, 1), (30, 30)], ids=str)
def test_parts_of_images_are_refused(image):
    with pytest.raises(InputError, match="pixels to pool: expected whole images"):
        PoolingPlan.of(some_cells("all inside"), CELLS, image)
