"""Balance: how much each branch is pulled at is told, and the one that is pulled at more is held back."""

import math

import pytest
import torch
from torch import nn

from perception.training.balance import Pull, pulls, scaled_steps, step_factors


def network(camera_gradient: float, lidar_gradient: float) -> nn.Module:
    """Two branches of one matrix of ones each, with such gradients."""
    whole = nn.Module()
    for name, gradient in (("camera_branch", camera_gradient), ("lidar_branch", lidar_gradient)):
        branch = nn.Linear(3, 3, bias=False)
        nn.init.ones_(branch.weight)
        branch.weight.grad = torch.full((3, 3), gradient)
        setattr(whole, name, branch)
    return whole


def test_a_branch_is_pulled_at_by_its_gradient():
    found = pulls(network(0.5, 2.0))
    assert found["camera_branch"].gradient == pytest.approx(1.5)
    assert found["lidar_branch"].gradient == pytest.approx(6)
    assert found["lidar_branch"].relative == pytest.approx(2)


def test_frozen_and_absent_branches_have_no_pull():
    whole = network(0.5, 2.0)
    whole.camera_branch.weight.grad = None
    assert pulls(whole)["camera_branch"] == Pull(0.0, 0.0)
    whole.camera_branch = None
    assert set(pulls(whole)) == {"lidar_branch"}


def test_the_stronger_branch_is_held_back_the_more_the_stronger_it_is():
    held = [step_factors(pulls(network(1.0, ratio)), 0.5)["lidar_branch"] for ratio in (1.0, 1.5, 2.0, 4.0)]
    assert held == pytest.approx([1 - math.tanh(0.5 * (ratio - 1)) for ratio in (1.0, 1.5, 2.0, 4.0)])
    assert step_factors(pulls(network(3.0, 1.0)), 0.5) == pytest.approx(
        {"camera_branch": 1 - math.tanh(1), "lidar_branch": 1.0}
    )


@pytest.mark.parametrize("gradients", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (math.nan, 1.0)])
def test_where_a_branch_takes_no_part_nothing_is_held_back(gradients):
    assert set(step_factors(pulls(network(*gradients)), 0.5).values()) == {1.0}


def test_a_step_is_scaled_whatever_the_optimizer():
    whole = network(1.0, 1.0)
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.1, weight_decay=0.0)
    with scaled_steps(whole, {"camera_branch": 1.0, "lidar_branch": 0.25}):
        optimizer.step()
    torch.testing.assert_close(whole.camera_branch.weight, torch.full((3, 3), 0.9))
    torch.testing.assert_close(whole.lidar_branch.weight, torch.full((3, 3), 0.975))
