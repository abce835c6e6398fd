"""A light LiDAR encoder: every voxel is described on its own, columns of voxels are pooled to pillars, then convolved.

The pillars of Lang et al., "PointPillars", CVPR 2019, over voxels rather than points: of ten sweeps' 280 000 points
30 000 voxels are left, and finding them needs no gradient. What moves is told by the points' mean age, which differs
from one end of a moving object's trail to the other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.config import GridSettings
from perception.config import Settings as BaseSettings
from perception.model.layers import conv_norm_relu
from perception.model.precision import in_full_precision

INTENSITY = 255.0  # brings the column to 0..1
AGE = 0.5  # s, of the oldest of ten sweeps: the same


class Settings(BaseSettings):
    """Widths; each convolution stage halves the map."""

    name: Literal["pillars"] = "pillars"
    channels: int = 16  # of a pillar
    stage_channels: tuple[int, ...] = (32, 64)  # of each stage; the last is the map's

    def build(self, in_channels: int, grid: GridSettings) -> Pillars:
        return Pillars(in_channels, grid, self)


class Pillars(nn.Module):
    """Voxels (mean points: x, y, z, intensity, age, perhaps more from 0 to 1) -> BEV map (B, C, X / s, Y / s)."""

    def __init__(self, in_channels: int, grid: GridSettings, settings: Settings) -> None:
        super().__init__()
        self.size = grid.size
        self.register_buffer("lower", torch.tensor(grid.lower), persistent=False)
        self.register_buffer("upper", torch.tensor(grid.upper), persistent=False)
        self.register_buffer("voxel", torch.tensor(grid.voxel), persistent=False)
        self.describe = nn.Linear(in_channels + 2, settings.channels, bias=False)
        self.bn = nn.BatchNorm1d(settings.channels, eps=1e-3, momentum=0.01)
        widths = (settings.channels, *settings.stage_channels)
        self.stages = nn.Sequential(*(conv_norm_relu(*pair, kernel=3, stride=2) for pair in pairwise(widths)))
        self.stride = 2 ** len(settings.stage_channels)
        self.out_channels = widths[-1]

    def forward(self, features: Tensor, coordinates: Tensor, batch: int) -> Tensor:
        """features (V, >= 5); coordinates (V, 4) int64: frame, x, y, z; batch counts the frames."""
        columns, pillars = pooled(self._described(features, coordinates), self._columns(coordinates))
        if torch.is_autocast_enabled(pillars.device.type):  # before the map is made, which is much larger
            pillars = pillars.to(torch.get_autocast_dtype(pillars.device.type))
        x, y, _ = self.size
        canvas = pillars.new_zeros(batch * x * y, pillars.shape[1]).index_copy_(0, columns, pillars)
        bev = self.stages(canvas.view(batch, x, y, -1).permute(0, 3, 1, 2))
        seen = torch.zeros(batch, dtype=torch.bool, device=bev.device)
        seen[coordinates[:, 0]] = True
        return bev * seen[:, None, None, None]

    @in_full_precision
    def _described(self, features: Tensor, coordinates: Tensor) -> Tensor:
        """Each voxel on its own: (V, channels)."""
        described = self.describe(self._normalised(features, coordinates))
        if len(features) > 1 or not self.training:  # a single voxel has no variance
            described = self.bn(described)
        return described.relu()

    def _normalised(self, features: Tensor, coordinates: Tensor) -> Tensor:
        """All columns to about -1..1, and the mean point's place in its cell (V, in_channels + 2).

        Training learns nothing from 0.1 m in a column that spans 100.
        """
        xyz, intensity, age = features[:, :3], features[:, 3:4] / INTENSITY, features[:, 4:5] / AGE
        across = 2 * (xyz - self.lower) / (self.upper - self.lower) - 1
        within = 2 * ((xyz - self.lower) / self.voxel - coordinates[:, 1:]) - 1
        return torch.cat([across, intensity, age, within[:, :2], features[:, 5:]], dim=1)

    def _columns(self, coordinates: Tensor) -> Tensor:
        frame, x, y, _ = coordinates.T
        return (frame * self.size[0] + x) * self.size[1] + y


def pooled(features: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Each key there is once, ascending (K,), and the maximum of its features (K, C); features (V, C), keys (V,)."""
    keys, order = torch.sort(keys)
    starts = torch.ones_like(keys, dtype=torch.bool)
    starts[1:] = keys[1:] != keys[:-1]
    first = torch.nonzero(starts).squeeze(1)
    return keys[first], F.embedding_bag(order, features, first, mode="max")
