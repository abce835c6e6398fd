"""From curves to the official numbers: AP, errors of true positives, mAP and NDS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.curves import Curve, curve_of
from perception.evaluation.definition import ERRORS, UNDEFINED_ERRORS, Definition
from perception.evaluation.matching import Matching, match_class
from perception.nuscenes import CLASS_NAMES

Matchings = Mapping[tuple[str, float], Matching]  # by class and distance threshold
Curves = Mapping[tuple[str, float], Curve]


@dataclass(frozen=True)
class Metrics:
    """The official numbers; NaN for errors that a class doesn't have."""

    definition: Definition
    label_aps: Mapping[str, Mapping[float, float]]  # class -> distance threshold -> AP
    label_tp_errors: Mapping[str, Mapping[str, float]]  # class -> error -> its mean

    @property
    def mean_dist_aps(self) -> dict[str, float]:
        """AP of each class: the mean over the distance thresholds."""
        return {name: float(np.mean(list(aps.values()))) for name, aps in self.label_aps.items()}

    @property
    def mean_ap(self) -> float:
        """mAP: the mean over the classes."""
        return float(np.mean(list(self.mean_dist_aps.values())))

    @property
    def tp_errors(self) -> dict[str, float]:
        """Each error, the mean over the classes that have it; NaN if none has."""
        columns = {error: np.array([row[error] for row in self.label_tp_errors.values()]) for error in ERRORS}
        return {error: float(np.nanmean(c)) if not np.isnan(c).all() else np.nan for error, c in columns.items()}

    @property
    def tp_scores(self) -> dict[str, float]:
        """What each error is worth: 1 for none, 0 from an error of 1 on."""
        return {error: max(0.0, 1.0 - mean) for error, mean in self.tp_errors.items()}

    @property
    def nd_score(self) -> float:
        """NDS, the nuScenes detection score: mAP and the five scores of errors, weighted."""
        weight = self.definition.mean_ap_weight
        return float(weight * self.mean_ap + np.sum(list(self.tp_scores.values()))) / float(weight + len(ERRORS))

    def as_json(self) -> dict[str, Any]:
        """As the development kit's metrics_summary.json has it."""
        return {
            "label_aps": {name: dict(aps) for name, aps in self.label_aps.items()},
            "mean_dist_aps": self.mean_dist_aps,
            "mean_ap": self.mean_ap,
            "label_tp_errors": {name: dict(errors) for name, errors in self.label_tp_errors.items()},
            "tp_errors": self.tp_errors,
            "tp_scores": self.tp_scores,
            "nd_score": self.nd_score,
            "cfg": self.definition.as_json(),
        }


def match_all(predictions: SampleBoxes, truth: SampleBoxes, definition: Definition) -> Matchings:
    """Every class's matchings, of boxes that are filtered already (perception/evaluation/filtering.py)."""
    found = {}
    for name in definition.class_range:
        matchings = match_class(predictions, truth, CLASS_NAMES.index(name), definition)
        found |= {(name, threshold): matching for threshold, matching in matchings.items()}
    return found


def curves_of(matchings: Matchings) -> Curves:
    """The curve of each matching."""
    return {key: curve_of(matching) for key, matching in matchings.items()}


def metrics_of(curves: Curves, definition: Definition) -> Metrics:
    """The official numbers, of the classes that have curves."""
    names = dict.fromkeys(name for name, _ in curves)
    aps = {
        name: {
            threshold: curves[name, threshold].average_precision(definition.min_recall, definition.min_precision)
            for threshold in definition.dist_ths
        }
        for name in names
    }
    errors = {name: _errors(name, curves[name, definition.dist_th_tp], definition) for name in names}
    return Metrics(definition, aps, errors)


def _errors(name: str, curve: Curve, definition: Definition) -> dict[str, float]:
    undefined = UNDEFINED_ERRORS.get(name, set())
    return {error: np.nan if error in undefined else curve.mean_error(error, definition.min_recall) for error in ERRORS}
