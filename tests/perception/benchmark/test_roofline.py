"""The machine's peaks."""

from __future__ import annotations

import pytest

from perception.benchmark import roofline
from perception.benchmark.roofline import Roofline, measure_roofline
from perception.ops.int8 import computes_int8


@pytest.mark.parametrize(("bfloat16", "names"), [(True, {"fp32", "bf16"}), (False, {"fp32"})])
@pytest.mark.parametrize("int8", [True, False] if computes_int8() else [False])
def test_there_is_a_peak_for_memory_and_each_precision_that_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, int8: bool, names: set[str]
) -> None:
    monkeypatch.setattr(roofline, "computes_bfloat16", lambda device: bfloat16)
    monkeypatch.setattr(roofline, "computes_int8", lambda: int8)
    for size in ("MATRIX", "MAP", "COPIED"):
        monkeypatch.setattr(roofline, size, 64)
    peaks = measure_roofline()
    assert set(peaks.operations_per_s) == names | ({"int8"} if int8 else set())
    assert min(*peaks.operations_per_s.values(), peaks.bytes_per_s) > 0


def test_of_two_measurements_the_higher_counts() -> None:
    one, other = Roofline({"fp32": 1.0, "bf16": 4.0}, 5.0), Roofline({"fp32": 2.0, "bf16": 3.0}, 6.0)
    assert one.or_better(other) == Roofline({"fp32": 2.0, "bf16": 4.0}, 6.0)
