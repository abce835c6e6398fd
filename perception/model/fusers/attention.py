"""A fuser in which each sensor's cells look for what they need in the other's map, within windows.

Windows and their position bias are those of Liu et al., "Swin Transformer", ICCV 2021; that queries of one sensor look
at the other in both directions is from Yang et al., "DeepInteraction", NeurIPS 2022. The second direction's windows are
shifted by half, so that nothing ends at the same border twice.

What both directions find is added with gains that start at zero (Bachlechner et al., "ReZero", UAI 2021): training
starts from the LiDAR detector, and a frame without cameras has its map at any time.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.layers import PointwiseConv2d, conv_norm_relu
from perception.model.presence import present


class Settings(BaseSettings):
    """The fused map is as wide as the LiDAR's."""

    name: Literal["attention"] = "attention"
    channels: int = Field(32, ge=1)  # of queries, keys and values, all heads together
    heads: int = Field(2, ge=1)
    window: int = Field(8, ge=2)  # cells, along each side

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Settings:
        if self.channels % self.heads:
            raise ValueError(f"expected channels to be a multiple of heads, got {self.channels} and {self.heads}")
        return self

    def build(self, camera_channels: int, lidar_channels: int) -> AttentionFuser:
        return AttentionFuser(self, camera_channels, lidar_channels)


class AttentionFuser(nn.Module):
    """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, Cl, X, Y)."""

    def __init__(self, settings: Settings, camera_channels: int, lidar_channels: int) -> None:
        super().__init__()
        self.adapt = conv_norm_relu(camera_channels, lidar_channels, kernel=3)
        self.lidar_asks = WindowAttention(settings, lidar_channels, shift=0)
        self.camera_asks = WindowAttention(settings, lidar_channels, shift=settings.window // 2)
        self.gains = nn.Parameter(torch.zeros(2, lidar_channels))  # of what the LiDAR finds, and of the camera's map
        self.out_channels = lidar_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        has_camera, has_lidar = present(camera), present(lidar)
        both = has_camera & has_lidar
        camera = self.adapt(camera) * has_camera
        found, seen = self.gains[:, None, :, None, None]
        from_camera = self.lidar_asks(lidar, camera) * both
        camera = camera + self.camera_asks(camera, lidar) * both
        return lidar + found * from_camera + seen * camera


class WindowAttention(nn.Module):
    """Cells of one map attend to those of another in the same window: (B, C, X, Y) twice -> (B, C, X, Y)."""

    def __init__(self, settings: Settings, channels: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = settings.heads, settings.window, shift
        self.query = PointwiseConv2d(channels, settings.channels)
        # A key's offset would change no weight: the weights of one query's keys are relative.
        self.key = PointwiseConv2d(channels, settings.channels, bias=False)
        self.value = PointwiseConv2d(channels, settings.channels)
        self.out = PointwiseConv2d(settings.channels, channels)
        offsets = 2 * settings.window - 1
        self.bias = nn.Parameter(torch.zeros(settings.heads, offsets, offsets))  # of a key by its place from the query
        self.register_buffer("offset", _offsets(settings.window), persistent=False)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        x, y = asking.shape[2:]
        beyond = [self.shift, -(y + self.shift) % self.window, self.shift, -(x + self.shift) % self.window]
        queries, keys, values = (
            self._windows(F.pad(projected, beyond))
            for projected in (self.query(asking), self.key(asked), self.value(asked))
        )
        mask = self._mask(asked, beyond) + self.bias.flatten(1)[:, self.offset]  # (windows, heads, cells, cells)
        mask = mask.to(queries).repeat(len(asking), 1, 1, 1)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        padded = (x + beyond[2] + beyond[3], y + beyond[0] + beyond[1])
        whole = self._whole(attended, len(asking), *padded)
        return self.out(whole[:, :, beyond[2] : beyond[2] + x, beyond[0] : beyond[0] + y])

    def _windows(self, bev: Tensor) -> Tensor:
        """(B, heads * c, X, Y) -> (B * windows, heads, cells, c)."""
        b, c, x, y = bev.shape
        w = self.window
        parts = bev.reshape(b, self.heads, c // self.heads, x // w, w, y // w, w)
        return parts.permute(0, 3, 5, 1, 4, 6, 2).reshape(-1, self.heads, w * w, c // self.heads)

    def _whole(self, windows: Tensor, b: int, x: int, y: int) -> Tensor:
        """The way back: (B, heads * c, X, Y)."""
        w = self.window
        parts = windows.view(b, x // w, y // w, self.heads, w, w, -1).permute(0, 3, 6, 1, 4, 2, 5)
        return parts.reshape(b, -1, x, y)

    def _mask(self, bev: Tensor, beyond: list[int]) -> Tensor:
        """What lies beyond the map isn't looked at: 0 and a large negative number (windows, 1, 1, cells)."""
        outside = F.pad(bev.new_zeros(bev.shape[2:], dtype=torch.float32), beyond, value=-1e4)
        w, (x, y) = self.window, outside.shape
        return outside.view(x // w, w, y // w, w).transpose(1, 2).reshape(-1, 1, 1, w * w)


def _offsets(window: int) -> Tensor:
    """Index into the position bias (cells, cells), of each key as seen from each query."""
    place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    x, y = place[:, None, :] - place[:, :, None] + window - 1
    return x * (2 * window - 1) + y
