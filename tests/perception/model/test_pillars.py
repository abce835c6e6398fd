"""Pillars: every voxel is described on its own, and a column of voxels keeps the strongest of each feature."""

import pytest
import torch
from torch import Tensor

from perception.config import GridSettings
from perception.model.lidar_encoders.pillars import Pillars, Settings, pooled
from tests.tiny import settled

GRID = GridSettings(lower=(-8.0, -4.0, -5.0), upper=(8.0, 4.0, 3.0), voxel=(0.5, 0.5, 0.8))


def small_pillars() -> Pillars:
    return settled(Settings(channels=4, stage_channels=(6, 8)).build(5, GRID)).eval()


def centre_of(place: Tensor) -> Tensor:
    """The mean point of a voxel (frame, x, y, z), if its points surround its centre."""
    xyz = (place[:, 1:] + 0.5) * torch.tensor(GRID.voxel) + torch.tensor(GRID.lower)
    return torch.cat([xyz, torch.full((len(place), 1), 51.0), torch.full((len(place), 1), 0.1)], dim=1)


@pytest.mark.parametrize(
    ("keys", "features", "expected"),
    [
        ([5, 2, 5], [[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]], ([2, 5], [[3.0, 4.0], [1.0, 2.0]])),
        ([7], [[-1.0, 2.0]], ([7], [[-1.0, 2.0]])),
        ([4, 4, 4], [[-1.0, 0.0], [-3.0, 9.0], [-2.0, 5.0]], ([4], [[-1.0, 9.0]])),
    ],
)
def test_a_column_keeps_the_maximum_of_each_feature(keys, features, expected):
    columns, pillars = pooled(torch.tensor(features), torch.tensor(keys))
    assert (columns.tolist(), pillars.tolist()) == expected


def test_no_voxels_make_no_pillars():
    columns, pillars = pooled(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert (len(columns), pillars.shape) == (0, (0, 3))


def test_the_gradient_of_a_maximum_goes_to_where_it_was():
    features = torch.tensor([[1.0, 5.0], [2.0, 4.0]], requires_grad=True)
    pooled(features, torch.tensor([3, 3]))[1].backward(torch.tensor([[10.0, 20.0]]))
    assert features.grad.tolist() == [[0.0, 20.0], [10.0, 0.0]]


def test_what_describes_a_voxel_is_of_order_one():
    """In the order x, y, z over the grid, intensity, age, x and y within the cell."""
    pillars = small_pillars()
    corner, far = torch.tensor([[0, 0, 0, 0]]), torch.tensor([[1, 31, 15, 9]])
    for place, sign in ((corner, -1), (far, 1)):
        described = pillars._normalised(centre_of(place), place)[0]
        expected = [sign * 31 / 32, sign * 15 / 16, sign * 9 / 10, 0.2, 0.2, 0.0, 0.0]
        torch.testing.assert_close(described, torch.tensor(expected), atol=1e-5, rtol=0)
    moved = centre_of(corner) + torch.tensor([0.125, -0.25, 0, 0, 0])
    assert pillars._normalised(moved, corner)[0, 5:].tolist() == pytest.approx([0.5, -1.0])


def test_voxels_of_one_column_are_one_pillar_whatever_their_order():
    pillars = small_pillars()
    places = torch.tensor([[0, 9, 6, 2], [0, 9, 6, 7], [0, 20, 3, 1]])
    bev = pillars(centre_of(places), places, 1)
    order = [2, 1, 0]
    torch.testing.assert_close(pillars(centre_of(places)[order], places[order], 1), bev)
    without_the_lower = pillars(centre_of(places)[1:], places[1:], 1)
    assert not torch.allclose(without_the_lower, bev)


def test_the_map_is_halved_by_every_stage():
    pillars = small_pillars()
    assert (pillars.stride, pillars.out_channels) == (4, 8)
    place = torch.tensor([[0, 9, 6, 2]])
    assert pillars(centre_of(place), place, 1).shape == (1, 8, 8, 4)
