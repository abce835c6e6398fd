"""What the network takes: the tensors of one or more frames, ready made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B frames with N images among them; frames may have any number of images and points, none included.

    Augmentation is part of the transforms: `input_from_image` holds the image's, and where the points were augmented,
    `camera_from_lidar` starts from the augmented lidar frame (it may then scale or mirror).
    """

    size: int  # B
    clouds: tuple[Tensor, ...]  # B times (M_b, 5) float32: x, y, z [m], intensity [0-255], age [s]; (0, 5) for none
    images: Tensor  # (N, 3, H, W) float32, normalised RGB
    image_frame: Tensor  # (N,) int64, the frame in 0..B-1 each image belongs to; ascending
    camera_from_lidar: Tensor  # (N, 4, 4) float64
    image_from_camera: Tensor  # (N, 3, 3) float64, pinhole
    input_from_image: Tensor  # (N, 3, 3) float64, pixels of `images` from pixels of the decoded image

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; from pinned memory the copies go on beside what is done next."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU reads by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = (self.images, self.image_frame, self.camera_from_lidar, self.image_from_camera, self.input_from_image)
        return Batch(self.size, tuple(map(change, self.clouds)), *map(change, tensors))
