"""Lift-splat-shoot: one convolution predicts each pixel's depth distribution and its features.

Philion and Fidler, "Lift, Splat, Shoot", ECCV 2020.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from perception.config import Pair
from perception.model.batch import Batch
from perception.model.layers import PointwiseConv2d
from perception.model.lift_splat import LiftSplat, LiftSplatSettings


class Settings(LiftSplatSettings):
    """Nothing beyond what all lift-splat transforms have."""

    name: Literal["lss"] = "lss"

    def build(self, in_channels: int, stride: int, image_size: Pair) -> Lss:
        return Lss(self, in_channels, stride, image_size)


class Lss(LiftSplat):
    """Image features (N, in_channels, h, w) -> camera BEV (B, out_channels, X, Y)."""

    def __init__(self, settings: Settings, in_channels: int, stride: int, image_size: Pair) -> None:
        super().__init__(settings, stride, image_size)
        self.depth_net = PointwiseConv2d(in_channels, len(self.depths) + settings.out_channels)

    def lift(self, features: Tensor, batch: Batch) -> Tensor:
        return self.depth_net(features)
