"""Ours beside another's, taking turns in one run: whatever else the machine does disturbs both alike."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calibration.errors import InputError

Rounds = Callable[[str], Iterable[int]]  # the rounds to go through, of what is compared


@dataclass(frozen=True)
class Comparison:
    """One piece of work, done by us and by another."""

    what: str
    peer: str
    ours_s: tuple[float, ...]  # of each turn
    theirs_s: tuple[float, ...]
    difference: float | None = None  # relative RMS of our result to theirs; None where a number doesn't tell it
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes, by the medians."""
        return self.theirs_median_s / self.ours_median_s

    @property
    def ours_median_s(self) -> float:
        return float(np.median(self.ours_s))

    @property
    def theirs_median_s(self) -> float:
        return float(np.median(self.theirs_s))


@dataclass(frozen=True)
class Turns:
    """What taking turns gave: times, and each side's last result."""

    ours_s: tuple[float, ...]
    theirs_s: tuple[float, ...]
    ours: Any
    theirs: Any

    def compared(self, what: str, peer: str, difference: float | None = None, note: str = "") -> Comparison:
        return Comparison(what, peer, self.ours_s, self.theirs_s, difference, note)


def take_turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: Iterable[int]) -> Turns:
    """One after the other in each round, after once unmeasured."""
    results = ours(), theirs()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in rounds:
        results = _timed(ours, times[0]), _timed(theirs, times[1])
    return Turns(tuple(times[0]), tuple(times[1]), *results)


def _timed(work: Callable[[], Any], times: list[float]) -> Any:
    start = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - start)
    return result


def relative_rms(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected; 0 for equal ones, even of zeros."""
    found, expected = found.double(), expected.double()
    apart = torch.sqrt(torch.mean((found - expected) ** 2))
    return float(apart / torch.sqrt(torch.mean(expected**2))) if found.numel() and apart > 0 else 0.0


def require_package(peer: str, package: str, fix: str) -> None:
    """InputError where the package that a comparison needs isn't installed."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"--compare {peer}", f"the package {package}", "none", fix)
