"""BEV pooling: sum what every pixel sees at every depth into the cells of a BEV map.

Lift-splat (Philion and Fidler, ECCV 2020) gives each of P pixels a feature vector and a distribution over D depths; the
frustum point (p, d) carries their product. The P x D x C product is never made: a cell's sum is a weighted sum over
pixels, which is an embedding bag.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PoolingPlan:
    """The frustum points sorted by their cell; depends on calibration alone, so it can be kept from frame to frame."""

    points: Tensor  # (K,) int64, indices into the flattened (P, D) of the frustum points inside the map, by cell
    offsets: Tensor  # (cells + 1,) int64, where each cell's run in `points` starts
    depths: int  # D

    @staticmethod
    def of(cells: Tensor, count: int) -> PoolingPlan:
        """cells (P, D) int64: the flat cell 0..count-1 of each frustum point, or negative for none."""
        flat = cells.flatten()
        inside = torch.nonzero(flat >= 0).squeeze(1)
        sorted_cells, order = torch.sort(flat[inside], stable=True)
        bounds = torch.arange(count + 1, device=cells.device)
        return PoolingPlan(inside[order], torch.searchsorted(sorted_cells, bounds), cells.shape[1])


def bev_pool(features: Tensor, depth: Tensor, plan: PoolingPlan) -> Tensor:
    """features (P, C), depth (P, D) -> (cells, C): for each cell, the sum of depth[p, d] * features[p] over its points.

    Differentiable in both; needs no memory beyond its result and K indices.
    """
    return F.embedding_bag(
        plan.points // plan.depths,
        features,
        plan.offsets,
        mode="sum",
        per_sample_weights=depth.flatten()[plan.points],
        include_last_offset=True,
    )


def bev_pool_plain(features: Tensor, depth: Tensor, cells: Tensor, count: int) -> Tensor:
    """The definition, for tests: makes the outer product, then adds it up. cells as in PoolingPlan.of."""
    product = (depth[:, :, None] * features[:, None, :]).flatten(0, 1)  # (P * D, C)
    inside = cells.flatten() >= 0
    return features.new_zeros(count, features.shape[1]).index_add(0, cells.flatten()[inside], product[inside])
