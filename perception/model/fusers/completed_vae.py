"""A fuser that guesses a missing sensor's map by a variational autoencoder of both, then lets any other fuser fuse.

Wu and Goodman, "Multimodal Generative Models for Scalable Weakly-Supervised Learning" (MVAE), NeurIPS 2018: each sensor
is an expert on what the scene is like, a Gaussian for every number of a small latent map; the product of those that are
there and of the prior is what both maps are decoded from. Trained, as there, on both sensors together and on each
alone.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from perception.model.completion import CompletingFuser, CompletionSettings, relative_error

LARGEST = 6.0  # of a logarithm of a variance, either way: its exponential stays a number in bfloat16 too


class Settings(CompletionSettings):
    """The fuser behind it, and how the guesses are made."""

    name: Literal["completed_vae"] = "completed_vae"
    hidden: int = Field(48, ge=1)  # channels at half the map's size
    latent: int = Field(24, ge=1)  # numbers at each place of a map of a quarter of the size
    weight: float = Field(0.2, ge=0)  # of the decoded maps' errors in training: two maps, each from three subsets
    divergence_weight: float = Field(0.002, ge=0)  # of the latent Gaussians' divergence from the prior

    def build(self, camera_channels: int, lidar_channels: int) -> CompletedVaeFuser:
        return CompletedVaeFuser(self, camera_channels, lidar_channels)


class CompletedVaeFuser(CompletingFuser):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> the inner fuser's (B, C, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__(settings.fuser.build(camera_channels, lidar_channels))
        self.weight, self.divergence_weight = settings.weight, settings.divergence_weight
        widths = {"camera": camera_channels, "lidar": lidar_channels}
        hidden, latent = settings.hidden, settings.latent
        self.encoders: Any = nn.ModuleDict({name: Encoder(width, hidden, latent) for name, width in widths.items()})
        self.decoders: Any = nn.ModuleDict({name: Decoder(latent, hidden, width) for name, width in widths.items()})

    def guess(self, sensor: str, other: Tensor) -> Tensor:
        """Decoded from the mean of what the other sensor says: a detector has no use for chance."""
        expert = self.encoders["lidar" if sensor == "camera" else "camera"](other)
        mean, _ = product_of_experts([expert])
        return self.decoders[sensor](mean, other.shape[2:])

    def errors(self, camera: Tensor, lidar: Tensor) -> dict[str, Tensor]:
        maps = {"camera": camera, "lidar": lidar}
        experts = {name: self.encoders[name](bev) for name, bev in maps.items()}
        error, divergence = 0.0, 0.0
        for subset in (("camera",), ("lidar",), ("camera", "lidar")):
            mean, variance = product_of_experts([experts[name] for name in subset])
            latent = mean + variance.sqrt() * torch.randn_like(mean)
            for name, bev in maps.items():
                error = error + relative_error(self.decoders[name](latent, bev.shape[2:]), bev)
            divergence = divergence + divergence_from_prior(mean, variance)
        return {"map_error": self.weight * error, "divergence": self.divergence_weight * divergence}


class Encoder(nn.Module):
    """A map (n, C, X, Y) -> mean and logarithm of the variance (n, latent, X / 4, Y / 4) of what it says."""

    def __init__(self, channels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, stride=2, padding=1)
        self.second = nn.Conv2d(hidden, 2 * latent, 3, stride=2, padding=1)

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.second(self.first(bev).relu()).float().chunk(2, dim=1)
        return mean, LARGEST * (log_variance / LARGEST).tanh()


class Decoder(nn.Module):
    """A latent map (n, latent, x, y) -> a sensor's map (n, C, X, Y)."""

    def __init__(self, latent: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(latent, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, latent: Tensor, size: torch.Size) -> Tensor:
        half = [(side + 1) // 2 for side in size]
        hidden = self.first(F.interpolate(latent, size=half, mode="nearest")).relu()
        return self.second(F.interpolate(hidden, size=size, mode="nearest"))


def product_of_experts(experts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and variance of the product of Gaussians, given as means and log variances, with the standard normal."""
    precisions = [(-log_variance).exp() for _, log_variance in experts]
    variance = 1 / (1 + sum(precisions))
    weighted = sum(mean * precision for (mean, _), precision in zip(experts, precisions, strict=True))
    return weighted * variance, variance


def divergence_from_prior(mean: Tensor, variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of Gaussians (n, ...) from the standard normal: each frame's mean, their sum."""
    each = (mean.square() + variance - variance.log() - 1) / 2
    return each.flatten(1).mean(dim=1).sum()
