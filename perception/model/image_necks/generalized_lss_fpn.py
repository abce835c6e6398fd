"""The neck of BEVFusion: a top-down pyramid that concatenates, rather than adds, the coarser level.

Liu et al., "BEVFusion: Multi-Task Multi-Sensor Fusion with Unified Bird's-Eye View Representation", ICRA 2023.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import conv_norm_relu


class Settings(BaseSettings):
    """One width for all levels."""

    name: Literal["generalized_lss_fpn"] = "generalized_lss_fpn"
    out_channels: int = 256

    def build(self, in_channels: list[int], in_strides: list[int]) -> GeneralizedLssFpn:
        return GeneralizedLssFpn(in_channels, in_strides, self.out_channels)


class GeneralizedLssFpn(nn.Module):
    """Maps of falling size -> the finest one (N, out_channels, H_0, W_0), informed by all the coarser ones."""

    def __init__(self, in_channels: list[int], in_strides: list[int], out_channels: int) -> None:
        super().__init__()
        above = [out_channels] * (len(in_channels) - 2) + [in_channels[-1]]
        self.lateral_convs = nn.ModuleList(
            conv_norm_relu(own + coarser, out_channels, kernel=1)
            for own, coarser in zip(in_channels[:-1], above, strict=True)
        )
        self.fpn_convs = nn.ModuleList(conv_norm_relu(out_channels, out_channels, kernel=3) for _ in above)
        self.out_channels = out_channels
        self.stride = in_strides[0]

    def forward(self, features: list[Tensor]) -> Tensor:
        merged = features[-1]
        levels = zip(features[:-1], self.lateral_convs, self.fpn_convs, strict=True)
        for own, lateral, smooth in reversed(list(levels)):
            merged = F.interpolate(merged, size=own.shape[-2:], mode="bilinear", align_corners=False)
            merged = smooth(lateral(torch.cat([own, merged], dim=1)))
        return merged
