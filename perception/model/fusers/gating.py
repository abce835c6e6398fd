"""A fuser that weighs both maps against each other: for each channel, each cell, and each sensor as a whole.

Gates over channels are those of Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, gates over cells those of Woo
et al., "CBAM", ECCV 2018; that they weigh sensors by what both of them show is from Kim et al., "Robust Deep Multi-
modal Learning Based on Gated Information Fusion Network", ACCV 2018.

The two weights add up to 1 everywhere. Where a sensor is missing the other one's is 1: without cameras the map is the
LiDAR's as it is.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import conv_norm_relu
from perception.model.presence import present

# A logit, either way: the weaker sensor keeps a weight of 0.02 at least. Without a limit the one that helps first would
# soon have it all, and the other, without a gradient, would never learn to help.
LARGEST = 4.0


class Settings(BaseSettings):
    """The fused map is as wide as the LiDAR's."""

    name: Literal["gating"] = "gating"
    squeeze: int = Field(16, ge=1)  # numbers that a frame's channels are summed up in
    kernel: int = Field(7, ge=1)  # cells that a cell's gate looks at; odd
    lidar_logit: float = 3.0  # the LiDAR's weight at first, as a logit: 0.93, nearly the LiDAR detector

    def build(self, camera_channels: int, lidar_channels: int) -> GatingFuser:
        return GatingFuser(self, camera_channels, lidar_channels)


class GatingFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, Cl, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__()
        self.adapt = conv_norm_relu(camera_channels, lidar_channels, kernel=3)
        self.sensor = nn.Parameter(torch.full((lidar_channels,), settings.lidar_logit))
        self.channel = nn.Sequential(
            nn.Linear(2 * lidar_channels, settings.squeeze), nn.ReLU(), nn.Linear(settings.squeeze, lidar_channels)
        )
        self.cell = nn.Conv2d(4, 1, settings.kernel, padding=settings.kernel // 2)
        self.out_channels = lidar_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        has_camera, has_lidar = present(camera), present(lidar)
        camera = self.adapt(camera)
        weight = self.lidar_weight(camera, lidar)
        weight = torch.where(has_lidar, torch.where(has_camera, weight, 1.0), 0.0)
        return weight * lidar + (1 - weight) * has_camera * camera

    def lidar_weight(self, camera: Tensor, lidar: Tensor) -> Tensor:
        """How much of the LiDAR's map counts where both are there, 0..1 (B, C, X, Y); of the camera's, the rest."""
        summary = torch.cat([camera.mean(dim=(2, 3)), lidar.mean(dim=(2, 3))], dim=1)
        channel = self.sensor + self.channel(summary)
        shown = [part for bev in (camera, lidar) for part in (bev.mean(1, keepdim=True), bev.amax(1, keepdim=True))]
        logits = channel[:, :, None, None] + self.cell(torch.cat(shown, dim=1))
        return (LARGEST * (logits / LARGEST).tanh()).sigmoid()
