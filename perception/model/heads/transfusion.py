"""The TransFusion head: the best heatmap peaks become object queries, which one decoder layer refines.

Bai et al., "TransFusion: Robust LiDAR-Camera Fusion for 3D Object Detection with Transformers", CVPR 2022, as the
public BEVFusion checkpoints use it: queries start from BEV features only, and there is no NMS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.boxes import boxes_of_frame
from perception.model.grid import BevGrid
from perception.model.layers import ConvNormAct, PointwiseConv1d, conv_norm_relu, highest_around
from perception.types import Boxes3D

REGRESSION = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


class Settings(BaseSettings):
    """As published, by default."""

    name: Literal["transfusion"] = "transfusion"
    hidden: int = 128
    proposals: int = 200
    attention_heads: int = 8
    ffn_channels: int = 256
    peak_kernel: int = 3  # cells; a proposal is the maximum among its neighbours
    small_classes: tuple[str, ...] = ("pedestrian", "traffic_cone")  # every cell may be a proposal
    center_limit: tuple[float, ...] = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)  # m, boxes centred outside are dropped
    prior: float = 0.1  # probability the heatmap and the classes start from in training

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Settings:
        if self.hidden % self.attention_heads:
            raise ValueError(f"expected hidden to be a multiple of attention_heads, got {self.hidden}")
        return self

    def build(self, in_channels: int, grid: BevGrid, class_names: tuple[str, ...]) -> TransFusionHead:
        return TransFusionHead(self, in_channels, grid, class_names)


@dataclass(frozen=True)
class Outputs:
    """Raw predictions: P proposals a frame, after the decoder."""

    heatmap: Tensor  # (B, classes, X, Y) logits
    proposal_scores: Tensor  # (B, classes, P) the heatmap's probability at each proposal's cell, 0 where it's no peak
    proposal_labels: Tensor  # (B, P) int64
    logits: Tensor  # (B, classes, P)
    center: Tensor  # (B, 2, P) cells
    height: Tensor  # (B, 1, P) m, gravity centre
    dim: Tensor  # (B, 3, P) log of length, width, height in m
    rot: Tensor  # (B, 2, P) sine, cosine
    vel: Tensor  # (B, 2, P) m/s


class TransFusionHead(nn.Module):
    """BEV map (B, in_channels, X, Y) -> Outputs; `decode` makes boxes of them."""

    def __init__(self, settings: Settings, in_channels: int, grid: BevGrid, class_names: tuple[str, ...]) -> None:
        super().__init__()
        hidden, classes = settings.hidden, len(class_names)
        self.settings, self.grid, self.class_names = settings, grid, class_names
        self.small_classes = [i for i, name in enumerate(class_names) if name in settings.small_classes]
        self.shared_conv = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.heatmap_head = nn.Sequential(
            conv_norm_relu(hidden, hidden, kernel=3), nn.Conv2d(hidden, classes, 3, padding=1)
        )
        self.class_encoding = PointwiseConv1d(classes, hidden)
        self.decoder = DecoderLayer(hidden, settings.attention_heads, settings.ffn_channels)
        self.predictors = nn.ModuleDict(
            {name: _predictor(hidden, width) for name, width in {**REGRESSION, "heatmap": classes}.items()}
        )
        for last in (self.heatmap_head[-1], self.predictors["heatmap"][-1]):
            nn.init.constant_(last.bias, math.log(settings.prior / (1 - settings.prior)))
        x, y = torch.meshgrid(torch.arange(grid.size_x), torch.arange(grid.size_y), indexing="ij")
        cells = torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5
        self.register_buffer("cells", cells, persistent=False)  # (X * Y, 2), centres in cells
        self.register_buffer("cell_embedding", None, persistent=False)  # (1, X * Y, hidden), where it doesn't change

    def forward(self, bev: Tensor) -> Outputs:
        return self.outputs(bev, lambda queries, positions: queries)

    def outputs(self, bev: Tensor, refined: Callable[[Tensor, Tensor], Tensor]) -> Outputs:
        """The same, with queries (B, P, hidden) at cells (B, P, 2) refined before anything is predicted from them."""
        features = self.shared_conv(bev)
        heatmap = self.heatmap_head(features)
        features = features.flatten(2).transpose(1, 2)  # (B, X * Y, hidden)
        peaks = self.peaks(heatmap.detach().sigmoid()).flatten(2)  # (B, classes, X * Y)
        labels, places = self.proposals(peaks)
        queries = features.gather(1, places[..., None].expand(-1, -1, features.shape[-1]))
        one_hot = F.one_hot(labels, len(self.class_names)).transpose(1, 2)  # (B, classes, P)
        queries = queries + self.class_encoding(one_hot.to(queries.dtype)).transpose(1, 2)
        positions = self.cells[places]  # (B, P, 2)
        embedding = self._cell_embedding() if self.cell_embedding is None else self.cell_embedding
        queries = self.decoder(queries, features + embedding, positions)
        queries = refined(queries, positions).transpose(1, 2)
        predicted = {name: predictor(queries) for name, predictor in self.predictors.items()}
        logits = predicted.pop("heatmap")
        predicted["center"] = predicted["center"] + positions.transpose(1, 2)
        scores = peaks.gather(2, places[:, None].expand(-1, len(self.class_names), -1))
        return Outputs(heatmap, scores, labels, logits, **predicted)

    def _cell_embedding(self) -> Tensor:
        return self.decoder.cross_posembed(self.cells[None])

    def finalise(self) -> None:
        """Keep what the weights make of the cells' places."""
        self.cell_embedding = self._cell_embedding()

    def peaks(self, heat: Tensor) -> Tensor:
        """heat (B, classes, X, Y) with all that isn't a local maximum set to zero; the map's border never is one."""
        kernel = self.settings.peak_kernel
        border = kernel // 2
        highest = F.pad(highest_around(heat, kernel), (border,) * 4)
        highest[:, self.small_classes] = heat[:, self.small_classes]
        return heat * (heat == highest)

    def proposals(self, peaks: Tensor) -> tuple[Tensor, Tensor]:
        """Class and flat cell (B, P) of the highest peaks, over all classes together."""
        cells = peaks.shape[-1]
        ranked = peaks.flatten(1).argsort(dim=1, descending=True)  # among equals, the order that the public code gets
        best = ranked[:, : self.settings.proposals]
        return best // cells, best % cells

    def decode(self, outputs: Outputs) -> list[Boxes3D]:
        """One Boxes3D a frame, in the order of the proposals.

        The score is that of the proposal's own class: the decoder's probability times the heatmap's.
        """
        own = outputs.proposal_labels[:, None]
        scores = (outputs.logits.sigmoid() * outputs.proposal_scores).gather(1, own).squeeze(1)
        lower = outputs.center.new_tensor([self.grid.lower_x, self.grid.lower_y])
        center = outputs.center * self.grid.cell + lower[:, None]
        center = torch.cat([center, outputs.height], dim=1).transpose(1, 2)
        yaw = torch.atan2(outputs.rot[:, 0], outputs.rot[:, 1])
        sizes, velocities = outputs.dim.exp().transpose(1, 2), outputs.vel.transpose(1, 2)
        frames = zip(center, sizes, yaw, velocities, scores, outputs.proposal_labels, strict=True)
        return [self._inside_limit(boxes_of_frame(*frame, self.class_names)) for frame in frames]

    def _inside_limit(self, boxes: Boxes3D) -> Boxes3D:
        lower, upper = np.split(np.array(self.settings.center_limit), 2)
        bottoms = boxes.centers - boxes.sizes * (0, 0, 0.5)  # the published limit is for the centre of the bottom
        return boxes.select(((bottoms >= lower) & (bottoms <= upper)).all(axis=1))


class DecoderLayer(nn.Module):
    """Queries attend to each other, then to the BEV map; unlike in DETR, values carry their positions too."""

    def __init__(self, channels: int, heads: int, ffn_channels: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(channels, ffn_channels), nn.ReLU(), nn.Linear(ffn_channels, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.self_posembed = PositionEmbedding(channels)
        self.cross_posembed = PositionEmbedding(channels)

    def forward(self, queries: Tensor, keys: Tensor, query_positions: Tensor) -> Tensor:
        """queries (B, P, C), keys (B, K, C) with their positions' embedding, query_positions (B, P, 2) -> (B, P, C)."""
        query_embedding = self.self_posembed(query_positions)
        placed = queries + query_embedding
        queries = self.norms[0](queries + self.self_attn(placed, placed, placed, need_weights=False)[0])
        attended = self.cross_attn(queries + query_embedding, keys, keys, need_weights=False)[0]
        queries = self.norms[1](queries + attended)
        return self.norms[2](queries + self.ffn(queries))


class PositionEmbedding(nn.Sequential):
    """Positions (B, P, 2) in cells -> (B, P, channels), learned."""

    def __init__(self, channels: int) -> None:
        norm = nn.BatchNorm1d(channels)
        super().__init__(PointwiseConv1d(2, channels), norm, nn.ReLU(inplace=True), PointwiseConv1d(channels, channels))

    def forward(self, positions: Tensor) -> Tensor:
        return super().forward(positions.transpose(1, 2)).transpose(1, 2)


def _predictor(hidden: int, out_channels: int, inner: int = 64) -> nn.Sequential:
    first = ConvNormAct(PointwiseConv1d(hidden, inner, bias=False), nn.BatchNorm1d(inner))
    return nn.Sequential(first, PointwiseConv1d(inner, out_channels))
