"""Heatmap targets: a Gaussian around every object's cell."""

from __future__ import annotations

import math

import numpy as np

from perception.model.grid import BevGrid
from perception.types import Boxes3D


def heatmap_target(boxes: Boxes3D, grid: BevGrid, min_overlap: float, min_radius: int) -> np.ndarray:
    """One frame's target (classes, X, Y) float32: 1 in each object's cell, falling off around it, 0 elsewhere."""
    target = np.zeros((len(boxes.class_names), grid.size_x, grid.size_y), np.float32)
    for label, size, cell in zip(boxes.labels, boxes.sizes, center_cells(boxes, grid).astype(int), strict=True):
        radius = gaussian_radius(size[0] / grid.cell, size[1] / grid.cell, min_overlap)
        draw_gaussian(target[label], cell, max(min_radius, int(radius)))
    return target


def center_cells(boxes: Boxes3D, grid: BevGrid) -> np.ndarray:
    """Where the centres are on the map (N, 2), in cells from the corner of cell (0, 0)."""
    return (boxes.centers[:, :2] - (grid.lower_x, grid.lower_y)) / grid.cell


def gaussian_radius(length: float, width: float, min_overlap: float) -> float:
    """How far [cells] a box may be off while its overlap with an upright `length` x `width` box stays `min_overlap`.

    The smallest over three ways to be off: one corner in and one out, both in, both out (CornerNet, ECCV 2018). The
    last two of the public code's roots are divided by 2, not by twice the leading coefficient; detectors have been
    trained with these radii ever since, and so they are here.
    """
    total, area = length + width, length * width
    shifted = (total + math.sqrt(total**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))) / 2
    inside = (2 * total + math.sqrt(4 * total**2 - 16 * (1 - min_overlap) * area)) / 2
    outward = 2 * min_overlap * total
    outside = (-outward + math.sqrt(outward**2 + 16 * min_overlap * (1 - min_overlap) * area)) / 2
    return min(shifted, inside, outside)


def draw_gaussian(heat: np.ndarray, cell: np.ndarray, radius: int) -> None:
    """Raise heat (X, Y) to a Gaussian at a cell on it, cut off at `radius`, which is three standard deviations."""
    sigma = (2 * radius + 1) / 6
    low, high = np.maximum(cell - radius, 0), np.minimum(cell + radius + 1, heat.shape)
    x, y = (np.arange(first, end) - center for first, end, center in zip(low, high, cell, strict=True))
    window = heat[low[0] : high[0], low[1] : high[1]]
    np.maximum(window, np.exp(-(x[:, None] ** 2 + y[None] ** 2) / (2 * sigma**2)), out=window)
