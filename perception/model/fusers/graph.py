"""A fuser for sensors that are not quite aligned: a graph joins LiDAR cells to the camera cells nearby most like them.

After Song et al., "GraphBEV: Towards Robust BEV Feature Alignment for Multi-Modal 3D Object Detection", ECCV 2024:
there too features are matched with their nearest neighbours, as calibration is a little wrong, and clocks are. There
the neighbours are in depth, before the camera's map is made; here they are in the map and in what its cells show. How
much each neighbour counts is graph attention: Brody et al., "How Attentive are Graph Attention Networks?" (GATv2), ICLR
2022.

What is found is added with a gain that starts at zero, as by the residual fuser. A frame without a cloud has its camera
map as it is, one without a camera its LiDAR map.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import ConvNormAct, PointwiseConv2d, conv_norm_relu
from perception.model.presence import present


class Settings(BaseSettings):
    """The fused map is as wide as the LiDAR's."""

    name: Literal["graph"] = "graph"
    reach: int = Field(2, ge=0)  # cells: 1.6 m of 0.8 m each. One degree is 0.9 m at 50 m, 50 ms at 15 m/s are 0.75 m
    neighbours: int = Field(5, ge=1)  # of the 13 cells within two, those most alike
    embedding: int = Field(16, ge=1)  # numbers by which cells are compared
    channels: int = Field(32, ge=1)  # that are brought from the neighbours

    def build(self, camera_channels: int, lidar_channels: int) -> GraphFuser:
        return GraphFuser(self, camera_channels, lidar_channels)


class GraphFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, Cl, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__()
        reach = range(-settings.reach, settings.reach + 1)
        self.offsets = [(x, y) for x in reach for y in reach if x * x + y * y <= settings.reach**2]
        self.reach, self.neighbours = settings.reach, min(settings.neighbours, len(self.offsets))
        self.embed_lidar = PointwiseConv2d(lidar_channels, settings.embedding)
        self.embed_camera = PointwiseConv2d(camera_channels, settings.embedding)
        self.place = nn.Parameter(torch.zeros(len(self.offsets), settings.embedding))  # what tells an edge's direction
        self.score = nn.Parameter(torch.randn(settings.embedding) / settings.embedding**0.5)
        self.value = conv_norm_relu(camera_channels, settings.channels, kernel=3)
        self.out = ConvNormAct(
            PointwiseConv2d(settings.channels, lidar_channels, bias=False), nn.BatchNorm2d(lidar_channels)
        )
        self.gain = nn.Parameter(torch.zeros(lidar_channels))
        self.out_channels = lidar_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        has_camera, has_lidar = present(camera), present(lidar)
        values = self.value(camera)
        aligned = torch.where(has_lidar, self.gathered(values, self.edges(camera, lidar)), values)
        return lidar + self.out(aligned) * has_camera * self.gain[:, None, None]

    def edges(self, camera: Tensor, lidar: Tensor) -> Tensor:
        """How much each camera cell around a LiDAR cell counts (B, offsets, X, Y): 0 for all but its neighbours."""
        ours, theirs = self.embed_lidar(lidar), self.embed_camera(camera)
        around = self._around(theirs)
        inside = self._around(theirs.new_ones(1, 1, *theirs.shape[2:]))
        distance = torch.stack([(ours - other).detach().square().sum(dim=1) for other in around], dim=1)
        beyond = torch.cat(inside, dim=1) == 0  # (1, offsets, X, Y), outside the map
        distance = distance.masked_fill(beyond, torch.inf)
        farthest = distance.topk(self.neighbours, dim=1, largest=False).values[:, -1:]
        near = distance <= farthest  # more than so many where several are equally far
        scores = [
            (F.leaky_relu(ours + other + place[:, None, None], 0.2) * self.score[:, None, None]).sum(dim=1)
            for other, place in zip(around, self.place, strict=True)
        ]
        return torch.stack(scores, dim=1).masked_fill(~near | beyond, -torch.inf).softmax(dim=1)

    def gathered(self, values: Tensor, edges: Tensor) -> Tensor:
        """The neighbours' values (B, C, X, Y), summed with the weights of their edges."""
        total = torch.zeros_like(values)
        for number, shifted in enumerate(self._around(values)):
            total = torch.addcmul(total, shifted, edges[:, number : number + 1])
        return total

    def _around(self, bev: Tensor) -> list[Tensor]:
        """For each offset the map as seen from there, zeros where it ends."""
        reach, (x, y) = self.reach, bev.shape[2:]
        padded = F.pad(bev, (reach,) * 4)
        return [padded[:, :, reach + dx : reach + dx + x, reach + dy : reach + dy + y] for dx, dy in self.offsets]
