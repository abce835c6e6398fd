"""From a head's tensors to Boxes3D, and what refiners have in common that look at these once more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from perception.ops.nms import rotated_nms
from perception.types import Boxes3D

HEAD = "head"  # who says where fronts are before any refiner does; no more than that, so that its logits are all 1
FRONTLESS = ("barrier", "traffic_cone")  # either of their ends may be called the front


def boxes_of_frame(
    centers: Tensor,  # (P, 3) m, gravity centre
    sizes: Tensor,  # (P, 3) m
    yaws: Tensor,  # (P,) rad
    velocities: Tensor,  # (P, 2) m/s
    scores: Tensor,  # (P,)
    labels: Tensor,  # (P,) int64
    class_names: tuple[str, ...],
) -> Boxes3D:
    """One frame's boxes in the lidar frame."""
    floats = (t.detach().float().cpu().numpy() for t in (centers, sizes, yaws, velocities, scores))
    fronts = {HEAD: np.ones(len(centers), np.float32)}
    return Boxes3D(*floats, labels.cpu().numpy().astype(np.int64), class_names, fronts=fronts)


def best_rows(boxes: Boxes3D, min_score: float, most: int, among: np.ndarray | None = None) -> np.ndarray:
    """Rows of the best boxes, best first: `most` at most, none below the score, only those of a mask (N,) if given."""
    order = np.argsort(-boxes.scores, kind="stable")
    worth = boxes.scores >= min_score
    return order[(worth if among is None else worth & among)[order]][:most]


def label_columns(boxes: Boxes3D) -> np.ndarray:
    """Labels (N,) as (N, classes) float32: 1 in the label's column."""
    return np.eye(len(boxes.class_names), dtype=np.float32)[boxes.labels]


def score_logits(boxes: Boxes3D) -> np.ndarray:
    """Scores (N,) as logits, within reason."""
    score = np.clip(boxes.scores, 1e-4, 1 - 1e-4)
    return np.log(score / (1 - score))


def has_front(labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Whether things of these classes (N,) have a front; background, the label behind the last class, has none."""
    return np.array([name not in FRONTLESS for name in class_names] + [False])[labels]


def turned_round(boxes: Boxes3D, facing: np.ndarray, standing: float | None) -> Boxes3D:
    """The boxes, those turned round where `facing` (N,) is negative and which aren't faster than `standing` [m/s], if
    that is given."""
    wrong = facing < 0
    if standing is not None:
        wrong &= ~(np.linalg.norm(boxes.velocities, axis=1) > standing)
    return boxes.headed(np.where(wrong, (boxes.yaws + 2 * math.pi) % (2 * math.pi) - math.pi, boxes.yaws))


def judged_again(
    boxes: Boxes3D, chances: np.ndarray, weight: float, second_label: float, other_label: float = 1.0
) -> Boxes3D:
    """Boxes (K) as a second opinion takes them, probabilities (K, classes and more columns).

    Each gets the likeliest label, and once more each other label that is at least as probable as `second_label`; the
    score is the geometric mean of the detector's and the label's probability, of which that has `weight`. Of the
    detector's score the part `other_label` counts for labels that it didn't give; if less than 1, its own stays, too.
    """
    best, parts = chances[:, : len(boxes.class_names)].argmax(axis=1), []
    for label in range(len(boxes.class_names)):
        own = boxes.labels == label
        rows = np.nonzero((best == label) | (chances[:, label] >= second_label) | (own & (other_label < 1)))[0]
        before = np.where(own[rows], 1.0, other_label) * boxes.scores[rows]
        scores = before ** (1 - weight) * chances[rows, label] ** weight
        labels = np.full(len(rows), label, np.int64)
        parts.append(replace(boxes.select(rows), labels=labels, scores=scores.astype(boxes.scores.dtype)))
    return Boxes3D.joined(parts)


def best_of_each(boxes: Boxes3D, max_overlap: float) -> np.ndarray:
    """Rows that stay when of two overlapping boxes of a class the worse one goes, best first."""
    kept = []
    for label in np.unique(boxes.labels):
        rows = np.nonzero(boxes.labels == label)[0]
        flat = np.concatenate([boxes.centers[rows, :2], boxes.sizes[rows, :2], boxes.yaws[rows, None]], axis=1)
        scores = torch.from_numpy(boxes.scores[rows].astype(np.float32))
        stay = rotated_nms(torch.from_numpy(flat.astype(np.float32)), scores, max_overlap)
        kept.append(rows[stay.numpy()])
    rows = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return rows[np.argsort(-boxes.scores[rows], kind="stable")]
