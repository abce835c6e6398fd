"""What is told of a node's pace and memory."""

from __future__ import annotations

import json
import os

import pytest

from perception.live import measure
from perception.live.measure import WARM_UP_S, Heard, resident_mb


def heard(monkeypatch: pytest.MonkeyPatch, times_s: list[float], latency_ms: list[float]) -> Heard:
    found = Heard()
    for at_s, ms in zip(times_s, latency_ms, strict=True):
        monkeypatch.setattr(measure.time, "monotonic", lambda at_s=at_s: at_s)
        latency = {"detect": ms / 2, "total": ms}
        content = {"stamp_ns": round(at_s * 1e9), "state": "nominal", "missing": {}, "latency_ms": latency}
        found.take(json.dumps(content))
    return found


def test_rates_latencies_and_memory_are_of_what_comes_after_warming_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = [(0.0, 900.0), (30.0, 900.0)]
    warm = [(WARM_UP_S + number / 5, 100.0 + number % 2) for number in range(500)]
    late = [(WARM_UP_S + 500 / 5 + 1, 300.0)]
    found = heard(monkeypatch, *map(list, zip(*cold, *warm, *late, strict=True)))
    found.resident_mb = [(0.0, 100.0), (WARM_UP_S, 200.0), (WARM_UP_S + 59, 200.0), (WARM_UP_S + 101, 204.0)]
    told = found.summary(0.5)
    assert told["frames"] == 501
    assert told["hz"] == pytest.approx(500 / 101, abs=0.01)
    assert (told["longest_gap_s"], told["gaps_over_0.5_s"], told["not_nominal"]) == (1.2, 1, 0)
    assert told["total_ms"] == {"p50": 101.0, "p99": 101.0, "max": 300.0}
    assert told["detect_ms"]["max"] == 150.0
    assert told["resident_mb"] == {"first": 200.0, "last": 202.0}
    assert told["growth_percent"] == 1.0


@pytest.mark.parametrize("times_s", [[], [0.0], [0.0, 1.0]], ids=str)
def test_too_little_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, times_s: list[float]) -> None:
    assert heard(monkeypatch, times_s, [1.0] * len(times_s)).summary(0.5) == {"frames": 0}


def test_memory_is_what_is_resident() -> None:

    assert 1 < resident_mb(os.getpid()) < 100_000
