"""What this machine can do at best: arithmetic in large products and convolutions, and memory in a large copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from perception.model.precision import computes_bfloat16
from perception.ops.int8 import Int8Convolution, computes_int8

ATTEMPTS = 5
MATRIX, CHANNELS, MAP, COPIED = 2048, 128, 128, 2**28  # rows and columns; of a convolution; cells a side; bytes
CONVOLVED = 2 * 2 * CHANNELS**2 * 9 * MAP**2  # operations of two maps
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Roofline:
    """Peaks, measured with as many threads as torch is set to use."""

    operations_per_s: dict[str, float]  # by precision that the processor has, of a matrix product or 3x3 convolution
    bytes_per_s: float  # read and written by a copy

    def or_better(self, other: Roofline) -> Roofline:
        """The higher of each: what disturbs a measurement only lowers it."""
        peaks = {name: max(peak, other.operations_per_s[name]) for name, peak in self.operations_per_s.items()}
        return Roofline(peaks, max(self.bytes_per_s, other.bytes_per_s))


@torch.inference_mode()
def measure_roofline() -> Roofline:
    """The best of a few attempts each."""
    precisions = [name for name in PRECISIONS if name != "bf16" or computes_bfloat16(torch.device("cpu"))]
    operations = {name: max(_product(PRECISIONS[name]), _convolution(PRECISIONS[name])) for name in precisions}
    if computes_int8():
        operations["int8"] = _convolution_in_eight_bits(PRECISIONS[precisions[-1]])
    return Roofline(operations, _copy())


def _product(dtype: torch.dtype) -> float:
    a, b = torch.randn(2, MATRIX, MATRIX).to(dtype)
    return 2 * MATRIX**3 / _best_s(lambda: a @ b)


def _convolution(dtype: torch.dtype) -> float:
    x, weight = _map_and_kernel(dtype)
    return CONVOLVED / _best_s(lambda: F.conv2d(x, weight, padding=1))


def _convolution_in_eight_bits(dtype: torch.dtype) -> float:
    x, weight = _map_and_kernel(dtype)
    convolution = Int8Convolution(weight, None, (1, 1), (1, 1), (1, 1), 1, "none")
    return CONVOLVED / _best_s(lambda: convolution(x, dtype))


def _map_and_kernel(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    shapes = (2, CHANNELS, MAP, MAP), (CHANNELS, CHANNELS, 3, 3)
    x, weight = (torch.randn(*shape).to(dtype, memory_format=torch.channels_last) for shape in shapes)
    return x, weight


def _copy() -> float:
    source = torch.ones(COPIED, dtype=torch.uint8)
    target = torch.zeros_like(source)
    return 2 * len(source) / _best_s(lambda: target.copy_(source))


def _best_s(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
