"""Heatmap targets: one at every centre, and a Gaussian as wide as the box allows."""

import math

import numpy as np
import pytest
import torch

from perception.model.grid import BevGrid
from perception.training.heatmaps import center_cells, draw_gaussians, gaussian_radius, heatmap_targets
from tests.perception.training.scenes import random_boxes

GRID = BevGrid(-40.0, -40.0, 2.5, 32, 32)


def overlap(size: tuple[float, float], shrink: float) -> float:
    """Intersection over union of a box and one whose corners lie `shrink` further inside, or outside if negative."""
    area, other = size[0] * size[1], (size[0] - 2 * shrink) * (size[1] - 2 * shrink)
    return min(area, other) / max(area, other)


@pytest.mark.parametrize("size", [(4.0, 2.0), (1.0, 1.0), (20.0, 5.0), (0.5, 3.0)])
@pytest.mark.parametrize("min_overlap", [0.1, 0.5, 0.7])
def test_the_radius_is_the_smallest_of_the_public_codes_three(size, min_overlap):
    """Their quadratics, solved by NumPy; the last two roots are off by their leading coefficients, as published."""
    length, width = size
    total, area, o = length + width, length * width, min_overlap
    shifted = max(np.roots([1, -total, area * (1 - o) / (1 + o)]).real)
    inside = 4 * max(np.roots([4, -2 * total, (1 - o) * area]).real)
    outside = 4 * o * max(np.roots([4 * o, 2 * o * total, (o - 1) * area]).real)
    assert gaussian_radius(length, width, o) == pytest.approx(min(shifted, inside, outside))


def test_a_radius_a_quarter_as_wide_keeps_the_overlap():
    """Where the third case is the smallest, the correct root is the radius over 4 times the overlap."""
    radius = gaussian_radius(4.0, 2.0, 0.7) / (4 * 0.7)
    assert overlap((4.0, 2.0), -radius) == pytest.approx(0.7)


@pytest.mark.parametrize("cell", [(5, 6), (0, 0), (11, 2), (6, 8)])
@pytest.mark.parametrize("radius", [0, 1, 2, 5, 20])
def test_a_gaussian_falls_off_around_its_cell_and_ends_at_the_radius(cell, radius):
    heat = drawn((12, 9), [cell], [radius])
    sigma = (2 * radius + 1) / 6
    for x in range(12):
        for y in range(9):
            dx, dy = x - cell[0], y - cell[1]
            is_near = max(abs(dx), abs(dy)) <= radius
            expected = math.exp(-(dx**2 + dy**2) / (2 * sigma**2)) if is_near else 0
            assert heat[x, y] == pytest.approx(expected, abs=1e-6)


def test_where_gaussians_meet_the_higher_counts():
    cells, radii = [(3, 3), (5, 4), (5, 4)], [3, 1, 4]
    apart = [drawn((9, 9), [cell], [radius]) for cell, radius in zip(cells, radii, strict=True)]
    np.testing.assert_array_equal(drawn((9, 9), cells, radii), np.max(apart, axis=0))


def drawn(size: tuple[int, int], cells: list[tuple[int, int]], radii: list[int]) -> np.ndarray:
    """Gaussians on the middle one of three maps."""
    heat = torch.zeros(3, *size)
    draw_gaussians(heat, torch.ones(len(cells), dtype=torch.int64), torch.tensor(cells), torch.tensor(radii))
    assert not heat[[0, 2]].any()
    return heat[1].numpy()


def test_every_object_has_its_peak_on_its_classs_map_and_nothing_else_has():
    boxes = random_boxes(17)
    _, target = heatmap_targets([random_boxes(5, seed=1), boxes], GRID, 0.1, 2).numpy()
    assert target.shape == (10, 32, 32)
    peaks = {tuple(peak) for peak in np.argwhere(target == 1)}
    cells = np.floor((boxes.centers[:, :2] + 40) / 2.5).astype(int)
    assert peaks == {(label, *cell) for label, cell in zip(boxes.labels.tolist(), cells.tolist(), strict=True)}
    np.testing.assert_array_equal(np.floor(center_cells(boxes, GRID)), cells)


def test_without_objects_there_is_nothing():
    assert not heatmap_targets([random_boxes(0)], GRID, 0.1, 2).any()
