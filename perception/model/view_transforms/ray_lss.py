"""Lift-splat for cameras alone: the depth net is told where each pixel's ray meets the road.

A backbone that was trained to name things doesn't say how far they are; what stands on a road is as far as the road
below it. To give a network the pixels' rays is the idea of Facil et al., "CAM-Convs", CVPR 2019; here they come as the
distribution over depths that a flat road would have, so that nothing but looking up is left to learn.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from perception.config import Pair
from perception.model.batch import Batch
from perception.model.layers import PointwiseConv2d, conv_norm_relu
from perception.model.lift_splat import LiftSplat, LiftSplatSettings
from perception.model.precision import in_full_precision

BLUR = 0.1  # standard deviation of the road's depth, of its logarithm: roads aren't flat, and a pixel sees some metres


class Settings(LiftSplatSettings):
    """The road's height, and the width of the depth net."""

    name: Literal["ray_lss"] = "ray_lss"
    road_z: float = -1.84  # m, in the lidar frame; nuScenes' LiDAR is 1.84 m above it
    hidden_channels: int = 96

    def build(self, in_channels: int, stride: int, image_size: Pair) -> RayLss:
        return RayLss(self, in_channels, stride, image_size)


class RayLss(LiftSplat):
    """Image features (N, in_channels, h, w) -> camera BEV (B, out_channels, X, Y)."""

    def __init__(self, settings: Settings, in_channels: int, stride: int, image_size: Pair) -> None:
        super().__init__(settings, stride, image_size)
        self.road_z, width = settings.road_z, settings.hidden_channels
        self.depth_net = nn.Sequential(
            conv_norm_relu(in_channels + len(self.depths), width, kernel=3),
            conv_norm_relu(width, width, kernel=3),
            conv_norm_relu(width, width, kernel=3),
            PointwiseConv2d(width, len(self.depths) + settings.out_channels),
        )

    def lift(self, features: Tensor, batch: Batch) -> Tensor:
        road = road_depths(self.road_rises(batch), self.road_z, self.depths)
        road = road.view(len(features), *features.shape[2:], -1).permute(0, 3, 1, 2)
        return self.depth_net(torch.cat([features, road.to(features.dtype)], dim=1))

    @in_full_precision
    def road_rises(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """How much a pixel's ray rises in the lidar frame a metre of depth (N, P), and the cameras' heights (N,) m."""
        lidar_from_camera = torch.linalg.inv(batch.camera_from_lidar)
        camera_from_input = torch.linalg.inv(batch.input_from_image @ batch.image_from_camera)
        pixels = torch.cat([self.pixels, torch.ones_like(self.pixels[:, :1])], dim=1).to(camera_from_input.dtype)
        rays = pixels @ camera_from_input.mT  # (N, P, 3), of depth 1
        return (rays @ lidar_from_camera[:, 2, :3, None]).squeeze(2).float(), lidar_from_camera[:, 2, 3].float()


def road_depths(rays: tuple[Tensor, Tensor], road_z: float, depths: Tensor) -> Tensor:
    """For each pixel the distribution over `depths` (D,) m of a flat road, 0 where none is in reach: (N, P, D).

    rays: how much they rise a metre of depth (N, P), and the cameras' heights (N,) m.
    """
    rises, heights = rays
    below = rises < -1e-3
    depth = (road_z - heights[:, None]) / torch.where(below, rises, -1.0)
    seen = below & (depth > depths[0] / 2) & (depth < depths[-1])
    apart = (depths.log() - depth.clamp(min=1e-3).log()[..., None]) / BLUR
    near = torch.exp(-(apart**2) / 2)
    return torch.where(seen[..., None], near / near.sum(dim=-1, keepdim=True).clamp(min=1e-6), 0.0)
