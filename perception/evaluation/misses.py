"""The worst mistakes: objects that were plain to see and missed, and confident detections of nothing.

What counts as detected depends on the score one asks for. Here it is, for each class, the score with the best F1 (the
harmonic mean of precision and recall) at the distance threshold of the errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from perception.evaluation.matching import NONE, Matching
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth
from perception.nuscenes import CLASS_NAMES

SAME_PLACE_M = 2.0  # false alarms of a class nearer together than this, in samples of a scene, are the same mistake


@dataclass(frozen=True)
class WorkingPoint:
    """What a class does at its best F1."""

    score: float  # detections below it don't count
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Mistake:
    """An object that was missed, or a detection of nothing."""

    missed: bool  # else a false alarm
    sample: int  # number of the sample
    class_name: str
    row: int  # in the scores' objects, or in their predictions
    weight: float  # returns from a missed object; score of a false alarm


def working_points(scores: Scores) -> dict[str, WorkingPoint]:
    """Each class's working point; a class of which nothing is found has the mean of the others' scores."""
    threshold = scores.metrics.definition.dist_th_tp
    points = {name: _working_point(scores.matchings[name, threshold]) for name in scores.metrics.label_aps}
    known = [point.score for point in points.values() if point.f1 > 0]
    elsewhere = float(np.mean(known)) if known else 0.0
    return {name: point if point.f1 > 0 else replace(point, score=elsewhere) for name, point in points.items()}


def worst_misses(scores: Scores, truth: Truth, points: Mapping[str, WorkingPoint], count: int) -> list[Mistake]:
    """Missed objects with the most LiDAR and radar returns, one of each track."""
    returns = truth.points[scores.object_rows]
    missed = _worst_first(
        Mistake(True, int(scores.objects.samples[row]), name, int(row), float(returns[row]))
        for name, rows in _missed(scores, points)
        for row in rows
    )
    tracks = (truth.instances[scores.object_rows[mistake.row]] for mistake in missed)
    return _first_of_each(missed, tracks, count)


def worst_false_alarms(scores: Scores, truth: Truth, points: Mapping[str, WorkingPoint], count: int) -> list[Mistake]:
    """Detections of nothing with the highest scores, one at each place."""
    boxes = scores.predictions.boxes
    alarms = _worst_first(
        Mistake(False, int(scores.predictions.samples[row]), name, int(row), float(boxes.scores[row]))
        for name, rows in _false_alarms(scores, points)
        for row in rows
    )
    kept: list[Mistake] = []
    for alarm in alarms:
        place, scene = boxes.centers[alarm.row, :2], truth.scenes[alarm.sample].token
        again = any(
            other.class_name == alarm.class_name
            and truth.scenes[other.sample].token == scene
            and np.linalg.norm(boxes.centers[other.row, :2] - place) < SAME_PLACE_M
            for other in kept
        )
        if not again:
            kept.append(alarm)
        if len(kept) == count:
            break
    return kept


@dataclass(frozen=True)
class Tally:
    """How a detector does in each sample at its classes' working points."""

    objects: np.ndarray  # (samples,) int64
    found: np.ndarray  # of them
    false_alarms: np.ndarray


def tally(scores: Scores, points: Mapping[str, WorkingPoint], samples: int) -> Tally:
    """Objects, those found and false alarms of each of so many samples."""
    missed = np.concatenate([rows for _, rows in _missed(scores, points)])
    alarms = np.concatenate([rows for _, rows in _false_alarms(scores, points)])
    objects = np.bincount(scores.objects.samples, minlength=samples)
    found = objects - np.bincount(scores.objects.samples[missed], minlength=samples)
    return Tally(objects, found, np.bincount(scores.predictions.samples[alarms], minlength=samples))


def _working_point(matching: Matching) -> WorkingPoint:
    hits = matching.matched != NONE
    if not hits.any():
        return WorkingPoint(0.0, 0.0, 0.0, 0.0)
    last = np.flatnonzero(np.append(np.diff(matching.scores) != 0, True))  # of each run of equal scores
    found, counted, objects = np.cumsum(hits)[last], last + 1, len(matching.truth)
    f1 = 2 * found / (counted + objects)
    best = int(np.argmax(f1))
    columns = (matching.scores[last], found / counted, found / objects, f1)
    return WorkingPoint(*(float(column[best]) for column in columns))


def _missed(scores: Scores, points: Mapping[str, WorkingPoint]) -> Iterator[tuple[str, np.ndarray]]:
    for name, point in points.items():
        matching = scores.matchings[name, scores.metrics.definition.dist_th_tp]
        found = matching.matched[(matching.scores >= point.score) & (matching.matched != NONE)]
        yield name, np.setdiff1d(matching.truth, found)


def _false_alarms(scores: Scores, points: Mapping[str, WorkingPoint]) -> Iterator[tuple[str, np.ndarray]]:
    for name, point in points.items():
        matching = scores.matchings[name, scores.metrics.definition.dist_th_tp]
        yield name, matching.predictions[(matching.scores >= point.score) & (matching.matched == NONE)]


def _worst_first(mistakes: Iterable[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda mistake: (-mistake.weight, CLASS_NAMES.index(mistake.class_name), mistake.row))


def _first_of_each(mistakes: Iterable[Mistake], keys: Iterable[str], count: int) -> list[Mistake]:
    kept: dict[str, Mistake] = {}
    for key, mistake in zip(keys, mistakes, strict=True):
        kept.setdefault(key, mistake)
    return list(kept.values())[:count]
