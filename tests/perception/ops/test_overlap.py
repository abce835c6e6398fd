"""Overlaps of rotated boxes: simple cases by hand, random ones against another algorithm."""

import numpy as np
import pytest
import torch

from perception.ops.overlap import corners_bev, iou_3d, overlap_bev


def box(x: float, y: float, z: float, length: float, width: float, height: float, yaw_deg: float = 0) -> torch.Tensor:
    return torch.tensor([[x, y, z, length, width, height, np.radians(yaw_deg)]], dtype=torch.float64)


CASES = {
    "the same": (box(1, 2, 3, 4, 2, 1.5, 30), box(1, 2, 3, 4, 2, 1.5, 30), 1.0),
    "turned back to front": (box(1, 2, 3, 4, 2, 1.5, 30), box(1, 2, 3, 4, 2, 1.5, 210), 1.0),
    "half along": (box(0, 0, 0, 4, 2, 1), box(2, 0, 0, 4, 2, 1), 1 / 3),
    "half above": (box(0, 0, 0, 4, 2, 1, 77), box(0, 0, 0.5, 4, 2, 1, 77), 1 / 3),
    "one inside": (box(0, 0, 0, 4, 4, 4), box(0.3, 0.1, 0, 1, 2, 2, 45), 4 / 64),
    "a cross": (box(0, 0, 0, 6, 2, 1), box(0, 0, 0, 6, 2, 1, 90), 4 / 20),
    "an octagon": (box(0, 0, 0, 2, 2, 1), box(0, 0, 0, 2, 2, 1, 45), 1 / np.sqrt(2)),
    "sharing an edge": (box(0, 0, 0, 2, 2, 1), box(2, 0, 0, 2, 2, 1), 0.0),
    "one above the other": (box(0, 0, 0, 2, 2, 1), box(0, 0, 1.5, 2, 2, 1), 0.0),
    "far away": (box(0, 0, 0, 2, 2, 1), box(50, 0, 0, 2, 2, 1), 0.0),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_overlap_by_hand(case):
    a, b, expected = CASES[case]
    assert iou_3d(a, b).item() == pytest.approx(expected, abs=1e-9)
    assert iou_3d(b, a).item() == pytest.approx(expected, abs=1e-9)


def cross(a: np.ndarray, b: np.ndarray) -> float:
    return a[0] * b[1] - a[1] * b[0]


def clipped_area(a: np.ndarray, b: np.ndarray) -> float:
    """Of polygon a (4, 2) cut by one edge of b (4, 2) after the other (Sutherland and Hodgman, 1974)."""
    polygon = list(a)
    for start, end in zip(b, np.roll(b, -1, axis=0), strict=True):
        left = [cross(end - start, point - start) for point in polygon]
        kept = []
        for i, point in enumerate(polygon):
            j = (i + 1) % len(polygon)
            kept += [point] if left[i] >= 0 else []
            if (left[i] >= 0) != (left[j] >= 0):
                kept.append(point + (polygon[j] - point) * left[i] / (left[i] - left[j]))
        polygon = kept
    return abs(sum(cross(polygon[i - 1], polygon[i]) for i in range(len(polygon)))) / 2


def test_footprints_overlap_as_another_algorithm_says():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.uniform((-4, -4, 0, 0.3, 0.3, 1, -4), (4, 4, 0, 8, 4, 1, 4), (40, 7)))
    area, corners = overlap_bev(rows[:20], rows[20:]), corners_bev(rows).numpy()
    expected = [[clipped_area(a, b) for b in corners[20:]] for a in corners[:20]]
    assert (area > 0).double().mean() > 0.3
    np.testing.assert_allclose(area.numpy(), expected, atol=1e-9)


def test_no_boxes_overlap_nothing():
    assert iou_3d(torch.zeros(0, 7), box(0, 0, 0, 1, 1, 1)).shape == (0, 1)
    assert iou_3d(box(0, 0, 0, 1, 1, 1), torch.zeros(0, 7)).shape == (1, 0)
