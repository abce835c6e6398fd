"""How long the stages of the last frames took."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

FRAMES = 200


class Latencies:
    """The last durations of every stage [ms]."""

    def __init__(self) -> None:
        self._stages: dict[str, deque[float]] = {}

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Of one frame."""
        for stage, ms in latency_ms.items():
            self._stages.setdefault(stage, deque(maxlen=FRAMES)).append(ms)

    def summary(self) -> dict[str, float]:
        """Median, 99th percentile and maximum of each stage; of a copy, for another thread may add."""
        told = {}
        for stage, values in list(self._stages.items()):
            median, p99, largest = np.percentile(list(values), (50, 99, 100))
            told |= {f"{stage}_p50_ms": median, f"{stage}_p99_ms": p99, f"{stage}_max_ms": largest}
        return {name: round(float(value), 2) for name, value in told.items()}
