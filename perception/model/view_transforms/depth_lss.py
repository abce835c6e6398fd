"""BEVFusion's view transform: lift-splat whose depth net also sees the LiDAR's depth at each pixel.

Liu et al., "BEVFusion", ICRA 2023, and its public code's DepthLSSTransform.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from perception.config import Pair
from perception.model.batch import Batch
from perception.model.layers import PointwiseConv2d
from perception.model.lift_splat import LiftSplat, LiftSplatSettings
from perception.model.precision import in_full_precision


class Settings(LiftSplatSettings):
    """Nothing beyond what all lift-splat transforms have."""

    name: Literal["depth_lss"] = "depth_lss"

    def build(self, in_channels: int, stride: int, image_size: Pair) -> DepthLss:
        return DepthLss(self, in_channels, stride, image_size)


class DepthLss(LiftSplat):
    """Image features (N, in_channels, h, w) and the batch's points -> camera BEV (B, out_channels, X, Y)."""

    def __init__(self, settings: Settings, in_channels: int, stride: int, image_size: Pair) -> None:
        super().__init__(settings, stride, image_size)
        self.depth_encoder = nn.Sequential(
            *_block(1, 8, kernel=1, stride=1),
            *_block(8, 32, kernel=5, stride=stride // 2),
            *_block(32, 64, kernel=5, stride=2),
        )
        self.depth_net = nn.Sequential(
            *_block(in_channels + 64, in_channels, kernel=3, stride=1),
            *_block(in_channels, in_channels, kernel=3, stride=1),
            PointwiseConv2d(in_channels, len(self.depths) + settings.out_channels),
        )

    def lift(self, features: Tensor, batch: Batch) -> Tensor:
        measured = self.depth_encoder(depth_images(batch, self.image_size))
        return self.depth_net(torch.cat([measured, features], dim=1))


@in_full_precision
def depth_images(batch: Batch, image_size: Pair) -> Tensor:
    """The points' depths [m] in the camera, at the input pixel each falls on, 0 elsewhere: (N, 1, H, W).

    Where several fall on one pixel the last in the cloud's order stays, whatever the number of threads.
    """
    width, height = image_size
    images = batch.images.new_zeros(len(batch.images), height * width)
    image_from_lidar = (batch.image_from_camera @ batch.camera_from_lidar[:, :3]).float()  # (N, 3, 4)
    input_from_image = batch.input_from_image.float()
    of_frames = batch.image_frame.tolist()
    for frame in sorted(set(of_frames)):
        rows = slice(of_frames.index(frame), of_frames.index(frame) + of_frames.count(frame))  # ascending: see Batch
        # One product after the other: all in one, their rounding would depend on the number of threads.
        points = batch.clouds[frame][:, :3].T
        projected = [matrix[:, :3] @ points + matrix[:, 3:] for matrix in image_from_lidar[rows]]
        pixels = [
            m[:2, :2] @ (p[:2] / p[2]) + m[:2, 2:] for m, p in zip(input_from_image[rows], projected, strict=True)
        ]
        pixels, depth = torch.stack(pixels), torch.stack([p[2] for p in projected])  # (n, 2, M), (n, M)
        inside = (pixels >= 0) & (pixels < pixels.new_tensor([[width], [height]])) & (depth[:, None] > 1e-5)
        image, point = torch.nonzero(inside.all(dim=1), as_tuple=True)  # points ascending in each image
        u, v = pixels[image, :, point].long().T
        _write_last(images[rows].view(-1), (image * height + v) * width + u, depth[image, point])
    return images.view(-1, 1, height, width)


def _write_last(image: Tensor, places: Tensor, values: Tensor) -> None:
    """image[places] = values, where for equal places the later value counts (plain indexing doesn't promise that)."""
    order = torch.arange(len(places), device=places.device)
    last = places.new_full((len(image),), -1).scatter_reduce_(0, places, order, "amax")
    image.copy_(torch.where(last >= 0, values[last.clamp(min=0)], image) if len(places) else image)


def _block(in_channels: int, out_channels: int, kernel: int, stride: int) -> list[nn.Module]:
    if kernel == stride == 1:
        conv: nn.Module = PointwiseConv2d(in_channels, out_channels)
    else:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
