"""Which boxes count: near ones, objects that a LiDAR or radar has seen, and cycles outside of racks."""

from __future__ import annotations

import numpy as np

from perception.evaluation.boxes import SampleBoxes, pairs_in_samples
from perception.evaluation.definition import RACKED_CLASSES, Definition
from perception.evaluation.truth import Racks, Truth
from perception.nuscenes import CLASS_NAMES

RACKED_LABELS = [CLASS_NAMES.index(name) for name in RACKED_CLASSES]


def counted_predictions(predictions: SampleBoxes, truth: Truth, definition: Definition) -> np.ndarray:
    """Which detections (N,) bool count."""
    in_range = ego_distances(predictions, truth) < definition.ranges[predictions.boxes.labels]
    return in_range & ~in_racks(predictions, truth.racks)


def counted_objects(truth: Truth, definition: Definition) -> np.ndarray:
    """Which annotated objects (N,) bool count."""
    in_range = ego_distances(truth.objects, truth) < definition.ranges[truth.objects.boxes.labels]
    return in_range & (truth.points != 0) & ~in_racks(truth.objects, truth.racks)


def ego_distances(boxes: SampleBoxes, truth: Truth) -> np.ndarray:
    """How far from the ego vehicle (N,) [m] the boxes' centres are on the ground."""
    offset = boxes.boxes.centers[:, :2] - truth.ego_world[boxes.samples, :2]
    return np.sqrt((offset**2).sum(axis=1))


def in_racks(boxes: SampleBoxes, racks: Racks) -> np.ndarray:
    """Which boxes (N,) bool are cycles with their centre inside of a rack of their sample."""
    inside = np.zeros(len(boxes), bool)
    cycles = np.flatnonzero(np.isin(boxes.boxes.labels, RACKED_LABELS))
    for left, right in pairs_in_samples(boxes.samples[cycles], racks.samples):
        rows = cycles[left]
        inside[rows[racks.contain(right, boxes.boxes.centers[rows])]] = True
    return inside
