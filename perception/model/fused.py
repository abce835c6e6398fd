"""Layers for inference that take the activation behind them in: what for_inference puts in the place of torch's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.model.layers import PointwiseConv2d, SamePaddingConv2d
from perception.ops.dense import Activation, convolve, fuses, linear, multiplies_tiles, working_dtype
from perception.ops.int8 import Int8Convolution
from perception.ops.rows import multiplies_rows
from perception.ops.winograd import BOUNDS, WinogradConvolution

LEAST_CHANNELS = 16  # of a convolution in eight bits, or by Winograd's transforms
LEAST_PIXELS = 256  # of the maps of one by Winograd's transforms, whose weights are four times as large
ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.GELU: "gelu"}


def activation_of(module: nn.Module) -> Activation | None:
    """The name of a module that is an activation we fuse, else None."""
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return None
    return ACTIVATIONS.get(type(module))


def fused(layer: nn.Module, activation: Activation = "none") -> nn.Module | None:
    """The same layer with its activation, its parameters by the same names; None where we have none such."""
    if type(layer) is nn.Linear:  # not its kin, whose owners use the weights directly
        return FusedLinear(layer, activation)
    if type(layer) is PointwiseConv2d:
        return FusedPointwiseConv2d(layer, activation)
    if type(layer) is SamePaddingConv2d and layer.padded.stride > 1:
        fits = layer.padded.stride <= layer.padded.kernel
        return FusedSamePaddingConv2d(layer, activation) if fits else None
    if type(layer) in (nn.Conv2d, SamePaddingConv2d) and layer.padding_mode == "zeros":
        return _fused_convolution(layer, activation) if isinstance(layer.padding, tuple) else None
    return None


def _fused_convolution(layer: nn.Conv2d, activation: Activation) -> FusedConv2d:
    shape = (layer.kernel_size, layer.stride, layer.dilation, layer.groups)
    wide = layer.in_channels >= LEAST_CHANNELS and layer.in_channels % 2 == 0
    suits = shape == ((3, 3), (1, 1), (1, 1), 1) and activation in BOUNDS and wide
    return (WinogradConv2d if suits else FusedConv2d)(layer, activation)


class FusedLinear(nn.Module):
    """(..., in) -> (..., out). The weights must not change any more: those in another precision are kept."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, activation: Activation) -> None:
        super().__init__()
        self.weight, self.bias, self.activation = layer.weight, layer.bias, activation
        self._kept: tuple[Tensor, Tensor | None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return linear(*self._in_one_precision(x), self.activation)

    def _in_one_precision(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The input, weight and bias as autocast would have them."""
        if not fuses(x):
            return x, self.weight, self.bias
        dtype = working_dtype(self.weight.dtype)
        if dtype == self.weight.dtype:
            return x.to(dtype), self.weight, self.bias
        if self._kept is None or self._kept[0].dtype != dtype:
            self._kept = self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)
        return x.to(dtype), *self._kept

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.activation}"


class FusedPointwiseConv2d(FusedLinear):
    """(N, in, H, W) -> (N, out, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        x, weight, bias = self._in_one_precision(x.contiguous(memory_format=torch.channels_last))
        return linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias, self.activation).permute(0, 3, 1, 2)


class FusedConv2d(FusedLinear):
    """(N, in, H, W) -> (N, out, H', W')."""

    def __init__(self, layer: nn.Conv2d, activation: Activation) -> None:
        super().__init__(layer, activation)
        self.shape = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def forward(self, x: Tensor) -> Tensor:
        x, weight, bias = self._in_one_precision(x)
        return convolve(x, weight, bias, *self.shape, self.activation)


class FusedSamePaddingConv2d(FusedLinear):
    """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).

    Convolutions pad a map alike on both sides, without a copy of it that takes longer than they do. Here one pixel more
    may be missing behind it than before it: that is alike for a kernel that has a row and a column of zeros in front.
    """

    def __init__(self, layer: SamePaddingConv2d, activation: Activation) -> None:
        super().__init__(layer, activation)
        self.stride, self.dilation, self.groups, self.same = layer.stride, layer.dilation, layer.groups, layer.padded
        weight = F.pad(layer.weight.detach(), (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x, weight, bias = self._in_one_precision(x)
        padding = tuple(self.same.missing(length)[0] + 1 for length in x.shape[2:])
        return convolve(x, weight, bias, self.stride, padding, self.dilation, self.groups, self.activation)


class WinogradConv2d(FusedConv2d):
    """(N, in, H, W) -> (N, out, H', W') by Winograd's transforms, for inference on a CPU and maps that aren't tiny."""

    def __init__(self, layer: nn.Conv2d, activation: Activation) -> None:
        super().__init__(layer, activation)
        self._ways: dict[torch.dtype, WinogradConvolution] = {}

    def forward(self, x: Tensor) -> Tensor:
        dtype, pixels = working_dtype(self.weight.dtype), x.shape[0] * x.shape[-2] * x.shape[-1]
        if pixels < LEAST_PIXELS or multiplies_tiles(dtype) or not (fuses(x) and multiplies_rows(dtype)):
            return super().forward(x)
        if dtype not in self._ways:
            self._ways[dtype] = WinogradConvolution(self.weight, self.bias, self.shape[1], self.activation, dtype)
        return self._ways[dtype](x.to(dtype))


def quantised(layer: nn.Module) -> nn.Module | None:
    """The same layer in eight bits, where that pays: where there is more to multiply than to round."""
    if not isinstance(layer, FusedConv2d):
        return None
    groups, taps = layer.shape[-1], layer.weight[0, 0].numel()
    pays = groups == 1 and taps > 1 and min(layer.weight.shape[:2]) >= LEAST_CHANNELS and layer.activation != "gelu"
    return QuantisedConv2d(layer) if pays else None


class QuantisedConv2d(FusedConv2d):
    """(N, in, H, W) -> (N, out, H', W'), in eight bits for inference on a CPU."""

    def __init__(self, layer: FusedConv2d) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self.activation = layer.weight, layer.bias, layer.activation
        self.shape = layer.shape
        self._int8 = Int8Convolution(layer.weight, layer.bias, *layer.shape, layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self._int8(x, working_dtype(self.weight.dtype))
