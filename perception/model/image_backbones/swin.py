"""Swin Transformer: attention inside windows that shift by half their size from block to block.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021. The order in which
patch merging stacks its 2x2 neighbours is that of mmdetection, whose weights the public BEVFusion checkpoints hold.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.ops.window_attention import window_attention, window_order

PIXELS_AT_ONCE = 2**19  # on a CPU: so tokens stay in its caches, and in memory that needn't be asked for anew


class Settings(BaseSettings):
    """Swin-T by default."""

    name: Literal["swin"] = "swin"
    channels: int = 96  # of the first stage; each next one has twice as many
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks a stage
    heads: tuple[int, ...] = (3, 6, 12, 24)  # attention heads a stage
    window: int = 7  # tokens along a window's side
    mlp_ratio: int = 4
    out_stages: tuple[int, ...] = (1, 2, 3)  # stages whose output, normalised, is handed on

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Settings:
        widths = [self.channels * 2**i for i in range(len(self.depths))]
        if len(self.heads) != len(widths) or any(
            width % heads for width, heads in zip(widths, self.heads, strict=True)
        ):
            raise ValueError(f"expected for each stage a number of heads that divides its {widths}, got {self.heads}")
        return self

    def build(self) -> Swin:
        return Swin(self)


class Swin(nn.Module):
    """Images (N, 3, H, W) -> one map (N, C_i, H / s_i, W / s_i) for each of `out_stages`; sizes round up."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths = [settings.channels * 2**i for i in range(len(settings.depths))]
        self.out_stages = settings.out_stages
        self.out_channels = [widths[i] for i in settings.out_stages]
        self.strides = [4 * 2**i for i in settings.out_stages]
        self.patch_embed = PatchEmbed(settings.channels)
        self.stages = nn.ModuleList(
            Stage(width, depth, heads, settings, downsample=width != widths[-1])
            for width, depth, heads in zip(widths, settings.depths, settings.heads, strict=True)
        )
        self.norms = nn.ModuleDict({str(i): nn.LayerNorm(widths[i]) for i in settings.out_stages})

    def forward(self, images: Tensor) -> list[Tensor]:
        if torch.is_grad_enabled() or images.device.type != "cpu":
            return self._maps(images)
        at_once = max(1, PIXELS_AT_ONCE // max(1, images.shape[2] * images.shape[3]))
        return [torch.cat(parts) for parts in zip(*map(self._maps, images.split(at_once)), strict=True)]

    def _maps(self, images: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(images)  # (N, H / 4, W / 4, C)
        outputs = []
        for i, stage in enumerate(self.stages):
            for block in stage.blocks:
                tokens = block(tokens)
            if i in self.out_stages:
                outputs.append(self.norms[str(i)](tokens).permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        return outputs


class PatchEmbed(nn.Module):
    """4x4 pixels to one token; images are padded at the right and the bottom to whole patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % 4, 0, -height % 4))
        return self.norm(self.projection(images).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks at one scale, every second one with shifted windows, then patch merging unless it is the last stage."""

    def __init__(self, channels: int, depth: int, heads: int, settings: Settings, downsample: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(channels, heads, settings.window, shift=(i % 2) * (settings.window // 2), ratio=settings.mlp_ratio)
            for i in range(depth)
        )
        self.downsample = PatchMerging(channels) if downsample else None


class Block(nn.Module):
    """Pre-norm transformer block: windowed attention, then a two-layer perceptron, each with a shortcut."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, shift)
        self.norm2 = nn.LayerNorm(channels)
        inner = ratio * channels
        self.mlp = nn.Sequential(nn.Linear(channels, inner), nn.GELU(), nn.Linear(inner, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, with a learned bias for each relative position."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        order = window_order(*tokens.shape[1:3], self.window, self.shift, tokens.device)
        area, qkv = self.window**2, self.qkv(tokens)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(area, area, self.heads).permute(2, 0, 1)
        # The map is padded with zeros, of which the first product makes its bias.
        return self.proj(window_attention(qkv, self.qkv.bias, bias, order))


class PatchMerging(nn.Module):
    """Four neighbouring tokens to one of twice the width; odd sizes are padded with zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.by_token = False

    def forward(self, tokens: Tensor) -> Tensor:
        count, height, width, channels = tokens.shape
        tokens = F.pad(tokens, (0, 0, 0, width % 2, 0, height % 2))
        blocks = tokens.view(count, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
        # Channel by channel, each with its 2x2 neighbourhood: the order in which the public weights were trained.
        merged = blocks.permute(0, 1, 3, 2, 4, 5) if self.by_token else blocks.permute(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(merged.flatten(3)))

    def finalise(self) -> None:
        """Reorder the weights, once, so that tokens are stacked whole, which is copied faster."""
        if self.by_token:
            return
        for weights in (self.norm.weight, self.norm.bias, self.reduction.weight):
            weights.data = weights.data.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2).contiguous()
        self.by_token = True


def relative_position_index(side: int) -> Tensor:
    """Row of the bias table for each pair of tokens in a window: (side^2, side^2) int64."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()])
    offset = place[:, :, None] - place[:, None, :] + side - 1
    return offset[0] * (2 * side - 1) + offset[1]
