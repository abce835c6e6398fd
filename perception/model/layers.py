"""Building blocks that several files of the model share."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.ops.same_padding import missing, same_padded


class ConvNormAct(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; `conv` and `bn` are the names in public checkpoints."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.bn = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


class PointwiseConv1d(nn.Conv1d):
    """A convolution with kernel 1, computed as the matrix product that it is.

    oneDNN's own kernels for it sum in another order for each number of threads; the matrix product doesn't.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return _weighted_sums(self, x)


class PointwiseConv2d(nn.Conv2d):
    """The same over maps."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last):
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return _weighted_sums(self, x.flatten(2)).unflatten(2, x.shape[2:])


class SamePaddingConv2d(nn.Conv2d):
    """A convolution whose output is ceil(size / stride) long, padded as in TensorFlow: the odd pixel comes last."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.padded = SamePadding(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.padded(x))


class SamePadding(nn.Module):
    """What such a convolution needs around a map if it strides; with a stride of 1 torch pads as well."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        return same_padded(x, self.kernel, self.stride)

    def missing(self, length: int) -> tuple[int, int]:
        """Pixels before a row or column so long, and behind it, at most one more."""
        return missing(length, self.kernel, self.stride)


def _weighted_sums(conv: PointwiseConv1d | PointwiseConv2d, x: Tensor) -> Tensor:
    """x (N, in_channels, L) -> (N, out_channels, L)."""
    sums = conv.weight.flatten(1) @ x
    return sums if conv.bias is None else sums + conv.bias[:, None]


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> ConvNormAct:
    """A 2D block that keeps the map's size, or divides it by `stride`."""
    if kernel == stride == 1:
        conv: nn.Module = PointwiseConv2d(in_channels, out_channels, bias=False)
    else:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return ConvNormAct(conv, nn.BatchNorm2d(out_channels))


def highest_around(maps: Tensor, kernel: int) -> Tensor:
    """Maps (..., X, Y) -> the highest number in each window of kernel x kernel that is inside them:
    (..., X - kernel + 1, Y - kernel + 1).

    One axis after the other, by whole maps: on a CPU ten times as fast as max_pool2d, which keeps its indices, too.
    """
    for axis in (-2, -1):
        size = maps.shape[axis] - kernel + 1
        parts = [maps.narrow(axis, start, size) for start in range(kernel)]
        maps = reduce(torch.maximum, parts)
    return maps
