"""Circle suppression: what stays is what a plain loop over all pairs lets stay."""

import numpy as np
import pytest
import torch

from perception.ops.nms import circle_nms


def suppress_plainly(centers: np.ndarray, scores: np.ndarray, radius: float) -> list[int]:
    """Rows by falling score, each unless one that stays is within the radius."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        if all(np.hypot(*(centers[row] - centers[other])) > radius for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0, 1000.0])
@pytest.mark.parametrize("seed", range(4))
def test_it_keeps_what_a_plain_loop_keeps(seed, radius):
    rng = np.random.default_rng(seed)
    centers, scores = rng.uniform(-10, 10, (150, 2)), rng.integers(0, 40, 150) / 40  # with equal scores
    found = circle_nms(torch.from_numpy(centers), torch.from_numpy(scores), radius)
    assert found.tolist() == suppress_plainly(centers, scores, radius)


def test_the_limit_keeps_the_best():
    rng = np.random.default_rng(0)
    centers, scores = torch.from_numpy(rng.uniform(-10, 10, (50, 2))), torch.from_numpy(rng.random(50))
    everything = circle_nms(centers, scores, 1.0)
    assert len(everything) > 5
    assert torch.equal(circle_nms(centers, scores, 1.0, limit=5), everything[:5])


def test_a_box_that_is_suppressed_suppresses_nothing():
    centers = torch.tensor([[0.0, 0.0], [0.9, 0.0], [1.8, 0.0]])
    assert circle_nms(centers, torch.tensor([0.9, 0.8, 0.7]), 1.0).tolist() == [0, 2]


def test_a_box_exactly_at_the_radius_goes():
    centers = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert circle_nms(centers, torch.tensor([0.2, 0.9]), 5.0).tolist() == [1]


def test_far_from_the_origin_distances_stay_exact():
    centers = torch.tensor([[5000.0, 5000.0], [5000.0, 5000.25]])
    assert circle_nms(centers, torch.tensor([0.9, 0.8]), 0.2).tolist() == [0, 1]


def test_equal_scores_are_ranked_by_row():
    assert circle_nms(torch.zeros(3, 2), torch.ones(3), 1.0).tolist() == [0]


def test_nothing_in_nothing_out():
    assert circle_nms(torch.zeros(0, 2), torch.zeros(0), 1.0).tolist() == []
