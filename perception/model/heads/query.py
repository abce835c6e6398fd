"""TransFusion's head whose queries also look at the images: fusion in the decoder, object by object.

Bai et al., "TransFusion", CVPR 2022: queries from the BEV map's peaks attend to image features. Where: not only where
their projections fall, but anywhere, by positions in 3D, as in Yan et al., "Cross Modal Transformer" (CMT), ICCV 2023,
after Liu et al., "PETR", ECCV 2022: an image token knows the points along its pixel's ray. So a calibration that is a
little off costs little.

What queries find is added with a gain that starts at zero: training starts from TransFusion's head, and in a frame
without cameras the head is just that.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Pair
from perception.model.batch import Batch
from perception.model.grid import BevGrid
from perception.model.heads.transfusion import Outputs, PositionEmbedding, TransFusionHead
from perception.model.heads.transfusion import Settings as TransFusionSettings
from perception.model.layers import PointwiseConv2d
from perception.model.precision import in_full_precision


class Settings(TransFusionSettings):
    """TransFusion's, and the depths at which a ray's points are taken."""

    name: Literal["query"] = "query"
    sees_images: ClassVar[bool] = True
    depths: tuple[float, ...] = Field((2.0, 8.0, 20.0, 50.0), min_length=1)  # m

    def build(
        self,
        in_channels: int,
        grid: BevGrid,
        class_names: tuple[str, ...],
        images: tuple[int, Pair] | None = None,  # width of the image features, and images.size; None: without images
    ) -> QueryHead:
        return QueryHead(self, in_channels, grid, class_names, images)


class QueryHead(TransFusionHead):
    """BEV map (B, in_channels, X, Y) and image features (N, channels, h, w) of the batch -> Outputs."""

    def __init__(
        self,
        settings: Settings,
        in_channels: int,
        grid: BevGrid,
        class_names: tuple[str, ...],
        images: tuple[int, Pair] | None,
    ) -> None:
        super().__init__(settings, in_channels, grid, class_names)
        self.image_decoder = ImageDecoder(settings, grid, *images) if images is not None else None

    def forward(self, bev: Tensor, features: Tensor | None = None, batch: Batch | None = None) -> Outputs:
        if self.image_decoder is None or features is None:
            return super().forward(bev)
        return self.outputs(bev, lambda queries, positions: self.image_decoder(queries, positions, features, batch))


class ImageDecoder(nn.Module):
    """Queries (B, P, hidden) at cells (B, P, 2) attend to all image features of their frame -> (B, P, hidden)."""

    def __init__(self, settings: Settings, grid: BevGrid, channels: int, image_size: Pair) -> None:
        super().__init__()
        hidden = settings.hidden
        self.image_size, self.reach = image_size, grid.cell * max(grid.size_x, grid.size_y) / 2
        self.register_buffer("depths", torch.tensor(settings.depths), persistent=False)
        self.token = PointwiseConv2d(channels, hidden)
        self.ray = nn.Sequential(nn.Linear(3 * len(settings.depths), hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.place = PositionEmbedding(hidden)
        self.attention = nn.MultiheadAttention(hidden, settings.attention_heads, batch_first=True)
        self.ffn = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, settings.ffn_channels),
            nn.ReLU(),
            nn.Linear(settings.ffn_channels, hidden),
        )
        self.gain = nn.Parameter(torch.zeros(hidden))

    def forward(self, queries: Tensor, positions: Tensor, features: Tensor, batch: Batch) -> Tensor:
        tokens = self.token(features).flatten(2).transpose(1, 2)  # (N, h * w, hidden)
        keys = tokens + self.ray(self.rays(batch.images, batch, features.shape[2:]))
        placed, found = queries + self.place(positions), []
        for frame in range(batch.size):
            own = batch.image_frame == frame
            if own.any():
                key, value = keys[own].flatten(0, 1)[None], tokens[own].flatten(0, 1)[None]
                seen = self.attention(placed[frame : frame + 1], key, value, need_weights=False)[0]
                found.append(self.gain * (seen + self.ffn(seen)))
            else:
                found.append(torch.zeros_like(queries[frame : frame + 1]))
        return queries + torch.cat(found)

    @in_full_precision
    def rays(self, images: Tensor, batch: Batch, size: torch.Size) -> Tensor:
        """Points along each feature's ray in the lidar frame, in units of the map's reach (N, h * w, 3 * depths)."""
        (height, width), (image_width, image_height) = size, self.image_size
        v, u = torch.meshgrid(
            (torch.arange(height, device=images.device) + 0.5) * image_height / height - 0.5,
            (torch.arange(width, device=images.device) + 0.5) * image_width / width - 0.5,
            indexing="ij",
        )
        pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1).double()  # (3, h * w)
        rays = torch.linalg.inv(batch.input_from_image @ batch.image_from_camera) @ pixels  # (N, 3, h * w), depth 1
        points = rays.transpose(1, 2)[:, :, None] * self.depths.double()[:, None]  # (N, h * w, depths, 3)
        lidar_from_camera = torch.linalg.inv(batch.camera_from_lidar)
        points = points @ lidar_from_camera[:, None, :3, :3].mT + lidar_from_camera[:, None, None, :3, 3]
        return (points / self.reach).flatten(2).float()
