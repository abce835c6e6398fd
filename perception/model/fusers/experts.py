"""A mixture of experts, of which only those have a say whose sensors are there.

Jacobs et al., "Adaptive Mixtures of Local Experts", Neural Computation 1991; experts by the state of the sensors after
Park et al., "Resilient Sensor Fusion under Adverse Sensor Failures via Multi-Modal Expert Fusion" (MoME), CVPR 2025,
there in the decoder's queries, here in the map. A router weighs them by frame and by cell.

The LiDAR's expert starts as the LiDAR's map and with most of the say; a frame without a camera has nothing but it.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import ConvNormAct, PointwiseConv2d, conv_norm_relu
from perception.model.presence import present

LARGEST = 4.0  # of a router's logit, either way: an expert without any say would never learn to deserve some


class Settings(BaseSettings):
    """The fused map is as wide as the LiDAR's."""

    name: Literal["experts"] = "experts"
    squeeze: int = Field(16, ge=1)  # numbers in which the router sums up a frame
    lidar_logit: float = 3.0  # of the LiDAR's expert, at first: 0.86 of the say

    def build(self, camera_channels: int, lidar_channels: int) -> ExpertsFuser:
        return ExpertsFuser(self, camera_channels, lidar_channels)


class ExpertsFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, Cl, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__()
        both = camera_channels + lidar_channels
        self.camera = conv_norm_relu(camera_channels, lidar_channels, kernel=3)
        self.lidar = PointwiseConv2d(lidar_channels, lidar_channels, bias=False)  # what is added to the map
        nn.init.zeros_(self.lidar.weight)
        self.joint = nn.Sequential(  # separable: nine times as cheap, and both sensors see what is beside a cell
            nn.Conv2d(both, both, 3, padding=1, groups=both, bias=False),
            ConvNormAct(PointwiseConv2d(both, lidar_channels, bias=False), nn.BatchNorm2d(lidar_channels)),
        )
        self.frame_router = nn.Sequential(nn.Linear(both, settings.squeeze), nn.ReLU(), nn.Linear(settings.squeeze, 3))
        self.cell_router = PointwiseConv2d(both, 3, bias=False)
        with torch.no_grad():
            self.frame_router[-1].bias.copy_(torch.tensor([0.0, settings.lidar_logit, 0.0]))
        self.out_channels = lidar_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        has_camera, has_lidar = present(camera), present(lidar)
        maps = torch.cat([camera, lidar], dim=1)
        say = self.say(maps, torch.cat([has_camera, has_lidar, has_camera & has_lidar], dim=1))
        fused = say[:, 1:2] * (lidar + self.lidar(lidar))
        for number, expert in ((0, self.camera(camera)), (2, self.joint(maps))):
            fused = torch.addcmul(fused, say[:, number : number + 1], expert)
        return fused

    def say(self, maps: Tensor, allowed: Tensor) -> Tensor:
        """Each expert's weight at each cell (B, 3, X, Y): camera, LiDAR, both; 0 for those that aren't allowed.

        maps (B, Cc + Cl, X, Y) and allowed (B, 3, 1, 1) bool; without any sensor all weights are 0.
        """
        logits = self.frame_router(maps.mean(dim=(2, 3)))[:, :, None, None] + self.cell_router(maps)
        logits = LARGEST * (logits / LARGEST).tanh()
        return logits.masked_fill(~allowed, -1e4).softmax(dim=1) * allowed
