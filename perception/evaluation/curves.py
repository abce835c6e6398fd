"""Precision and errors over recall, for one class at one distance threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.evaluation.definition import ERRORS
from perception.evaluation.matching import NONE, Matching

POINTS = 101  # recalls from 0 to 1 at which curves are taken
RECALLS = np.linspace(0, 1, POINTS)


@dataclass(frozen=True)
class Curve:
    """Precision, confidence and running means of the errors at RECALLS."""

    precision: np.ndarray  # (101,)
    confidence: np.ndarray  # (101,) the score down to which detections count; 0 for recalls that aren't reached
    errors: np.ndarray  # (101, 5) in the order of ERRORS

    def average_precision(self, min_recall: float, min_precision: float) -> float:
        """The area under the part of the curve above both, as a share of what it could be."""
        above = np.maximum(self.precision[_first(min_recall) :] - min_precision, 0)
        return float(np.mean(above)) / (1 - min_precision)

    def mean_error(self, name: str, min_recall: float) -> float:
        """The mean of an error over the recalls above `min_recall` that are reached; 1 where none is."""
        first, last = _first(min_recall), self.last_reached
        return float(np.mean(self.errors[first : last + 1, ERRORS.index(name)])) if last >= first else 1.0

    @property
    def last_reached(self) -> int:
        """The index of the highest recall that is reached."""
        reached = np.flatnonzero(self.confidence)
        return int(reached[-1]) if len(reached) else 0

    def as_json(self) -> dict[str, Any]:
        """As the development kit writes it into its details."""
        errors = {name: self.errors[:, column].tolist() for column, name in enumerate(ERRORS)}
        return {
            "recall": RECALLS.tolist(),
            "precision": self.precision.tolist(),
            "confidence": self.confidence.tolist(),
        } | errors


def curve_of(
    matching: Matching,
    truth_count: int | None = None,  # objects there were to find, if not all of the matching's
    keep: np.ndarray | None = None,  # (N,) bool, which of the detections count, if not all
) -> Curve:
    """The curve of a matching. Nothing to find, and nothing found, are a precision of 0 and errors of 1."""
    count = len(matching.truth) if truth_count is None else truth_count
    hits, scores, errors = matching.matched != NONE, matching.scores, matching.errors
    if keep is not None:
        hits, scores, errors = hits[keep], scores[keep], errors[keep[hits]]
    if not count or not hits.any():
        return Curve(np.zeros(POINTS), np.zeros(POINTS), np.ones((POINTS, len(ERRORS))))
    found = np.cumsum(hits).astype(np.float64)
    recall, precision = found / count, found / np.arange(1, len(hits) + 1)
    confidence = np.interp(RECALLS, recall, scores, right=0)
    # Errors are means over all detections down to a score, so they are looked up by score. np.interp wants it rising.
    means = [np.interp(confidence[::-1], scores[hits][::-1], _running_mean(column)[::-1])[::-1] for column in errors.T]
    return Curve(np.interp(RECALLS, recall, precision, right=0), confidence, np.stack(means, axis=1))


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Means (N,) of the values up to each, NaN left out; 0 before the first number, and 1 if there is none at all."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    counts = np.cumsum(known)
    return np.where(counts > 0, np.nancumsum(values) / np.maximum(counts, 1), 0)


def _first(min_recall: float) -> int:
    """The first index above a recall."""
    return round(100 * min_recall) + 1
