"""How much of a score is left under corruption.

A score (mAP, NDS) has one number for clean data and one for each severity of each corruption. From them:

    RA_c   = mean over severities of score_cs / score_clean        resistance ability, MultiCorrupt; mRA is its mean
    RRA_c  = sum of score_cs / sum of the baseline's - 1           relative resistance ability, MultiCorrupt; mRRA
    CE_c   = sum of (1 - score_cs) / sum of the baseline's         corruption error, RoboBEV and Robo3D; mCE is its mean

Means are over the corruptions. RA is what RoboBEV calls the resilience rate. Both benchmarks print RRA and CE in
percent; here they are shares. A ratio to zero is NaN, and so is a mean with one in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Resistance:
    """What is left of one score."""

    ra: Mapping[str, float]  # of each corruption
    mra: float


@dataclass(frozen=True)
class Comparison:
    """One score beside a baseline's."""

    rra: Mapping[str, float]  # of each corruption
    mrra: float
    ce: Mapping[str, float]  # of each corruption
    mce: float


def resistance(clean: float, scores: Mapping[str, Sequence[float]]) -> Resistance:
    """From the scores of each corruption's severities."""
    ra = {name: _ratio(np.mean(values), clean) for name, values in scores.items()}
    return Resistance(ra, _mean(ra.values()))


def comparison(scores: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]]) -> Comparison:
    """Of the same corruptions and severities, `baseline` may have more of the former."""
    rra = {name: _ratio(np.sum(values), np.sum(baseline[name])) - 1 for name, values in scores.items()}
    ce = {
        name: _ratio(np.sum(1 - np.array(values)), np.sum(1 - np.array(baseline[name])))
        for name, values in scores.items()
    }
    return Comparison(rra, _mean(rra.values()), ce, _mean(ce.values()))


def _ratio(value: float, reference: float) -> float:
    return float(value / reference) if reference > 0 else float("nan")


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
