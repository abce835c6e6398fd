"""All scores of a robustness run, what is left of them, and their table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibration.errors import InputError
from perception.robustness import corruption
from perception.robustness.frames import Condition
from perception.robustness.metrics import Comparison, Resistance, comparison, resistance


@dataclass(frozen=True)
class Summary:
    """A run's scores."""

    facts: Mapping[str, Any]  # what they depend on
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    scores: Mapping[Condition, Mapping[str, float]]  # of each condition NDS and mAP
    baseline: Mapping[str, Any] | None = None  # another run's robustness.json

    def clean(self, score: str) -> float:
        """A score without corruption."""
        return self.scores[Condition()][score]

    def under(self, score: str) -> dict[str, list[float]]:
        """A score of each corruption's severities."""
        return {
            name: [self.scores[Condition(name, severity)][score] for severity in self.severities]
            for name in self.corruptions
        }

    def resistance(self, score: str) -> Resistance:
        """What is left of it."""
        return resistance(self.clean(score), self.under(score))

    def comparison(self, score: str) -> Comparison | None:
        """The same beside the baseline's; None where there is none."""
        if self.baseline is None:
            return None
        theirs = {
            name: [rows[str(severity)][score] for severity in self.severities]
            for name, rows in self.baseline["scores"].items()
            if name in self.corruptions
        }
        return comparison(self.under(score), theirs)


def check_comparable(facts: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
    """InputError unless the baseline saw the same samples under the same corruptions."""
    theirs = baseline["facts"]
    for name in ("split", "tokens", "seed"):
        if theirs.get(name) != facts[name]:
            raise InputError(f"baseline's {name}", repr(facts[name]), repr(theirs.get(name)), "run the baseline anew")
    for name, digest in facts["corruptions"].items():
        if name not in theirs["corruptions"]:
            raise InputError("baseline's corruptions", name, ", ".join(theirs["corruptions"]), "run the baseline anew")
        if theirs["corruptions"][name] != digest:
            got = "scores of another version of it"
            raise InputError(f"baseline under {name}", "scores of this version's corruption", got, "run it anew")


def check_severities(severities: tuple[int, ...], baseline: Mapping[str, Any]) -> None:
    """InputError unless the baseline has these severities."""
    if not set(severities) <= set(baseline["severities"]):
        raise InputError("baseline's severities", f"{list(severities)}", f"{baseline['severities']}", "run it anew")


def as_json(summary: Summary) -> dict[str, Any]:
    """The content of robustness.json; null where a number isn't defined."""
    names = tuple(summary.scores[Condition()])
    found: dict[str, Any] = {
        "facts": dict(summary.facts),
        "severities": list(summary.severities),
        "clean": dict(summary.scores[Condition()]),
        "scores": {
            name: {str(s): dict(summary.scores[Condition(name, s)]) for s in summary.severities}
            for name in summary.corruptions
        },
        "RA": {name: _plain(summary.resistance(name).ra) for name in names},
        "mRA": _plain({name: summary.resistance(name).mra for name in names}),
    }
    if summary.baseline is not None:
        beside = {name: summary.comparison(name) for name in names}
        found["baseline"] = {key: summary.baseline["facts"][key] for key in ("config", "checkpoint", "weights")}
        found |= {"RRA": {name: _plain(c.rra) for name, c in beside.items()}}
        found |= {"mRRA": _plain({name: c.mrra for name, c in beside.items()})}
        found |= {"CE": {name: _plain(c.ce) for name, c in beside.items()}}
        found |= {"mCE": _plain({name: c.mce for name, c in beside.items()})}
    return found


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def table(summary: Summary) -> str:
    """The scores as lines of text."""
    names, levels = tuple(summary.scores[Condition()]), summary.severities
    heads = [f"{name} {level}" for name in names for level in levels] + [f"RA {name}" for name in names]
    clean = [value for name in names for value in (summary.clean(name), *[math.nan] * (len(levels) - 1))]
    rows = [("clean", clean)]
    left = {name: summary.resistance(name) for name in names}
    beside = {name: summary.comparison(name) for name in names if summary.baseline is not None}
    heads += [f"{what} {name}" for name in beside for what in ("RRA", "CE")]
    for row in summary.corruptions:
        values = [value for name in names for value in summary.under(name)[row]] + [
            left[name].ra[row] for name in names
        ]
        values += [value for one in beside.values() for value in (one.rra[row], one.ce[row])]
        rows.append((corruption(row).TITLE, values))
    means = [math.nan] * len(names) * len(levels) + [left[name].mra for name in names]
    rows.append(("mean", means + [value for one in beside.values() for value in (one.mrra, one.mce)]))
    lines = ["".join([f"{'':22}", *(f"{head:>9}" for head in heads)])]
    for title, values in rows:
        cells = [f"{value:9.3f}" if math.isfinite(value) else " " * 9 for value in values]
        lines.append("".join([f"{title:22}", *cells]).rstrip())
    return "\n".join(lines)
