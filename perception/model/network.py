"""The whole forward pass: two branches to BEV maps, one fuser, one decoder, one head."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calibration.errors import InputError
from perception.config import DetectorConfig
from perception.model.batch import Batch
from perception.model.bev_decoder import BevDecoder
from perception.model.grid import BevGrid
from perception.model.precision import in_full_precision
from perception.ops.voxelize import voxelize_batch
from perception.types import POINT_COLUMNS


class Network(nn.Module):
    """Batch -> the head's raw outputs, of which `network.head.decode` makes boxes.

    Branches the configuration leaves out are None. `refiner` is None or takes those boxes and the frame: see Detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.camera_branch = CameraBranch(config) if config.uses_cameras else None
        self.lidar_branch = LidarBranch(config) if config.uses_lidar else None
        branches = [branch for branch in (self.camera_branch, self.lidar_branch) if branch is not None]
        self.grid = branches[0].grid
        if any(branch.grid != self.grid for branch in branches):
            raise InputError("configuration", "both branches on one BEV grid", f"{[b.grid for b in branches]}")
        widths = [branch.out_channels for branch in branches]
        self.fuser = config.fuser.build(*widths) if config.fuser is not None else None
        self.bev_decoder = BevDecoder(widths[0] if self.fuser is None else self.fuser.out_channels, config.bev_decoder)
        head_grid = self.grid.coarser(self.bev_decoder.stride)
        self.head = config.head.build(self.bev_decoder.out_channels, head_grid, config.classes)
        self.refiner = config.refiner.build(config.classes) if config.refiner is not None else None

    def forward(self, batch: Batch) -> Any:
        camera_bev = self.camera_branch(batch) if self.camera_branch is not None else None
        lidar_bev = self.lidar_branch(batch) if self.lidar_branch is not None else None
        if self.fuser is not None:
            bev = self.fuser(camera_bev, lidar_bev)
        else:
            bev = camera_bev if camera_bev is not None else lidar_bev
        return self.head(self.bev_decoder(bev))


class CameraBranch(nn.Module):
    """Images -> camera BEV (B, C, X, Y); frames without an image get zeros."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.backbone = config.image_backbone.build()
        self.neck = config.image_neck.build(self.backbone.out_channels, self.backbone.strides)
        self.view_transform = config.view_transform.build(self.neck.out_channels, self.neck.stride, config.images.size)
        self.grid = self.view_transform.grid
        self.out_channels = self.view_transform.out_channels

    def forward(self, batch: Batch) -> Tensor:
        if not len(batch.images):
            return batch.images.new_zeros(batch.size, self.out_channels, self.grid.size_x, self.grid.size_y)
        return self.view_transform(self.neck(self.backbone(batch.images)), batch)


class LidarBranch(nn.Module):
    """Clouds -> LiDAR BEV (B, C, X, Y); frames without a point get zeros."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.points, self.voxel_grid = config.points, config.grid
        shares = len(config.points.age_edges_s) + 1 if config.points.age_edges_s else 0
        self.encoder = config.lidar_encoder.build(len(POINT_COLUMNS) + shares, config.grid)
        self.grid = BevGrid.covering(config.grid.lower, config.grid.upper, config.grid.voxel[0])
        self.grid = self.grid.coarser(self.encoder.stride)
        self.out_channels = self.encoder.out_channels

    def forward(self, batch: Batch) -> Tensor:
        return self.encoder(*self.voxels(batch), batch.size)

    @in_full_precision
    def voxels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean point (V, 5) of each voxel of all clouds, with shares by age if so configured (V, 5 + spans).

        And its frame, x, y, z (V, 4) int64.
        """
        grid, limits = self.voxel_grid, (self.points.max_points_per_voxel, self.points.max_voxels)
        clouds = [with_age_spans(cloud, self.points.age_edges_s) for cloud in batch.clouds]
        return voxelize_batch(clouds, grid.lower, grid.voxel, grid.size, *limits)


def with_age_spans(points: Tensor, edges: tuple[float, ...]) -> Tensor:
    """Points (N, 5), and behind them 1 in the column of the span that holds their age, 0 in the others."""
    if not edges:
        return points
    ages = points[:, POINT_COLUMNS.index("age")].contiguous()
    span = torch.bucketize(ages, points.new_tensor(edges))
    return torch.cat([points, F.one_hot(span, len(edges) + 1).to(points)], dim=1)
