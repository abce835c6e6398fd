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
from perception.training.losses import Term, gaussian_focal, l1
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
    # as published, a heading in doubt between both becomes neither: the mean of a sine and its negative is 0. With a
    # half or less, one that is wrong has no reason to turn round.
    facing: float = Field(1.0, gt=0.5, le=1)
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
        self.group_of = np.empty(sum(map(len, groups)), np.int64)  # of a label
        for group, labels in enumerate(groups):
            self.group_of[labels] = group
        self.names = tuple(f"{term}_{group}" for group in range(len(groups)) for term in ("heatmap", "box"))

    def __call__(self, outputs: Outputs, truth: list[Boxes3D]) -> list[Term]:
        settings = self.settings
        heat = heatmap_targets(truth, self.grid, settings.min_overlap, settings.min_radius, outputs.heatmap.device)
        focal = gaussian_focal(outputs.heatmap, heat).sum(dim=(0, 2, 3))  # all groups at once: a GPU waits for launches
        peaks = (heat == 1).sum(dim=(0, 2, 3)).tolist()
        boxes, counts = self._box_sums(outputs, truth)
        terms = []
        for group, labels in enumerate(self.groups):
            terms.append(Term(settings.heatmap_weight * focal[labels].sum(), float(sum(peaks[k] for k in labels))))
            terms.append(Term(settings.box_weight * boxes[group], counts[group]))
        return terms

    def _box_sums(self, outputs: Outputs, truth: list[Boxes3D]) -> tuple[Tensor, list[float]]:
        """For each group, how far off its objects' boxes are (G,), and how many objects it has."""
        device = outputs.heatmap.device
        frames = np.repeat(np.arange(len(truth)), [len(boxes) for boxes in truth])
        cells = np.concatenate([center_cells(boxes, self.grid) for boxes in truth]).astype(int)
        groups = self.group_of[np.concatenate([boxes.labels for boxes in truth])]
        target = np.concatenate([regression_target(boxes, self.grid) for boxes in truth])
        frame, group, x, y = torch.from_numpy(np.column_stack([frames, groups, cells])).to(device).T
        predicted = torch.cat([getattr(outputs, name)[frame, group, :, x, y] for name in REGRESSION], dim=1)  # (M, 10)
        rows = self._box_losses(predicted, torch.from_numpy(target).to(predicted))
        sums = rows.new_zeros(len(self.groups)).index_add(0, group, rows)
        return sums, np.bincount(groups, minlength=len(self.groups)).astype(float).tolist()

    def _box_losses(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The loss of each object (M,); predicted and target (M, 10), in the order of REGRESSION."""
        weights, facing = target.new_tensor(self.settings.code_weights).repeat(len(target), 1), self.settings.facing
        moving = target[:, VELOCITY].norm(dim=1) >= MOVING
        weights[:, VELOCITY] *= torch.where(moving, self.settings.moving_weight, 1.0)[:, None]
        losses = facing * l1(predicted, target, weights)
        if facing < 1:
            losses = losses + (1 - facing) * l1(predicted, nearer_heading(predicted, target), weights)
        return losses


def nearer_heading(predicted: Tensor, target: Tensor) -> Tensor:
    """The targets (M, 10), headings turned by half where what is predicted (M, 10) is nearer to that."""
    opposite = (predicted[:, HEADING] * target[:, HEADING]).sum(dim=1) < 0
    turned = target.clone()
    turned[:, HEADING] *= torch.where(opposite, -1.0, 1.0)[:, None]
    return turned


def regression_target(boxes: Boxes3D, grid: BevGrid) -> np.ndarray:
    """What the head should say at each object's cell (M, 10), in the order of REGRESSION; unknown velocities NaN."""
    place = center_cells(boxes, grid)
    columns = (place - np.floor(place), boxes.centers[:, 2], np.log(boxes.sizes))
    return np.column_stack([*columns, np.sin(boxes.yaws), np.cos(boxes.yaws), boxes.velocities]).astype(np.float64)
