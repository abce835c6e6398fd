"""How far a sensor's clock is off, learned from its stamps.

Sensors that keep step with the reference (triggered by it, or at a multiple of its rate) stand at a constant phase to
it: stamp differences modulo the shorter period are the clock's offset, but for whole periods. Those follow from when
things arrive: a clock that is 80 ms fast makes stamps arrive 80 ms younger. Arrival says this only as well as the
transport delays are known (`latency_ns` in the settings), so a whole period is believed only where arrivals show at
least three quarters of one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

WINDOW = 64  # differences that the median is taken of
ENOUGH = 16
BELIEVED = 0.75  # of a period, in arrivals, before whole periods are counted
STEADY = 1 / 8  # of the period: with a larger median deviation the sensor doesn't keep step


@dataclass(frozen=True)
class OffsetEstimate:
    """What was learned of a sensor's clock."""

    offset_ns: int  # its stamps are this much too late, beyond the offset that was expected
    spread_ns: int  # median absolute deviation of the differences
    samples: int


class OffsetLearner:
    """A running median of stamp differences modulo a period."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._samples: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    def add(self, phase_ns: int, arrival_ns: int) -> None:
        """A stamp less the expected one, whole periods ignored; and how much younger than expected it arrived."""
        self._samples.append((phase_ns % self._period_ns, arrival_ns))

    def forget(self) -> None:
        """Start anew, after a clock jumped."""
        self._samples.clear()

    def estimate(self) -> OffsetEstimate | None:
        """None with too few samples, or if the sensor doesn't keep step with the reference."""
        if len(self._samples) < ENOUGH:
            return None
        phases_ns, arrivals_ns = np.array(self._samples, np.float64).T
        centre_ns = np.angle(np.exp(2j * np.pi * phases_ns / self._period_ns).mean()) * self._period_ns / (2 * np.pi)
        around_ns = self._wrapped(phases_ns - centre_ns)
        middle_ns = np.median(around_ns)
        spread_ns = np.median(np.abs(around_ns - middle_ns))
        if spread_ns > STEADY * self._period_ns:
            return None
        offset_ns = float(self._wrapped(centre_ns + middle_ns))
        offset_ns += self._whole_periods(np.median(arrivals_ns) - offset_ns) * self._period_ns
        return OffsetEstimate(round(offset_ns), round(spread_ns), len(self._samples))

    def _wrapped(self, ns: np.ndarray) -> np.ndarray:
        half = self._period_ns / 2
        return (ns + half) % self._period_ns - half

    def _whole_periods(self, rest_ns: float) -> int:
        periods = rest_ns / self._period_ns
        return round(periods) if abs(periods) >= BELIEVED else 0
