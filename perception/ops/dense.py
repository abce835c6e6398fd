"""Dense products and convolutions with the activation behind them, in one go where oneDNN does both.

For a product torch asks MKL, which takes twice as long as oneDNN on processors that aren't Intel's, and it writes the
result once before the activation and once after. oneDNN is asked by the operators that torch's own compiler emits, and
gives the same for any number of threads. Where they are missing, and wherever a gradient, a GPU or a graph for export
is wanted, plain torch does the same in two steps.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "relu", "relu6", "gelu"]

PLAIN = {"none": lambda x: x, "relu": torch.relu_, "relu6": lambda x: F.relu6(x, inplace=True), "gelu": F.gelu}
FUSED = {  # oneDNN's names, with bounds and algorithm
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "gelu": ("gelu", [], "none"),  # exact, not by its approximation with tanh
}
HAS_ONEDNN = (
    platform.machine() in ("x86_64", "AMD64")
    and torch.backends.mkldnn.is_available()
    and all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_convolution_pointwise"))
)


def fuses(x: Tensor) -> bool:
    """Whether oneDNN computes with this input: on a CPU, where nobody wants a gradient or a graph."""
    wanted = torch.is_grad_enabled() or torch.jit.is_tracing()
    return HAS_ONEDNN and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and not wanted


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """What autocast would compute numbers of this type in on a CPU: it knows of torch's operators only."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else dtype


@cache
def multiplies_tiles(dtype: torch.dtype) -> bool:
    """Whether oneDNN has whole tiles to multiply numbers of this type by (Intel's AMX).

    They are eight times as fast as a CPU's other products of bfloat16, so that nothing is gained by fewer of these.
    """
    return HAS_ONEDNN and dtype == torch.bfloat16 and getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation = "none") -> Tensor:
    """x (..., in) and weight (out, in) -> activated sums (..., out); oneDNN wants all in one precision.

    Tables of rows (N, in), which are of another length each time, are filled up: for each new length oneDNN compiles
    and keeps code, which takes longer than computing a thousand rows.
    """
    if not fuses(x) or not x.numel():
        return PLAIN[activation](F.linear(x, weight, bias))
    if x.dim() != 2:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *FUSED[activation])
    filled = F.pad(x, (0, 0, 0, rounded_up(len(x)) - len(x)))
    return torch.ops.mkldnn._linear_pointwise(filled, weight, bias, *FUSED[activation])[: len(x)]


def rounded_up(count: int) -> int:
    """The next of eight sizes from each power of two to the next: at most an eighth more."""
    step = 1 << max(count.bit_length() - 4, 0)
    return -(-count // step) * step


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    activation: Activation = "none",
) -> Tensor:
    """Maps x (N, in, H, W), weight (out, in / groups, kh, kw) -> activated sums (N, out, H', W'); the same holds."""
    if not fuses(x) or not x.numel():
        return PLAIN[activation](F.conv2d(x, weight, bias, stride, padding, dilation, groups))
    shape = (padding, stride, dilation, groups)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *shape, *FUSED[activation])
