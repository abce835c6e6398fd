"""Depth supervision: the lift's depth distributions against what the LiDAR measured.

Li et al., "BEVDepth", AAAI 2023; here with a cross entropy over the depths.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.config import Pair
from perception.model.batch import Batch
from perception.model.view_transforms.depth_lss import depth_images
from perception.training.losses import Term


def depth_target(batch: Batch, image_size: Pair, stride: int) -> Tensor:
    """Depth [m] at each feature pixel of the images (N, H / stride, W / stride), 0 where no point falls.

    The nearest point in each square of stride x stride pixels counts, and only those of the newest sweep: the others
    smear what moves.
    """
    newest = tuple(cloud[cloud[:, 4] == 0] for cloud in batch.clouds)
    depth = depth_images(replace(batch, clouds=newest), image_size)
    nearest = -F.max_pool2d(torch.where(depth > 0, -depth, -torch.inf), stride)
    return torch.where(nearest.isfinite(), nearest, 0.0).squeeze(1)


def depth_term(logits: Tensor, target: Tensor, depths: Tensor) -> Term:
    """Cross entropy of logits (N, D, h, w) at `depths` (D,) [m], evenly spaced, against a depth_target (N, h, w).

    The depth nearest to the measured one is right; what lies beyond the depths doesn't count.
    """
    step = depths[1] - depths[0]
    bins = ((target - depths[0]) / step).round().long()
    counts = (target > 0) & (bins >= 0) & (bins < len(depths))
    losses = F.cross_entropy(logits.permute(0, 2, 3, 1)[counts], bins[counts], reduction="sum")
    return Term(losses, int(counts.sum()))
