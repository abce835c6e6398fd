"""Points to voxels: which points share a cell, and their mean."""

from __future__ import annotations

import torch
from torch import Tensor


def voxelize(
    points: Tensor,
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
    max_points: int | None = None,
    max_voxels: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Average the points of each voxel.

    points (N, >= 3) float32, x, y, z first; `size` counts the voxels along x, y, z from `lower`. With `max_points`,
    only the first so many of a voxel count, and with `max_voxels`, only the voxels whose first point comes first (hard
    voxelisation, Zhou and Tuzel, VoxelNet, CVPR 2018); without, all do (dynamic voxelisation, Zhou et al., CoRL 2019).
    Returns features (V, C) and coordinates (V, 3) int64, voxels in the order of their first point; points outside
    are ignored. On a CPU the same input gives the same result, whatever the
    number of threads; on a GPU sums may differ in the last bit.
    """
    cells = torch.floor((points[:, :3] - points.new_tensor(lower)) / points.new_tensor(voxel)).long()
    inside = ((cells >= 0) & (cells < cells.new_tensor(size))).all(dim=1)
    points, cells = points[inside], cells[inside]
    keys = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    order = torch.argsort(keys, stable=True)  # stable: within a voxel, points stay in the order they came
    keys = keys[order]
    starts = torch.ones_like(keys, dtype=torch.bool)
    starts[1:] = keys[1:] != keys[:-1]
    voxel_of = torch.cumsum(starts, 0) - 1  # (N,), voxels numbered by key
    first = torch.nonzero(starts).squeeze(1)
    keys_of_voxels = keys[first]
    by_arrival = torch.argsort(order[first])[:max_voxels]
    if max_points is not None:
        rank = torch.arange(len(keys), device=keys.device) - first[voxel_of]
        kept = rank < max_points
        order, voxel_of = order[kept], voxel_of[kept]
    sums = points.new_zeros(len(first), points.shape[1]).index_add_(0, voxel_of, points[order])
    counts = torch.bincount(voxel_of, minlength=len(first))
    return (sums / counts[:, None])[by_arrival], _unravel(keys_of_voxels[by_arrival], size)


def _unravel(keys: Tensor, size: tuple[int, int, int]) -> Tensor:
    x, rest = keys // (size[1] * size[2]), keys % (size[1] * size[2])
    return torch.stack([x, rest // size[2], rest % size[2]], dim=1)
