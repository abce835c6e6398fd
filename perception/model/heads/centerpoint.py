"""The CenterPoint head: every object is a peak of its class's heatmap, with its box regressed at that cell.

Yin et al., "Center-based 3D Object Detection and Tracking", CVPR 2021. Classes of like size share a group with its own
branches, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.config import Settings as BaseSettings
from perception.model.boxes import boxes_of_frame
from perception.model.grid import BevGrid
from perception.model.layers import conv_norm_relu, highest_around
from perception.ops.nms import circle_nms
from perception.types import Boxes3D

REGRESSION = {"offset": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


class Group(BaseSettings):
    """Classes that share branches and a suppression radius."""

    classes: tuple[str, ...]
    nms_radius_m: float  # of two detections closer than this the worse one goes


class Settings(BaseSettings):
    """The groups hold every class of the detector exactly once."""

    name: Literal["centerpoint"] = "centerpoint"
    groups: tuple[Group, ...]
    shared_channels: int = 64
    joint: bool = False  # one hidden layer for all branches of a group, not one for each: a fifth of the work
    candidates: int = 500  # peaks looked at, a group and frame
    max_boxes: int = 83  # kept after suppression, a group and frame
    center_limit: tuple[float, ...] = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)  # m, boxes centred outside are dropped
    prior: float = 0.1  # probability the heatmap starts from in training

    @model_validator(mode="after")
    def _no_class_twice(self) -> Settings:
        names = [name for group in self.groups for name in group.classes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"groups: expected every class once, got {name!r} twice")
        return self

    def build(self, in_channels: int, grid: BevGrid, class_names: tuple[str, ...]) -> CenterPointHead:
        names = [name for group in self.groups for name in group.classes]
        for name in (*names, *class_names):
            if name not in names or name not in class_names:
                expected = f"each of {', '.join(class_names)} once"
                raise InputError("head.groups", expected, repr(name), did_you_mean(name, class_names))
        return CenterPointHead(self, in_channels, grid, class_names)


@dataclass(frozen=True)
class Outputs:
    """Raw predictions of G groups at every cell."""

    heatmap: Tensor  # (B, classes, X, Y) logits
    offset: Tensor  # (B, G, 2, X, Y) of the centre from the cell's lower corner, cells
    height: Tensor  # (B, G, 1, X, Y) m, gravity centre
    dim: Tensor  # (B, G, 3, X, Y) log of length, width, height in m
    rot: Tensor  # (B, G, 2, X, Y) sine, cosine
    vel: Tensor  # (B, G, 2, X, Y) m/s


class Branches(nn.ModuleDict):
    """A group's maps by name, each from a hidden layer of its own, as published."""

    def __init__(self, width: int, channels: dict[str, int], prior: float) -> None:
        super().__init__({name: _branch(width, count) for name, count in channels.items()})
        _start_rare(self["heatmap"][-1].bias, prior)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {name: branch(features) for name, branch in self.items()}


class JointBranches(nn.Module):
    """A group's maps by name, the heatmap last, all from one hidden layer."""

    def __init__(self, width: int, channels: dict[str, int], prior: float) -> None:
        super().__init__()
        self.channels = channels
        self.branch = _branch(width, sum(channels.values()))
        *_, heatmap_bias = self.branch[-1].bias.split(list(channels.values()))
        _start_rare(heatmap_bias, prior)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        maps = self.branch(features).split(list(self.channels.values()), dim=1)
        return dict(zip(self.channels, maps, strict=True))


def _branch(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_relu(width, width, 3), nn.Conv2d(width, channels, 3, padding=1))


def _start_rare(bias: Tensor, prior: float) -> None:
    """Let a heatmap's logits start where every class has a probability of `prior`, as objects are rare."""
    nn.init.constant_(bias, math.log(prior / (1 - prior)))


class CenterPointHead(nn.Module):
    """BEV map (B, in_channels, X, Y) -> Outputs; `decode` makes boxes of them."""

    def __init__(self, settings: Settings, in_channels: int, grid: BevGrid, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.grid, self.class_names = settings, grid, class_names
        self.labels = [[class_names.index(name) for name in group.classes] for group in settings.groups]
        self.shared_conv = conv_norm_relu(in_channels, settings.shared_channels, kernel=3)
        self.groups = nn.ModuleList(self._branches(len(labels)) for labels in self.labels)

    def _branches(self, classes: int) -> nn.Module:
        kind = JointBranches if self.settings.joint else Branches
        return kind(self.settings.shared_channels, {**REGRESSION, "heatmap": classes}, self.settings.prior)

    def forward(self, bev: Tensor) -> Outputs:
        features = self.shared_conv(bev)
        regressed: dict[str, list[Tensor]] = {name: [] for name in REGRESSION}
        heatmaps: dict[int, Tensor] = {}
        for labels, branches in zip(self.labels, self.groups, strict=True):
            maps = branches(features)
            heatmaps |= dict(zip(labels, maps["heatmap"].unbind(dim=1), strict=True))
            for name, collected in regressed.items():
                collected.append(maps[name])
        heatmap = torch.stack([heatmaps[label] for label in range(len(self.class_names))], dim=1)
        return Outputs(heatmap, **{name: torch.stack(maps, dim=1) for name, maps in regressed.items()})

    def decode(self, outputs: Outputs) -> list[Boxes3D]:
        """One Boxes3D a frame, best first within each group."""
        heat = outputs.heatmap.sigmoid()
        heat = heat * (heat == highest_around(F.pad(heat, (1, 1, 1, 1)), 3))
        return [self._decode_frame(heat, outputs, frame) for frame in range(len(heat))]

    def _decode_frame(self, heat: Tensor, outputs: Outputs, frame: int) -> Boxes3D:
        found = [self._decode_group(heat[frame, labels], outputs, frame, g) for g, labels in enumerate(self.labels)]
        return boxes_of_frame(*(torch.cat(column) for column in zip(*found, strict=True)), self.class_names)

    def _decode_group(self, heat: Tensor, outputs: Outputs, frame: int, group: int) -> tuple[Tensor, ...]:
        """Centres, sizes, yaws, velocities, scores and labels of one group's boxes."""
        cells = heat[0].numel()
        flat = heat.flatten()
        peaks = torch.nonzero(flat > 0).squeeze(1)  # about a tenth of all: sorting these is what takes time
        scores, order = torch.sort(flat[peaks], descending=True, stable=True)
        scores, ranked = scores[: self.settings.candidates], peaks[order[: self.settings.candidates]]
        place, labels = ranked % cells, torch.tensor(self.labels[group], device=heat.device)[ranked // cells]
        at = {name: getattr(outputs, name)[frame, group].flatten(1)[:, place].T for name in REGRESSION}
        corner = torch.stack([place // self.grid.size_y, place % self.grid.size_y], dim=1)
        lower = at["offset"].new_tensor([self.grid.lower_x, self.grid.lower_y])
        centers = torch.cat([(corner + at["offset"]) * self.grid.cell + lower, at["height"]], dim=1)
        yaws = torch.atan2(at["rot"][:, 0], at["rot"][:, 1])
        lowest, highest = centers.new_tensor(self.settings.center_limit).split(3)
        rows = torch.nonzero(((centers >= lowest) & (centers <= highest)).all(dim=1)).squeeze(1)
        radius = self.settings.groups[group].nms_radius_m
        rows = rows[circle_nms(centers[rows, :2], scores[rows], radius, self.settings.max_boxes)]
        columns = (centers, at["dim"].exp(), yaws, at["vel"], scores, labels)
        return tuple(column[rows] for column in columns)
