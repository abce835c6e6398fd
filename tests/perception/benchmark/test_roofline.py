"""The machine's peaks."""

from __future__ import annotations

from perception.benchmark.roofline import measure_roofline


def test_there_is_a_peak_for_each_precision_and_for_memory() -> None:
    roofline = measure_roofline(scale=0.05)
    assert set(roofline.operations_per_s) == {"fp32", "bf16"}
    assert min(*roofline.operations_per_s.values(), roofline.bytes_per_s) > 0
