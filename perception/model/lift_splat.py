"""Lift-splat: what the view transforms that predict a depth distribution a pixel have in common.

Philion and Fidler, "Lift, Splat, Shoot", ECCV 2020. Each pixel of the feature map is lifted along its ray to D depths,
and all cameras' frustum points are summed into the BEV cells they fall into.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception.config import Pair, Settings
from perception.model.batch import Batch
from perception.model.grid import BevGrid
from perception.model.precision import in_full_precision
from perception.ops.bev_pool import PoolingPlan, bev_pool
from perception.ops.frustum import Frustums, Map, frustum_cells


class LiftSplatSettings(Settings):
    """Depths, the area pooled into, and the width of its map."""

    out_channels: int = 80
    depth: tuple[float, float, float] = (1.0, 60.0, 0.5)  # m: first, end (excluded), step
    lower: tuple[float, float, float] = (-54.0, -54.0, -10.0)  # m, lidar frame
    upper: tuple[float, float, float] = (54.0, 54.0, 10.0)  # m
    cell: float = 0.3  # m; the height is one bin
    downsample: bool = True  # halve the map afterwards, by three convolutions


class LiftSplat(nn.Module):
    """Base of the view transforms: theirs is `lift`; `splat` pools depth distributions and features into `grid`.

    The depth logits pass through the module `depth_logits`, which does nothing: training listens there.
    """

    def __init__(self, settings: LiftSplatSettings, stride: int, image_size: Pair) -> None:
        super().__init__()
        width, height = image_size
        if width % stride or height % stride:
            raise InputError("images.size", f"multiples of {stride}, the image features' stride", f"{width}x{height}")
        self.register_buffer("depths", torch.arange(*settings.depth), persistent=False)  # (D,) m
        # The pixel each feature stands for: the first and the last are the image's edges, as the public weights saw it.
        u, v = torch.meshgrid(
            torch.linspace(0, width - 1, width // stride),
            torch.linspace(0, height - 1, height // stride),
            indexing="xy",
        )
        pixels = torch.stack([u, v], dim=-1).flatten(0, 1)  # (P, 2), u and v
        self.register_buffer("pixels", pixels, persistent=False)
        self.depth_logits = nn.Identity()
        self.image_size, self.feature_size = image_size, (height // stride, width // stride)
        self.lower, self.upper = settings.lower, settings.upper
        self.fine_grid = BevGrid.covering(settings.lower, settings.upper, settings.cell)
        self.grid = self.fine_grid.coarser(2) if settings.downsample else self.fine_grid
        self.out_channels = settings.out_channels
        self.downsample = _downsampling(settings.out_channels) if settings.downsample else nn.Identity()

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Image features (N, in_channels, h, w) of the batch's images -> camera BEV (B, out_channels, X, Y)."""
        logits, context = self.lift(features, batch).tensor_split([len(self.depths)], dim=1)
        return self.splat(self.depth_logits(logits).softmax(dim=1), context, batch)

    def lift(self, features: Tensor, batch: Batch) -> Tensor:
        """Image features (N, in_channels, h, w) -> (N, D + out_channels, h, w): depth logits, then what is lifted."""
        raise NotImplementedError

    def splat(self, depth: Tensor, features: Tensor, batch: Batch) -> Tensor:
        """depth (N, D, h, w) and features (N, C, h, w) -> (B, C, X, Y) on `grid`."""
        size_x, size_y = self.fine_grid.size_x, self.fine_grid.size_y
        cells, count = self.cells(batch).flatten(0, 1), batch.size * size_x * size_y
        plan = PoolingPlan.of(cells, count, self.feature_size)
        depth = depth.permute(0, 2, 3, 1).flatten(0, 2).float()  # (N * P, D); sums are float32 under autocast too
        features = features.permute(0, 2, 3, 1).flatten(0, 2).float()  # (N * P, C)
        pooled = bev_pool(features, depth, plan).view(batch.size, size_x, size_y, -1)
        bev = self.downsample(pooled.permute(0, 3, 1, 2))
        seen = torch.zeros(batch.size, dtype=torch.bool, device=bev.device)
        seen[batch.image_frame] = True
        return bev * seen[:, None, None, None]

    @in_full_precision
    def cells(self, batch: Batch) -> Tensor:
        """Flat cell (frame, x, y) of every frustum point, -1 outside the map: (N, P, D) int64."""
        lidar_from_camera = torch.linalg.inv(batch.camera_from_lidar).float()
        input_from_image = batch.input_from_image.float()
        # float32, one product after the other as in the public code: see frustum.py.
        pixels = (self.pixels - input_from_image[:, None, :2, 2]) @ torch.linalg.inv(input_from_image[:, :2, :2]).mT
        lidar_from_pixels = lidar_from_camera[:, :3, :3] @ inverse_as_published(batch.image_from_camera)
        grid, origin = self.fine_grid, lidar_from_camera[:, :3, 3]
        step = (grid.cell, grid.cell, self.upper[2] - self.lower[2])
        frustums = Frustums(pixels, self.depths, lidar_from_pixels, origin, batch.image_frame)
        return frustum_cells(frustums, Map(self.lower, step, (grid.size_x, grid.size_y)))


def inverse_as_published(image_from_camera: Tensor) -> Tensor:
    """Inverse (N, 3, 3) float32 of camera matrices, rounded as in the public code, which inverts them as (N, 4, 4)."""
    homogeneous = torch.eye(4, device=image_from_camera.device).repeat(len(image_from_camera), 1, 1)
    homogeneous[:, :3, :3] = image_from_camera
    return torch.linalg.inv(homogeneous)[:, :3, :3]


def _downsampling(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stride in (1, 2, 1):
        conv = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
