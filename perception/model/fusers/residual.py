"""A fuser that adds what the cameras see to the LiDAR's map, at first nothing of it.

The gain starts at zero, as in Bachlechner et al., "ReZero is All You Need", UAI 2021: with a trained LiDAR detector's
weights, training starts from that detector's results. A frame without a camera has exactly these at any time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import conv_norm_relu


class Settings(BaseSettings):
    """No numbers: the fused map is as wide as the LiDAR's."""

    name: Literal["residual"] = "residual"

    def build(self, camera_channels: int, lidar_channels: int) -> ResidualFuser:
        return ResidualFuser(camera_channels, lidar_channels)


class ResidualFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, Cl, X, Y)."""

    def __init__(self, camera_channels: int, lidar_channels: int) -> None:
        super().__init__()
        self.adapt = conv_norm_relu(camera_channels, lidar_channels, kernel=3)
        self.gain = nn.Parameter(torch.zeros(lidar_channels))
        self.out_channels = lidar_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        seen = camera.flatten(1).any(dim=1)  # (B,)
        return lidar + self.adapt(camera) * (seen[:, None] * self.gain)[:, :, None, None]
