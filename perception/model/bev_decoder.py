"""The BEV decoder: SECOND's convolution stages and the pyramid that brings them to one scale.

Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018. BatchNorm uses eps 1e-3 and momentum
0.01, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.config import BevDecoderSettings
from perception.model.layers import PointwiseConv2d


class BevDecoder(nn.Module):
    """BEV map (B, in_channels, X, Y) -> (B, out_channels, X / s, Y / s) with s the first stage's stride."""

    def __init__(self, in_channels: int, settings: BevDecoderSettings) -> None:
        super().__init__()
        widths = (in_channels, *settings.stage_channels)
        self.blocks = nn.ModuleList(
            _stage(widths[i], widths[i + 1], stride, layers)
            for i, (stride, layers) in enumerate(zip(settings.stage_strides, settings.stage_layers, strict=True))
        )
        self.deblocks = nn.ModuleList()
        scale = 1
        for i, (width, out) in enumerate(zip(settings.stage_channels, settings.out_channels, strict=True)):
            scale *= settings.stage_strides[i] if i else 1
            self.deblocks.append(_upsampling(width, out, scale))
        self.out_channels = sum(settings.out_channels)
        self.stride = settings.stage_strides[0]

    def forward(self, bev: Tensor) -> Tensor:
        outputs = []
        for block, deblock in zip(self.blocks, self.deblocks, strict=True):
            bev = block(bev)
            outputs.append(deblock(bev))
        return torch.cat(outputs, dim=1)


def _stage(in_channels: int, out_channels: int, stride: int, layers: int) -> nn.Sequential:
    """A convolution that strides, then `layers` that keep the size."""
    modules: list[nn.Module] = []
    for i in range(layers + 1):
        width, step = (out_channels, 1) if i else (in_channels, stride)
        modules.append(nn.Conv2d(width, out_channels, 3, step, padding=1, bias=False))
        modules += [_norm(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


def _upsampling(in_channels: int, out_channels: int, scale: int) -> nn.Sequential:
    if scale == 1:
        conv: nn.Module = PointwiseConv2d(in_channels, out_channels, bias=False)
    else:
        conv = nn.ConvTranspose2d(in_channels, out_channels, scale, stride=scale, bias=False)
    return nn.Sequential(conv, _norm(out_channels), nn.ReLU(inplace=True))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
