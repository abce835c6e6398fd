"""The losses are what their papers write, term by term."""

import math

import pytest
import torch

from perception.training.losses import focal_sum, gaussian_focal, l1


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_heatmap_loss_is_cornernets():
    logits, target = 2 * torch.randn(2, 3, 4, 5).double(), torch.rand(2, 3, 4, 5).double()
    target[0, 1, 2, 3] = target[1, 0, 0, 0] = 1
    expected = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = sigmoid(x)
        expected -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
    assert gaussian_focal(logits, target).sum().item() == pytest.approx(expected, rel=1e-9)


def test_a_perfect_heatmap_costs_next_to_nothing():
    target = torch.zeros(1, 1, 8, 8)
    target[0, 0, 3, 4] = 1
    assert gaussian_focal(torch.where(target == 1, 20.0, -20.0), target).sum().item() < 1e-6


def test_the_class_loss_is_the_focal_loss():
    logits, target = 3 * torch.randn(6, 4).double(), (torch.rand(6, 4) < 0.3).double()
    expected = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p_right = sigmoid(x) if y else 1 - sigmoid(x)
        expected -= (0.25 if y else 0.75) * (1 - p_right) ** 2 * math.log(p_right)
    assert focal_sum(logits, target).item() == pytest.approx(expected, rel=1e-9)


def test_the_box_loss_weighs_absolute_differences_and_leaves_out_what_is_unknown():
    predicted = torch.tensor([[1.0, 5.0], [2.0, 7.0]], requires_grad=True)
    target = torch.tensor([[3.0, 4.0], [1.0, math.nan]])
    losses = l1(predicted, target, torch.tensor([1.0, 0.2]))
    assert losses.tolist() == pytest.approx([2 + 0.2, 1])
    losses.sum().backward()
    torch.testing.assert_close(predicted.grad, torch.tensor([[-1.0, 0.2], [1.0, 0.0]]))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([1e4, -1e4, 80.0, -80.0], requires_grad=True)
    target = torch.tensor([0.0, 1, 1, 0])
    (gaussian_focal(logits, target).sum() + focal_sum(logits, target)).backward()
    assert logits.grad.isfinite().all()
