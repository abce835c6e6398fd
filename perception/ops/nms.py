"""Non-maximum suppression in the BEV plane."""

from __future__ import annotations

import torch
from torch import Tensor


def circle_nms(centers: Tensor, scores: Tensor, radius: float, limit: int | None = None) -> Tensor:
    """Rows that stay, best first: each drops all worse ones whose centre (N, 2) is within `radius` metres.

    CenterPoint's suppression (Yin et al., CVPR 2021). Equal scores are ranked by row.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    near = torch.cdist(centers[order], centers[order], compute_mode="donot_use_mm_for_euclid_dist") <= radius
    alive = torch.ones(len(order), dtype=torch.bool, device=order.device)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~near[i, i + 1 :]
    return order[alive][:limit]
