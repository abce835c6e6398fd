"""Scoring a submission: read, filter, match, and the official numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import OFFICIAL, Definition
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
    object_rows: Any  # (M,) int64, rows of the truth that `objects` are
    eval_time: float  # [s] of matching and averaging


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
