"""The machine's peaks."""

from __future__ import annotations

import pytest

from perception.benchmark import roofline
from perception.benchmark.roofline import Roofline, measure_roofline


def test_there_is_a_peak_for_each_precision_and_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("MATRIX", "MAP", "COPIED"):
        monkeypatch.setattr(roofline, size, 64)
    peaks = measure_roofline()
    assert set(peaks.operations_per_s) == {"fp32", "bf16"}
    assert min(*peaks.operations_per_s.values(), peaks.bytes_per_s) > 0


def test_of_two_measurements_the_higher_counts() -> None:
    one, other = Roofline({"fp32": 1.0, "bf16": 4.0}, 5.0), Roofline({"fp32": 2.0, "bf16": 3.0}, 6.0)
    assert one.or_better(other) == Roofline({"fp32": 2.0, "bf16": 4.0}, 6.0)
