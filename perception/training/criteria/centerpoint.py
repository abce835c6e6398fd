"""What the CenterPoint head learns: heatmaps, and the box at every object's cell.

Yin et al., CVPR 2021, in mmdetection3d's numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from perception.config import Settings as BaseSettings
from perception.model.grid import BevGrid
from perception.model.heads.centerpoint import REGRESSION, CenterPointHead, Outputs
from perception.training.heatmaps import center_cells, heatmap_targets
from perception.training.losses import Term, gaussian_focal_sum, l1_sum
from perception.types import Boxes3D

HEADING, VELOCITY = slice(6, 8), slice(8, 10)  # sine and cosine, m/s: among the numbers of REGRESSION
MOVING = 0.5  # m/s and more


class Settings(BaseSettings):
    """As published, by default."""

    name: Literal["centerpoint"] = "centerpoint"
    heatmap_weight: float = 1.0
    box_weight: float = 0.25
    code_weights: tuple[float, ...] = (1, 1, 1, 1, 1, 1, 1, 1, 0.2, 0.2)  # numbers as in REGRESSION
    # Share of the headings' loss that tells front from back; the rest takes the opposite heading for right too. With 1,
    # as published, a heading in doubt between both becomes neither: the mean of a sine and its negative is 0.
    facing: float = Field(1.0, ge=0, le=1)
    # Factor on the velocity's loss of what moves. Most cars are parked, so that in doubt the guess that is least wrong
    # on average is that a car stands.
    moving_weight: float = Field(1.0, ge=0)
    min_overlap: float = 0.1  # of a box with the truth, anywhere in the Gaussian around a centre
    min_radius: int = 2  # cells

    def build(self, head: CenterPointHead) -> Criterion:
        return Criterion(self, head.grid, head.labels)


class Criterion:
    """Outputs and one Boxes3D a frame -> for each group of classes a heatmap and a box term."""

    def __init__(self, settings: Settings, grid: BevGrid, groups: list[list[int]]) -> None:
        self.settings, self.grid, self.groups = settings, grid, groups
        self.names = tuple(f"{term}_{group}" for group in range(len(groups)) for term in ("heatmap", "box"))

    def __call__(self, outputs: Outputs, truth: list[Boxes3D]) -> list[Term]:
        settings = self.settings
        device = outputs.heatmap.device
        heat = heatmap_targets(truth, self.grid, settings.min_overlap, settings.min_radius, device)
        frames = np.repeat(np.arange(len(truth)), [len(boxes) for boxes in truth])
        labels = np.concatenate([boxes.labels for boxes in truth])
        cells = np.concatenate([center_cells(boxes, self.grid) for boxes in truth]).astype(int)
        target = torch.from_numpy(np.concatenate([regression_target(boxes, self.grid) for boxes in truth]))
        terms = []
        for group, own in enumerate(self.groups):
            total = settings.heatmap_weight * gaussian_focal_sum(outputs.heatmap[:, own], heat[:, own])
            rows = np.flatnonzero(np.isin(labels, own))
            place = torch.from_numpy(np.column_stack([frames, cells])[rows]).to(device)
            terms.append(Term(total, float((heat[:, own] == 1).sum())))
            terms.append(self._box_term(outputs, group, place, target[rows].to(outputs.offset)))
        return terms

    def _box_term(self, outputs: Outputs, group: int, place: Tensor, target: Tensor) -> Term:
        """Of one group's objects: the frame and cell they are at (M, 3), and what the head should say there (M, 10)."""
        frame, x, y = place.T
        predicted = torch.cat([getattr(outputs, name)[frame, group, :, x, y] for name in REGRESSION], dim=1)
        weights, facing = target.new_tensor(self.settings.code_weights).expand_as(target).clone(), self.settings.facing
        moving = target[:, VELOCITY].norm(dim=1) >= MOVING
        weights[moving, VELOCITY] *= self.settings.moving_weight
        loss = facing * l1_sum(predicted, target, weights)
        if facing < 1:
            loss = loss + (1 - facing) * l1_sum(predicted, nearer_heading(predicted, target), weights)
        return Term(self.settings.box_weight * loss, len(target))


def nearer_heading(predicted: Tensor, target: Tensor) -> Tensor:
    """The targets (M, 10), headings turned by half where what is predicted (M, 10) is nearer to that."""
    opposite = (predicted[:, HEADING] * target[:, HEADING]).sum(dim=1) < 0
    turned = target.clone()
    turned[opposite, HEADING] *= -1
    return turned


def regression_target(boxes: Boxes3D, grid: BevGrid) -> np.ndarray:
    """What the head should say at each object's cell (M, 10), in the order of REGRESSION; unknown velocities NaN."""
    place = center_cells(boxes, grid)
    columns = (place - np.floor(place), boxes.centers[:, 2], np.log(boxes.sizes))
    return np.column_stack([*columns, np.sin(boxes.yaws), np.cos(boxes.yaws), boxes.velocities]).astype(np.float64)
