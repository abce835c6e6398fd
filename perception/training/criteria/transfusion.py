"""What the TransFusion head learns: the heatmap its queries come from, and each query's class and box.

Bai et al., CVPR 2022, in mmdetection3d's numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from perception.config import Settings as BaseSettings
from perception.model.grid import BevGrid
from perception.model.heads.transfusion import REGRESSION, Outputs, TransFusionHead
from perception.training.assignment import CostSettings, assign
from perception.training.heatmaps import center_cells, heatmap_targets
from perception.training.losses import Term, focal_sum, gaussian_focal, l1
from perception.types import Boxes3D


class Settings(BaseSettings):
    """As published, by default."""

    name: Literal["transfusion"] = "transfusion"
    heatmap_weight: float = 1.0
    class_weight: float = 1.0
    box_weight: float = 0.25
    code_weights: tuple[float, ...] = (1, 1, 1, 1, 1, 1, 1, 1, 0.2, 0.2)  # numbers as in REGRESSION
    min_overlap: float = 0.1  # of a box with the truth, anywhere in the Gaussian around a centre
    min_radius: int = 2  # cells
    costs: CostSettings = CostSettings()  # of the assignment of queries to objects

    def build(self, head: TransFusionHead) -> Criterion:
        return Criterion(self, head.grid)


class Criterion:
    """Outputs and one Boxes3D a frame -> the heatmap, class and box terms."""

    names = ("heatmap", "class", "box")

    def __init__(self, settings: Settings, grid: BevGrid) -> None:
        self.settings, self.grid = settings, grid

    def __call__(self, outputs: Outputs, truth: list[Boxes3D]) -> list[Term]:
        settings = self.settings
        device = outputs.heatmap.device
        heat = heatmap_targets(truth, self.grid, settings.min_overlap, settings.min_radius, device)
        codes = torch.cat([getattr(outputs, name) for name in REGRESSION], dim=1).transpose(1, 2)  # (B, P, 10)
        classes = torch.zeros_like(outputs.logits)  # (B, classes, P); a query without an object is of none
        predicted, wanted = [], []
        for frame, boxes in enumerate(truth):
            queries, objects = self.match(codes[frame], outputs.logits[frame].T, boxes)
            classes[frame, boxes.labels[objects], queries] = 1
            predicted.append(codes[frame, queries])
            wanted.append(regression_target(boxes.select(objects), self.grid))
        target = torch.from_numpy(np.concatenate(wanted)).to(codes)
        heat_total = settings.heatmap_weight * gaussian_focal(outputs.heatmap, heat).sum()
        class_total = settings.class_weight * focal_sum(outputs.logits, classes)
        box_losses = l1(torch.cat(predicted), target, target.new_tensor(settings.code_weights))
        return [
            Term(heat_total, float((heat == 1).sum())),
            Term(class_total, len(target)),
            Term(settings.box_weight * box_losses.sum(), len(target)),
        ]

    @torch.no_grad()
    def match(self, codes: Tensor, logits: Tensor, boxes: Boxes3D) -> tuple[np.ndarray, np.ndarray]:
        """One frame's queries (codes (P, 10), logits (P, classes)) and the objects they are for."""
        columns = (boxes.centers, boxes.sizes, boxes.yaws)
        true_boxes = torch.from_numpy(np.column_stack(columns)).to(codes.device, torch.float64)
        labels = torch.from_numpy(boxes.labels).to(codes.device)
        return assign(self.boxes(codes), logits, true_boxes, labels, self.grid, self.settings.costs)

    def boxes(self, codes: Tensor) -> Tensor:
        """Predicted boxes (P, 7): x, y, z, length, width, height [m], yaw."""
        lower = codes.new_tensor([self.grid.lower_x, self.grid.lower_y])
        center = codes[:, :2] * self.grid.cell + lower
        yaw = torch.atan2(codes[:, 6:7], codes[:, 7:8])
        return torch.cat([center, codes[:, 2:3], codes[:, 3:6].exp(), yaw], dim=1)


def regression_target(boxes: Boxes3D, grid: BevGrid) -> np.ndarray:
    """What the matched queries should say (M, 10), in the order of REGRESSION; unknown velocities NaN."""
    columns = (center_cells(boxes, grid), boxes.centers[:, 2], np.log(boxes.sizes))
    return np.column_stack([*columns, np.sin(boxes.yaws), np.cos(boxes.yaws), boxes.velocities]).astype(np.float64)
