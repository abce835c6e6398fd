"""What a second opinion makes of boxes, and which of them stay."""

from __future__ import annotations

import numpy as np
import pytest

from perception.model.boxes import best_of_each, judged_again
from perception.types import Boxes3D

CLASSES = ("car", "truck", "bus")


def boxes(labels: list[int], scores: list[float], apart: float = 10.0) -> Boxes3D:
    count = len(labels)
    return Boxes3D(
        np.stack([apart * np.arange(count), np.zeros(count), np.zeros(count)], axis=1),
        np.tile([4.0, 2.0, 1.5], (count, 1)),
        np.zeros(count),
        np.zeros((count, 2)),
        np.array(scores),
        np.array(labels),
        CLASSES,
    )


def told(found: Boxes3D) -> dict[tuple[float, int], float]:
    rows = zip(found.centers[:, 0], found.labels, found.scores, strict=True)
    return {(float(x), int(label)): pytest.approx(score) for x, label, score in rows}


def test_a_box_is_called_what_is_likeliest_and_what_is_likely_too() -> None:
    chances = np.array([[0.1, 0.6, 0.3, 0.0], [0.05, 0.05, 0.1, 0.8]])  # the last is background
    again = judged_again(boxes([0, 2], [0.5, 0.4]), chances, weight=1.0, second_label=0.3)
    assert told(again) == {(0.0, 1): 0.6, (0.0, 2): 0.3, (10.0, 2): 0.1}
    half = judged_again(boxes([0, 2], [0.5, 0.4]), chances, weight=0.5, second_label=0.7)
    assert told(half) == {(0.0, 1): np.sqrt(0.5 * 0.6), (10.0, 2): np.sqrt(0.4 * 0.1)}


def test_its_own_label_can_be_held_to() -> None:
    chances = np.array([[0.1, 0.6, 0.3, 0.0]])
    again = judged_again(boxes([0], [0.5]), chances, weight=0.5, second_label=0.5, other_label=0.2)
    assert told(again) == {(0.0, 0): np.sqrt(0.5 * 0.1), (0.0, 1): np.sqrt(0.2 * 0.5 * 0.6)}


def test_no_box_is_no_box() -> None:
    assert len(judged_again(boxes([], []), np.zeros((0, 4)), 0.5, 0.1)) == 0
    assert len(best_of_each(boxes([], []), 0.2)) == 0


def test_of_boxes_of_a_class_that_overlap_the_best_stays() -> None:
    near = boxes([0, 0, 1, 0], [0.3, 0.9, 0.5, 0.4], apart=1.0)
    assert best_of_each(near, 0.2).tolist() == [1, 2]  # the fourth is 2 m from the best: a third of both is shared
    assert best_of_each(near, 0.5).tolist() == [1, 2, 3]  # 0.6 of the first and the second is shared
