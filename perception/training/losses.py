"""The losses that heads share, as sums: what they are divided by is known only when all processes have counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP = 1e-4  # probabilities closer to 0 and 1 than this get no gradient, as in CenterPoint's code


@dataclass(frozen=True)
class Term:
    """One part of the loss: its value is `total` / max(`count`, 1), both summed over all processes."""

    total: Tensor  # scalar, differentiable, weighted
    count: float  # what the total is an average over, such as the number of objects


def gaussian_focal(logits: Tensor, target: Tensor, alpha: float = 2.0, gamma: float = 4.0) -> Tensor:
    """The penalty-reduced focal loss of heatmaps, of each cell (Law and Deng, CornerNet, ECCV 2018, equation 1).

    logits and target of one shape; target is 1 at objects' centres and falls off to 0 around them.
    """
    p = logits.sigmoid().clamp(CLIP, 1 - CLIP)
    at_center = -p.log() * (1 - p) ** alpha
    elsewhere = -(1 - p).log() * p**alpha * (1 - target) ** gamma
    return torch.where(target == 1, at_center, elsewhere)


def focal_sum(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The focal loss of independent classes, summed (Lin et al., ICCV 2017). target is 0 or 1, shaped as logits."""
    p = logits.sigmoid()
    wrong = torch.where(target == 1, 1 - p, p)
    balance = torch.where(target == 1, alpha, 1 - alpha)
    return (balance * wrong**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()


def l1(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted absolute differences (M, codes), summed for each row (M,); NaN in the target is unknown, and is free."""
    difference = (predicted - target.nan_to_num()).abs() * weights
    return torch.where(target.isnan(), 0.0, difference).sum(dim=1)
