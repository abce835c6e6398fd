"""Matrices for kernels that pass rows of numbers through several of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.ops import native
from perception.ops.dense import working_dtype


@dataclass(frozen=True)
class Layer:
    """A matrix (out, in), or a convolution's weight (out, in / groups, k, k), and its bias (out,)."""

    weight: Tensor
    bias: Tensor


def multiplies_rows(dtype: torch.dtype) -> bool:
    """Whether the kernels are there, and multiply numbers of this type."""
    if dtype not in (torch.float32, torch.bfloat16) or native.library() is None:
        return False
    return dtype == torch.float32 or native.multiplies_bf16()


def rows_dtype(x: Tensor) -> torch.dtype | None:
    """What kernels would multiply this input's numbers in, as autocast has it; None where layers must do: without the
    kernels, on a GPU, and where a gradient or a graph is wanted."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.jit.is_tracing():
        return None
    dtype = working_dtype(x.dtype)
    return dtype if multiplies_rows(dtype) else None


def packed(weight: Tensor, dtype: torch.dtype, grouped: bool = False) -> Tensor:
    """A matrix (out, in), or a convolution's of one pixel, in the order of the inner loops; in is even.

    Grouped, its products are made for some columns after the others.
    """
    bf16, matrix = int(dtype == torch.bfloat16), weight.detach().flatten(1).to(dtype).contiguous()
    cout, cin = map(native.integer, matrix.shape)
    numbers = native.at_cache_line(native.count_of("bevfuse_rows_packed", cin, cout, bf16), dtype)
    native.run("bevfuse_rows_pack", native.pointer(matrix), cin, cout, bf16, int(grouped), native.pointer(numbers))
    return numbers


def even(width: int) -> int:
    """The next even number: bfloat16 is multiplied by pairs."""
    return width + width % 2


def evened(rows: Tensor) -> Tensor:
    """Rows (..., width) with a zero more where the width is odd."""
    return F.pad(rows, (0, 1)) if rows.shape[-1] % 2 else rows
