"""Which detection is which annotated object: greedy by score, each detection taking the nearest object still free.

The order is a priority that all objects share, so the greedy assignment is the one stable matching between detections
that prefer near objects and objects that prefer high scores. Deferred acceptance (Gale and Shapley, "College admissions
and the stability of marriage", 1962) finds it for all samples at once in a few rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.evaluation.boxes import SampleBoxes, ground_distances, pairs_in_samples
from perception.evaluation.definition import ERRORS, Definition
from perception.nuscenes import CLASS_NAMES

NONE = -1


@dataclass(frozen=True)
class Matching:
    """The detections of one class, best first, and what they match at one distance threshold."""

    predictions: np.ndarray  # (N,) int64, rows of the predictions, by falling score
    scores: np.ndarray  # (N,)
    matched: np.ndarray  # (N,) int64, row of the truth that each matches, -1 for none
    errors: np.ndarray  # (number of matches, 5), in the order of ERRORS, NaN where undefined
    truth: np.ndarray  # (M,) int64, all rows of the truth of this class


@dataclass(frozen=True)
class _Pairs:
    """Detections and objects near each other, ordered by the detection's rank, then by distance."""

    ranks: np.ndarray  # (P,) place of the detection in the order of scores
    objects: np.ndarray  # (P,) place of the object among those of the class
    distances: np.ndarray  # (P,) [m]


def match_class(
    predictions: SampleBoxes, truth: SampleBoxes, label: int, definition: Definition
) -> dict[float, Matching]:
    """The matchings of one class at each of the distance thresholds.

    Among equal scores the later detection comes first, as in the development kit.
    """
    objects = np.flatnonzero(truth.boxes.labels == label)
    ranked = np.flatnonzero(predictions.boxes.labels == label)
    ranked = ranked[np.argsort(predictions.boxes.scores[ranked], kind="stable")[::-1]]
    pairs = _near(predictions, ranked, truth, objects, max(definition.dist_ths))
    found = {}
    for threshold in definition.dist_ths:
        matched = _assigned(pairs, threshold, len(ranked), len(objects))
        hits = np.flatnonzero(matched != NONE)
        rows = objects[matched[hits]]
        errors = _errors(predictions.select(ranked[hits]), truth.select(rows), label)
        matched[hits] = rows
        found[threshold] = Matching(ranked, predictions.boxes.scores[ranked], matched, errors, objects)
    return found


def _near(
    predictions: SampleBoxes, ranked: np.ndarray, truth: SampleBoxes, objects: np.ndarray, reach: float
) -> _Pairs:
    found, real = predictions.boxes.centers[ranked, :2], truth.boxes.centers[objects, :2]
    kept = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for left, right in pairs_in_samples(predictions.samples[ranked], truth.samples[objects]):
        hopeful = np.abs(found[left, 0] - real[right, 0]) < reach  # most pairs aren't, and that is quickly seen
        left, right = left[hopeful], right[hopeful]
        distances = ground_distances(found[left], real[right])
        near = distances < reach
        kept.append((left[near], right[near], distances[near]))
    ranks, rights, distances = map(np.concatenate, zip(*kept, strict=True))
    order = np.lexsort((distances, ranks))  # stable: of objects equally near the first one comes first
    return _Pairs(ranks[order], rights[order], distances[order])


def _assigned(pairs: _Pairs, threshold: float, ranks: int, objects: int) -> np.ndarray:
    """The object (ranks,) that each detection gets, -1 for none."""
    near = pairs.distances < threshold
    wishes, owners = pairs.objects[near], pairs.ranks[near]
    counts = np.bincount(owners, minlength=ranks)
    end = np.cumsum(counts)
    cursor = end - counts  # the wish that each detection is at
    holder = np.full(objects, ranks)  # the best rank that asked for each object; `ranks` for none
    asking = np.flatnonzero(cursor < end)
    while len(asking):
        wanted = wishes[cursor[asking]]
        before = holder[wanted]
        np.minimum.at(holder, wanted, asking)
        after = holder[wanted]
        turned_down = asking[after != asking]
        displaced = np.unique(before[(before != after) & (before < ranks)])
        losers = np.concatenate([turned_down, displaced])
        cursor[losers] += 1
        asking = losers[cursor[losers] < end[losers]]
    assigned = np.full(ranks, NONE)
    held = np.flatnonzero(holder < ranks)
    assigned[holder[held]] = held
    return assigned


def _errors(predictions: SampleBoxes, truth: SampleBoxes, label: int) -> np.ndarray:
    """How wrong matched detections are (N, 5), in the order of ERRORS; NaN where the truth doesn't say."""
    found, real = predictions.boxes, truth.boxes
    period = np.pi if CLASS_NAMES[label] == "barrier" else 2 * np.pi  # a barrier has no front
    turned = (real.yaws - found.yaws + period / 2) % period - period / 2
    errors = {
        "trans_err": ground_distances(found.centers, real.centers),
        "scale_err": 1 - _aligned_iou(real.sizes, found.sizes),
        "orient_err": np.abs(turned),
        "vel_err": ground_distances(found.velocities, real.velocities),
        "attr_err": np.where(truth.attributes == NONE, np.nan, predictions.attributes != truth.attributes),
    }
    return np.stack([errors[name] for name in ERRORS], axis=1)


def _aligned_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of boxes of these sizes (N, 3) if they had the same centre and heading."""
    shared = np.minimum(first, second).prod(axis=1)
    return shared / (first.prod(axis=1) + second.prod(axis=1) - shared)
