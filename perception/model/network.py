"""The whole forward pass: two branches to BEV maps, one fuser, one decoder, one head.

That is fusion of maps. Before it, points may be decorated with image features; and the cameras may have a decoder and
head of their own, so that boxes are fused after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception.config import DetectorConfig
from perception.model.batch import Batch
from perception.model.bev_decoder import BevDecoder
from perception.model.grid import BevGrid
from perception.model.precision import in_full_precision
from perception.model.presence import present
from perception.ops.voxelize import voxelize_batch
from perception.types import POINT_COLUMNS, Boxes3D


@dataclass(frozen=True)
class LateOutputs:
    """What both streams' heads say, and which frames each had something to look at in."""

    main: Any  # the head's Outputs
    camera: Any  # the same, or None where nobody asked
    has_main: Tensor  # (B,) bool
    has_camera: Tensor  # (B,) bool


class Network(nn.Module):
    """Batch -> the head's raw outputs (or LateOutputs), of which `decode` makes boxes.

    Branches the configuration leaves out are None. `refiners` take those boxes and the frame, in
    their order: see Detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.camera_branch = CameraBranch(config) if config.uses_cameras else None
        self.decoration = None
        if config.decoration is not None:
            neck = self.camera_branch.neck
            self.decoration = config.decoration.build(neck.out_channels, neck.stride, config.images.size)
        decorated = 0 if self.decoration is None else self.decoration.out_channels
        self.lidar_branch = LidarBranch(config, decorated) if config.uses_lidar else None
        branches = [self.camera_branch] if config.lifts_images else []
        branches += [self.lidar_branch] if config.uses_lidar else []
        self.grid = branches[0].grid
        if any(branch.grid != self.grid for branch in branches):
            raise InputError("configuration", "both branches on one BEV grid", f"{[b.grid for b in branches]}")
        widths = [branch.out_channels for branch in branches]
        self.fuser = config.fuser.build(*widths) if config.fuser is not None else None
        width = widths[-1] if self.fuser is None else self.fuser.out_channels  # the LiDAR's, where boxes are fused only
        self.bev_decoder = BevDecoder(width, config.bev_decoder)
        head_grid = self.grid.coarser(self.bev_decoder.stride)
        self.looks = config.head_sees_images
        images = [(self.camera_branch.neck.out_channels, config.images.size)] if self.looks else []
        self.head = config.head.build(self.bev_decoder.out_channels, head_grid, config.classes, *images)
        self.cameras_stand_in = config.cameras_stand_in
        self.late, self.camera_stream = None, None
        if config.late is not None:
            self.late = config.late.build()
            decoder = BevDecoder(self.camera_branch.out_channels, config.bev_decoder)
            head = config.head.build(decoder.out_channels, head_grid, config.classes)
            self.camera_stream = nn.ModuleDict({"bev_decoder": decoder, "head": head})
        self.refiners = nn.ModuleDict({refiner.name: refiner.build(config.classes) for refiner in config.refiners})

    def forward(self, batch: Batch) -> Any:
        if self._lidar_will_do(batch):
            outputs = self.head(self.bev_decoder(self.lidar_branch(batch)))
            everywhere = torch.ones(batch.size, dtype=torch.bool)
            return LateOutputs(outputs, None, everywhere, ~everywhere)
        features = self.camera_branch.features(batch) if self.camera_branch is not None else None
        lifts = self.camera_branch is not None and self.camera_branch.view_transform is not None
        camera_bev = self.camera_branch.lifted(features, batch) if lifts else None
        lidar_bev = self._lidar_bev(features, batch) if self.lidar_branch is not None else None
        if self.fuser is not None:
            bev = self.fuser(camera_bev, lidar_bev)
        else:
            bev = lidar_bev if lidar_bev is not None else camera_bev
        outputs = self.head(self.bev_decoder(bev), *((features, batch) if self.looks else ()))
        if self.late is None:
            return outputs
        alone = self.camera_stream["head"](self.camera_stream["bev_decoder"](camera_bev))
        has_camera, has_lidar = present(camera_bev).flatten(), present(lidar_bev).flatten()
        has_main = has_lidar if self.fuser is None else has_lidar | has_camera
        return LateOutputs(outputs, alone, has_main, has_camera)

    def _lidar_will_do(self, batch: Batch) -> bool:
        """Whether nothing that the cameras' stream finds could count."""
        return self.cameras_stand_in and not self.training and all(len(cloud) for cloud in batch.clouds)

    def _lidar_bev(self, features: Tensor | None, batch: Batch) -> Tensor:
        if self.decoration is None:
            return self.lidar_branch(batch)
        voxels, coordinates = self.lidar_branch.voxels(batch)
        painted = self.decoration(features, voxels[:, :3], coordinates[:, 0], batch)
        return self.lidar_branch.encoder(torch.cat([voxels, painted], dim=1), coordinates, batch.size)

    def decode(self, outputs: Any) -> list[Boxes3D]:
        """What `forward` gave, in float32 -> one Boxes3D a frame."""
        if self.late is None:
            return self.head.decode(outputs)
        main = self.head.decode(outputs.main)
        alone = main if outputs.camera is None else self.camera_stream["head"].decode(outputs.camera)
        flags = zip(outputs.has_main.tolist(), outputs.has_camera.tolist(), strict=True)
        return [
            self.late(mine if has_main else None, theirs if has_camera else None)
            if has_main or has_camera
            else mine.select([])
            for mine, theirs, (has_main, has_camera) in zip(main, alone, flags, strict=True)
        ]


class CameraBranch(nn.Module):
    """Images -> camera BEV (B, C, X, Y); frames without an image get zeros."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.backbone = config.image_backbone.build()
        self.neck = config.image_neck.build(self.backbone.out_channels, self.backbone.strides)
        self.view_transform = None  # where features end on points
        if config.lifts_images:
            arguments = (self.neck.out_channels, self.neck.stride, config.images.size)
            self.view_transform = config.view_transform.build(*arguments)
            self.grid = self.view_transform.grid
            self.out_channels = self.view_transform.out_channels

    def forward(self, batch: Batch) -> Tensor:
        return self.lifted(self.features(batch), batch)

    def features(self, batch: Batch) -> Tensor | None:
        """Of each image (N, C, h, w); None where there is no image."""
        return self.neck(self.backbone(batch.images)) if len(batch.images) else None

    def lifted(self, features: Tensor | None, batch: Batch) -> Tensor:
        """Their map (B, C, X, Y)."""
        if features is None:
            return batch.images.new_zeros(batch.size, self.out_channels, self.grid.size_x, self.grid.size_y)
        return self.view_transform(features, batch)


class LidarBranch(nn.Module):
    """Clouds -> LiDAR BEV (B, C, X, Y); frames without a point get zeros."""

    def __init__(self, config: DetectorConfig, decorated: int = 0) -> None:
        super().__init__()
        self.points, self.voxel_grid = config.points, config.grid
        shares = len(config.points.age_edges_s) + 1 if config.points.age_edges_s else 0
        self.encoder = config.lidar_encoder.build(len(POINT_COLUMNS) + shares + decorated, config.grid)
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
        return voxelize_batch(batch.clouds, grid.lower, grid.voxel, grid.size, *limits, self.points.age_edges_s)
