"""Scoring a submission: read, filter, match, and the official numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import MEAN_ERRORS, OFFICIAL, Definition
from perception.evaluation.filtering import counted_objects, counted_predictions
from perception.evaluation.metrics import Curves, Matchings, Metrics, curves_of, match_all, metrics_of
from perception.evaluation.results_file import Results
from perception.evaluation.truth import Truth


@dataclass(frozen=True)
class Scores:
    """What comes out of an evaluation."""

    metrics: Metrics
    curves: Curves
    matchings: Matchings  # their rows count in `predictions` and `objects`
    predictions: SampleBoxes  # those that count
    objects: SampleBoxes  # those that count
    object_rows: np.ndarray  # (M,) int64, rows of the truth that `objects` are
    eval_time: float  # [s] of matching and averaging

    def table(self) -> str:
        """The numbers that matter most, as lines of text."""
        errors = self.metrics.tp_errors
        head = [("NDS", self.metrics.nd_score), ("mAP", self.metrics.mean_ap)]
        lines = [f"{name:5}{value:.4f}" for name, value in head]
        return "\n".join(lines + [f"{title:5}{errors[name]:.4f}" for name, title in MEAN_ERRORS.items()])


def score(results: Results, truth: Truth, definition: Definition = OFFICIAL) -> Scores:
    """The official numbers of a submission."""
    rows = counted_objects(truth, definition).nonzero()[0]
    predictions = results.predictions.select(counted_predictions(results.predictions, truth, definition))
    objects = truth.objects.select(rows)
    start = time.perf_counter()
    matchings = match_all(predictions, objects, definition)
    curves = curves_of(matchings)
    metrics = metrics_of(curves, definition)
    return Scores(metrics, curves, matchings, predictions, objects, rows, time.perf_counter() - start)
