"""A fuser that first guesses a missing sensor's map from the other's by regression, then lets any other fuser fuse.

Tran et al., "Missing Modalities Imputation via Cascaded Residual Autoencoder", CVPR 2017, brought the idea to features;
the two networks here are small encoders and decoders over the map, trained on frames with both sensors.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from perception.model.completion import CompletingFuser, CompletionSettings, relative_error


class Settings(CompletionSettings):
    """The fuser behind it, and how the guesses are made."""

    name: Literal["completed"] = "completed"
    hidden: int = Field(48, ge=1)  # channels at half the map's size
    weight: float = Field(0.5, ge=0)  # of the guesses' error in training

    def build(self, camera_channels: int, lidar_channels: int) -> CompletedFuser:
        return CompletedFuser(self, camera_channels, lidar_channels)


class CompletedFuser(CompletingFuser):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> the inner fuser's (B, C, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__(settings.fuser.build(camera_channels, lidar_channels))
        self.weight = settings.weight
        self.guesses: Any = nn.ModuleDict(
            {
                "camera": Guess(lidar_channels, settings.hidden, camera_channels),
                "lidar": Guess(camera_channels, settings.hidden, lidar_channels),
            }
        )

    def guess(self, sensor: str, other: Tensor) -> Tensor:
        return self.guesses[sensor](other)

    def errors(self, camera: Tensor, lidar: Tensor) -> dict[str, Tensor]:
        return {
            "camera_guess": self.weight * relative_error(self.guess("camera", lidar), camera),
            "lidar_guess": self.weight * relative_error(self.guess("lidar", camera), lidar),
        }


class Guess(nn.Module):
    """One map from another (n, in_channels, X, Y) -> (n, out_channels, X, Y), by way of half the size."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, hidden, 3, stride=2, padding=1)
        self.around = nn.Conv2d(hidden, hidden, 3, padding=2, dilation=2)
        self.up = nn.Conv2d(hidden, out_channels, 3, padding=1)

    def forward(self, bev: Tensor) -> Tensor:
        hidden = self.down(bev).relu()
        hidden = hidden + self.around(hidden).relu()
        return self.up(F.interpolate(hidden, size=bev.shape[2:], mode="nearest"))
