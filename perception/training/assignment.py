"""Which proposal answers for which object: the one-to-one assignment that costs least.

Carion et al., DETR, ECCV 2020; the costs are TransFusion's (Bai et al., CVPR 2022) in mmdetection3d's numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from perception.config import Settings
from perception.model.grid import BevGrid
from perception.ops.overlap import iou_3d

EPSILON = 1e-12  # keeps logarithms finite


class CostSettings(Settings):
    """Weights of the three costs."""

    classification: float = 0.15
    center: float = 0.25
    iou: float = 0.25


def assign(
    boxes: Tensor,  # (P, 7) predicted: x, y, z of the centre, length, width, height [m], yaw
    logits: Tensor,  # (P, classes)
    true_boxes: Tensor,  # (M, 7)
    labels: Tensor,  # (M,) int64
    grid: BevGrid,
    weights: CostSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Proposals and the objects they are for, index by index: min(P, M) of each (Kuhn, "The Hungarian method", 1955).

    Predictions that aren't finite cost much, and are left to the loss to complain about.
    """
    cost = weights.classification * focal_cost(logits, labels)
    cost = cost + weights.center * center_cost(boxes, true_boxes, grid)
    cost = cost - weights.iou * iou_3d(boxes, true_boxes)
    return linear_sum_assignment(torch.nan_to_num(cost, nan=100.0, posinf=100.0, neginf=-100.0).cpu().numpy())


def focal_cost(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """What the focal loss would grow by if a proposal were of an object's class (P, M)."""
    p = logits.double().sigmoid()[:, labels]
    as_object = -(p + EPSILON).log() * alpha * (1 - p) ** gamma
    as_background = -(1 - p + EPSILON).log() * (1 - alpha) * p**gamma
    return as_object - as_background


def center_cost(boxes: Tensor, true_boxes: Tensor, grid: BevGrid) -> Tensor:
    """City-block distance of the centres from above, in parts of the grid's extent (P, M)."""
    extent = boxes.new_tensor([grid.size_x, grid.size_y]).double() * grid.cell
    return torch.cdist(boxes[:, :2].double() / extent, true_boxes[:, :2].double() / extent, p=1)
