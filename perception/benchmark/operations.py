"""How many operations a computation takes: a multiplication and the addition after it are two.

Counted are products of matrices and convolutions, as torch's counter knows them, and sparse convolutions by their pairs
of voxels. Convolutions that Winograd's transforms compute by fewer count as if they weren't, as is the custom; so a
stage of them may reach more than the machine's peak. Norms, activations, pooling and geometry aren't counted: they wait
for memory, not for arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from perception.benchmark.stages import replaced
from perception.model import fused
from perception.ops import dense
from perception.ops.bottleneck import Bottleneck
from perception.ops.int8 import Int8Convolution
from perception.ops.perceptron import Perceptron, highest_of_groups
from perception.ops.sparse import Epilogue, Rulebook, native_backend


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Within the block, the function it gives tells the operations so far."""
    from torch.utils.flop_counter import FlopCounterMode  # only here: it imports triton where there is one

    sparse = _SparseOperations()
    with (
        _attention_in_the_open(),
        replaced(dense, "fuses", lambda _: False),  # nor those of oneDNN with an activation,
        replaced(Int8Convolution, "__call__", Int8Convolution.plain),  # or in eight bits,
        replaced(Bottleneck, "__call__", Bottleneck.plain),  # or of many layers in one,
        replaced(Perceptron, "__call__", Perceptron.plain),
        replaced(Perceptron, "highest", lambda network, rows, counts: highest_of_groups(network.plain(rows), counts)),
        replaced(fused, "fuses", lambda _: False),  # or by tiles
        FlopCounterMode(display=False) as counter,
        replaced(native_backend, "convolve", sparse.convolve),
    ):
        yield lambda: counter.get_total_flops() + sparse.count


class _SparseOperations:
    """Counts our kernels' products, which torch can't see; those of the torch back end it does."""

    def __init__(self) -> None:
        self.count = 0
        self._convolve = native_backend.convolve

    def convolve(
        self, features: Tensor, weight: Tensor, rulebook: Rulebook, epilogue: Epilogue | None = None
    ) -> Tensor:
        self.count += operations_of(weight, rulebook)
        return self._convolve(features, weight, rulebook, epilogue)


def operations_of(weight: Tensor, rulebook: Rulebook) -> int:
    """Of a sparse convolution with weight (Cout, kx, ky, kz, Cin) and a rulebook of native_backend."""
    return 2 * len(rulebook.rules.sources) * weight.shape[0] * weight.shape[-1]


@contextmanager
def _attention_in_the_open() -> Iterator[Any]:
    """Attention as the products it consists of: torch's counter doesn't know its fast kernels for CPUs."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
