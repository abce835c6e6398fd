"""Convolutions in eight bits, on CPUs that multiply such numbers (VNNI): half as fast again as bfloat16, thrice fp32.

Each map is rounded to steps of its own range, an output channel's weights to 255 steps about zero; sums are whole
numbers, and exact. Nothing has to be known of the data beforehand: the dynamic quantization of Krishnamoorthi,
"Quantizing deep convolutional networks for efficient inference", 2018. A few cells of a map are far larger than the
rest; beyond LARGEST they are cut off, or the rest would have too few steps: sim_fusion then loses 0.001 mAP, not 0.03.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.ops import native
from perception.ops.dense import FUSED, HAS_ONEDNN, PLAIN, Activation

STEPS, MIDDLE, LARGEST_WEIGHT = 255, 128, 127
LARGEST = 16.0  # of a map, in parts of the root mean square of what isn't 0
NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16"}  # of the kernels for them
TINY = torch.finfo(torch.float32).tiny


class Scale(NamedTuple):
    """What eight bits stand for: (bits - zero) * step."""

    step: float
    zero: int  # 0, or MIDDLE for maps that have numbers below zero


class Kernel(NamedTuple):
    """A convolution's weights in eight bits."""

    weight: Tensor  # (out, in / groups, kh, kw) int8
    steps: Tensor  # (out,) float32: what 1 stands for, of each output channel


def computes_int8() -> bool:
    """Whether products of eight bits are summed in 32: without VNNI oneDNN does so in 16, where they may not fit."""
    asked = (getattr(torch.cpu, name, lambda: False) for name in ("_is_avx512_supported", "_is_vnni_supported"))
    return HAS_ONEDNN and hasattr(torch.ops.onednn, "qconv_pointwise") and all(ask() for ask in asked)


def quantised_kernel(weight: Tensor) -> Kernel:
    """Weights (out, in / groups, kh, kw) to the nearest of 255 steps, an output channel's largest being 127."""
    weight = weight.detach().float()
    steps = (weight.flatten(1).abs().amax(dim=1) / LARGEST_WEIGHT).clamp(min=TINY)
    return Kernel((weight / steps[:, None, None, None]).round().to(torch.int8).contiguous(), steps)


def scale_of(x: Tensor) -> Scale:
    """The scale on which x (N, C, H, W), float32 or bfloat16, is rounded: it holds the finite numbers up to LARGEST."""
    if not _has_kernels(x):
        return scale_of_torch(x)
    rows, extent = _rows(x), torch.empty(4, dtype=torch.float64)
    native.run(
        f"bevfuse_extent_{NAMES[x.dtype]}",
        native.pointer(rows),
        native.integer(rows.numel()),
        native.pointer(extent),
        native.threads(),
    )
    return scale_for(*extent.tolist())


def scale_of_torch(x: Tensor) -> Scale:
    """The same in torch."""
    x = torch.where(x.isfinite(), x, 0).double()
    least, most = x.aminmax()
    return scale_for(min(float(least), 0.0), max(float(most), 0.0), float((x != 0).sum()), float(x.square().sum()))


def scale_for(least: float, most: float, count: float, squares: float) -> Scale:
    """The scale for numbers from `least`, not above 0, to `most`, not below, `count` of them other than 0."""
    limit = max(LARGEST * math.sqrt(squares / max(count, 1.0)), TINY * STEPS)
    if least < 0:
        return Scale(min(max(-least, most), limit) / LARGEST_WEIGHT, MIDDLE)
    return Scale(min(max(most, TINY * STEPS), limit) / STEPS, 0)


def quantise(x: Tensor, scale: Scale) -> Tensor:
    """x (N, C, H, W) float32 or bfloat16 on that scale: uint8, channels last; a NaN is 0."""
    if not _has_kernels(x):
        return quantise_torch(x, scale)
    rows = _rows(x)
    bits = torch.empty_like(rows, dtype=torch.uint8)
    native.run(
        f"bevfuse_quantise_{NAMES[x.dtype]}",
        native.pointer(rows),
        native.integer(rows.numel()),
        ctypes.c_float(1 / scale.step),
        ctypes.c_float(scale.zero),
        native.pointer(bits),
        native.threads(),
    )
    return bits.permute(0, 3, 1, 2)


def quantise_torch(x: Tensor, scale: Scale) -> Tensor:
    """The same in torch."""
    steps = (x.float() * torch.tensor(1 / scale.step)).round() + scale.zero
    bits = steps.nan_to_num(0).clamp(0, STEPS).to(torch.uint8)
    return bits.contiguous(memory_format=torch.channels_last)


def _has_kernels(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in NAMES and native.library() is not None


def _rows(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as contiguous (N, H, W, C), without a copy where it lies in memory so."""
    return x.permute(0, 2, 3, 1).contiguous()


class Int8Convolution:
    """Maps x (N, in, H, W), float32 or bfloat16 -> activated sums (N, out, H', W') of type `dtype`."""

    def __init__(
        self,
        weight: Tensor,  # (out, in / groups, kh, kw)
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        activation: Activation,
    ) -> None:
        self.kernel, self.bias = quantised_kernel(weight), None if bias is None else bias.detach().float()
        self.shape = (tuple(stride), tuple(padding), tuple(dilation), groups)
        self.activation = activation
        self._zeros = torch.zeros(len(self.kernel.steps), dtype=torch.int32)  # of the weights' scales
        self._packed: dict[int, Tensor] = {}  # by the zero of maps

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        scale = scale_of(x)
        return torch.ops.onednn.qconv_pointwise(
            quantise(x, scale),
            scale.step,
            scale.zero,
            self._packed_for(scale.zero),
            self.kernel.steps,
            self._zeros,
            self.bias,
            *self.shape,
            1.0,  # of outputs that are eight bits, which these aren't
            0,
            dtype,
            *FUSED[self.activation],
        )

    def plain(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The same in torch, in steps that one can follow."""
        scale = scale_of(x)
        whole = quantise_torch(x, scale).double() - scale.zero
        sums = F.conv2d(whole, self.kernel.weight.double(), None, *self.shape)
        numbers = sums * scale.step * self.kernel.steps.double()[:, None, None]
        numbers = numbers if self.bias is None else numbers + self.bias.double()[:, None, None]
        return PLAIN[self.activation](numbers).to(dtype)

    def _packed_for(self, zero: int) -> Tensor:
        if zero not in self._packed:
            how = (1.0, zero, *self.shape, None)  # 1.0: the step is told with each map
            self._packed[zero] = torch.ops.onednn.qconv_prepack(self.kernel.weight, self.kernel.steps, *how)
        return self._packed[zero]
