"""Points get the image features of the pixels that they fall on.

Vora et al., "PointPainting", CVPR 2020, painted points with class scores; Wang et al., "PointAugmenting", CVPR 2021,
with features, as here, squeezed to a few numbers from 0 to 1 that learn with the rest. What is painted are voxels' mean
points (Sindagi et al., "MVX-Net", ICRA 2019): a tenth as many, and the gradient gets to the images.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from perception.config import Pair
from perception.config import Settings as BaseSettings
from perception.model.batch import Batch
from perception.model.layers import PointwiseConv2d
from perception.model.precision import in_full_precision

NEAREST = 1e-2  # m in front of a camera


class Settings(BaseSettings):
    """How much a point is told."""

    name: Literal["image_features"] = "image_features"
    channels: int = Field(8, ge=1)

    def build(self, channels: int, stride: int, image_size: Pair) -> ImageFeatures:
        return ImageFeatures(self, channels, image_size)


class ImageFeatures(nn.Module):
    """See the contract; the last column is 1 for points that an image shows."""

    def __init__(self, settings: Settings, channels: int, image_size: Pair) -> None:
        super().__init__()
        self.squeeze = PointwiseConv2d(channels, settings.channels)
        self.image_size = image_size
        self.channels, self.out_channels = settings.channels, settings.channels + 1

    def forward(self, features: Tensor | None, points: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        if features is None:
            return points.new_zeros(len(points), self.out_channels)
        return self._sampled(self.squeeze(features).sigmoid().float(), points, frames, batch)

    @in_full_precision
    def _sampled(self, features: Tensor, points: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        """The mean over the images that show a point: none, one, or two where they overlap."""
        sums, counts = points.new_zeros(len(points), self.channels), points.new_zeros(len(points), 1)
        of_frames = [(frames == frame).nonzero().squeeze(1) for frame in range(batch.size)]
        for image, frame in enumerate(batch.image_frame.tolist()):
            rows = of_frames[frame]
            places, inside = self.projected(points[rows], batch, image)
            rows, places = rows[inside], places[inside]
            sampled = F.grid_sample(features[image : image + 1], places[None, None], align_corners=False)
            sums = sums.index_add(0, rows, sampled[0, :, 0].T)
            counts = counts.index_add(0, rows, torch.ones_like(places[:, :1]))
        return torch.cat([sums / counts.clamp(min=1), counts.clamp(max=1)], dim=1)

    def projected(self, points: Tensor, batch: Batch, image: int) -> tuple[Tensor, Tensor]:
        """Where points (M, 3) fall on an image (M, 2), -1..1 from edge to edge, and which of them it shows (M,)."""
        image_from_lidar = (batch.image_from_camera[image] @ batch.camera_from_lidar[image, :3]).float()
        projected = points @ image_from_lidar[:, :3].T + image_from_lidar[:, 3]
        depth = projected[:, 2:]
        input_from_image = batch.input_from_image[image].float()
        pixels = projected[:, :2] / depth.clamp(min=NEAREST) @ input_from_image[:2, :2].T + input_from_image[:2, 2]
        places = 2 * (pixels + 0.5) / pixels.new_tensor(self.image_size) - 1
        return places, (places.abs() <= 1).all(dim=1) & (depth[:, 0] > NEAREST)
