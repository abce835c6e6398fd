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

# A logit of each, either way: the weaker sensor keeps a little weight. Without a limit the one that helps first would
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
        camera = self.adapt(camera).to(lidar.dtype)
        channel, cell = self.logits(camera, lidar)
        # Without a camera all goes to the LiDAR's map, which may be zeros as well; without a cloud all to the camera's.
        channel = channel.masked_fill(~has_lidar, -torch.inf).masked_fill(~has_camera, torch.inf)
        return torch.lerp(camera, lidar, (channel + cell).sigmoid().to(lidar.dtype))

    def logits(self, camera: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor]:
        """How much more the LiDAR's map counts than the camera's: by channel (B, C, 1, 1), and by cell (B, 1, X, Y)."""
        summary = torch.cat([camera.mean(dim=(2, 3)), lidar.mean(dim=(2, 3))], dim=1)
        channel = (self.sensor + self.channel(summary))[:, :, None, None]
        shown = [part for bev in (camera, lidar) for part in (bev.mean(1, keepdim=True), bev.amax(1, keepdim=True))]
        cell = self.cell(torch.cat(shown, dim=1))
        return LARGEST * (channel / LARGEST).tanh(), LARGEST * (cell / LARGEST).tanh()
