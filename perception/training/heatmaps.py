"""Heatmap targets: a Gaussian around every object's cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from perception.model.grid import BevGrid
from perception.types import Boxes3D


def heatmap_targets(
    truth: Sequence[Boxes3D], grid: BevGrid, min_overlap: float, min_radius: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Targets (B, classes, X, Y) float32: 1 in each object's cell, falling off around it, 0 elsewhere.

    truth: at least one frame's boxes, centred on the map.
    """
    classes = len(truth[0].class_names)
    sizes = np.concatenate([boxes.sizes for boxes in truth]) / grid.cell
    radii = np.maximum(min_radius, gaussian_radius(sizes[:, 0], sizes[:, 1], min_overlap).astype(int))
    cells = np.concatenate([center_cells(boxes, grid) for boxes in truth]).astype(int)
    maps = np.concatenate([boxes.labels + classes * frame for frame, boxes in enumerate(truth)])
    heat = torch.zeros(len(truth) * classes, grid.size_x, grid.size_y, device=device)
    draw_gaussians(heat, *(torch.from_numpy(array).to(device) for array in (maps, cells, radii)))
    return heat.view(len(truth), classes, grid.size_x, grid.size_y)


def center_cells(boxes: Boxes3D, grid: BevGrid) -> np.ndarray:
    """Where the centres are on the map (N, 2), in cells from the corner of cell (0, 0)."""
    return (boxes.centers[:, :2] - (grid.lower_x, grid.lower_y)) / grid.cell


def gaussian_radius(length: np.ndarray, width: np.ndarray, min_overlap: float) -> np.ndarray:
    """How far [cells] a box may be off while its overlap with an upright `length` x `width` box stays `min_overlap`.

    The smallest over three ways to be off: one corner in and one out, both in, both out (CornerNet, ECCV 2018). The
    last two of the public code's roots are divided by 2, not by twice the leading coefficient; detectors have been
    trained with these radii ever since, and so they are here.
    """
    total, area = length + width, length * width
    shifted = (total + np.sqrt(total**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))) / 2
    inside = (2 * total + np.sqrt(4 * total**2 - 16 * (1 - min_overlap) * area)) / 2
    outward = 2 * min_overlap * total
    outside = (-outward + np.sqrt(outward**2 + 16 * min_overlap * (1 - min_overlap) * area)) / 2
    return np.minimum(shifted, np.minimum(inside, outside))


def draw_gaussians(heat: Tensor, maps: Tensor, cells: Tensor, radii: Tensor) -> None:
    """Raise heat (K, X, Y) to M Gaussians; where several meet, the highest counts.

    maps (M,), cells (M, 2) and radii (M,) are int64: each lies around a cell on its map, cut off at its radius, which
    is three standard deviations. All are drawn at once, in windows as wide as the widest needs.
    """
    if not len(maps):
        return
    reach = torch.arange(-int(radii.max()), int(radii.max()) + 1, device=heat.device)
    apart = torch.stack(torch.meshgrid(reach, reach, indexing="ij"))  # (2, W, W)
    place = cells[:, :, None, None] + apart  # (M, 2, W, W)
    on_map = (place >= 0) & (place < cells.new_tensor(heat.shape[1:])[:, None, None])
    drawn = (on_map & (apart.abs() <= radii[:, None, None, None])).all(dim=1)
    sigma = (2 * radii.double() + 1) / 6
    values = torch.exp(-(apart**2).sum(dim=0) / (2 * sigma[:, None, None] ** 2)).to(heat.dtype)
    flat = (maps[:, None, None] * heat.shape[1] + place[:, 0]) * heat.shape[2] + place[:, 1]
    heat.view(-1).scatter_reduce_(0, flat[drawn], values[drawn], "amax")
