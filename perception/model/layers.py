"""Building blocks that several files of the model share."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNormAct(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; `conv` and `bn` are the names in public checkpoints."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.bn = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> ConvNormAct:
    """A 2D block that keeps the map's size, or divides it by `stride`."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return ConvNormAct(conv, nn.BatchNorm2d(out_channels))
