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
    names = tuple(summary.scores[Condition()])
    heads = [f"{name} {severity}" for name in names for severity in summary.severities]
    heads += [f"RA {name}" for name in names]
    if summary.baseline is not None:
        heads += [f"{what} {name}" for name in names for what in ("RRA", "CE")]
    lines = [f"{'':22}" + "".join(f"{head:>9}" for head in heads)]
    clean = [value for name in names for value in [summary.clean(name)] + [math.nan] * (len(summary.severities) - 1)]
    lines.append(_line("clean", clean))
    for row in summary.corruptions:
        values = [value for name in names for value in summary.under(name)[row]]
        values += [summary.resistance(name).ra[row] for name in names]
        if summary.baseline is not None:
            values += [
                value for n in names for value in (summary.comparison(n).rra[row], summary.comparison(n).ce[row])
            ]
        lines.append(_line(corruption(row).TITLE, values))
    means = [math.nan] * len(names) * len(summary.severities) + [summary.resistance(name).mra for name in names]
    if summary.baseline is not None:
        means += [value for n in names for value in (summary.comparison(n).mrra, summary.comparison(n).mce)]
    return "\n".join([*lines, _line("mean", means)])


def _line(title: str, values: list[float]) -> str:
    return (
        f"{title:22}" + "".join(f"{value:9.3f}" if math.isfinite(value) else f"{'':9}" for value in values)
    ).rstrip()
