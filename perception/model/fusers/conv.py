"""BEVFusion's fuser: concatenate both maps and let one convolution mix them.

Liu et al., "BEVFusion", ICRA 2023, section III-C.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import conv_norm_relu


class Settings(BaseSettings):
    """The width after fusion."""

    name: Literal["conv"] = "conv"
    out_channels: int = 256

    def build(self, camera_channels: int, lidar_channels: int) -> ConvFuser:
        return ConvFuser(camera_channels, lidar_channels, self.out_channels)


class ConvFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, out_channels, X, Y)."""

    def __init__(self, camera_channels: int, lidar_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = conv_norm_relu(camera_channels + lidar_channels, out_channels, kernel=3)
        self.out_channels = out_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        return self.mix(torch.cat([camera, lidar], dim=1))  # camera first, as the public weights expect
