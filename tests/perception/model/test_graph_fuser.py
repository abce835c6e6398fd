"""The graph fuser finds the camera's cell for a LiDAR cell though the maps are shifted against each other."""

import pytest
import torch

from perception.model.fusers.graph import GraphFuser, Settings


def matching(reach: int = 2, neighbours: int = 1) -> GraphFuser:
    """A fuser that compares both maps as they are."""
    fuser = Settings(reach=reach, neighbours=neighbours, embedding=8).build(8, 8).eval()
    with torch.no_grad():
        for embed in (fuser.embed_lidar, fuser.embed_camera):
            embed.weight.copy_(torch.eye(8).view(8, 8, 1, 1))
            embed.bias.zero_()
    return fuser


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-1, 1), (0, -2)], ids=str)
def test_what_is_alike_is_found_as_far_as_the_reach(shift):
    lidar = torch.randn(2, 8, 12, 10)
    camera, values = lidar.roll(shift, dims=(2, 3)), torch.randn(2, 4, 12, 10)
    fuser = matching()
    aligned = fuser.gathered(values.roll(shift, dims=(2, 3)), fuser.edges(camera, lidar))
    torch.testing.assert_close(aligned[:, :, 2:-2, 2:-2], values[:, :, 2:-2, 2:-2])


def test_beyond_the_reach_nothing_is_found():
    lidar, values = torch.randn(1, 8, 12, 10), torch.randn(1, 4, 12, 10)
    fuser = matching(reach=1)
    aligned = fuser.gathered(values.roll(3, dims=2), fuser.edges(lidar.roll(3, dims=2), lidar))
    assert not torch.allclose(aligned[:, :, 4:-4, 2:-2], values[:, :, 4:-4, 2:-2], atol=0.1)


@pytest.mark.parametrize(("reach", "neighbours", "cells"), [(0, 5, 1), (1, 5, 5), (2, 5, 13)])
def test_each_cell_has_as_many_neighbours_as_asked_within_the_map(reach, neighbours, cells):
    fuser = matching(reach, neighbours)
    edges = fuser.edges(torch.randn(1, 8, 6, 7), torch.randn(1, 8, 6, 7))
    assert edges.shape == (1, cells, 6, 7)
    torch.testing.assert_close(edges.sum(dim=1), torch.ones(1, 6, 7))
    assert ((edges > 0).sum(dim=1) <= neighbours).all()
    corner = [edges[0, number, 0, 0] for number, (x, y) in enumerate(fuser.offsets) if x < 0 or y < 0]
    assert not any(corner)
