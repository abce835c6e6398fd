"""Boxes looked at in the full images: what they are, and which of their two ends is the front.

LiDAR finds and measures things well and tells a bus from a truck, or a front from a back, badly; cameras the reverse.
So each found box is cut out of the image that shows it best, and a small image network says what it is, given what the
detector took it for. Frustum and region-wise fusion in the manner of Chen et al., "MV3D", CVPR 2017, with the image as
second opinion as in Pang et al., "CLOCs", IROS 2020: without a camera, or where none sees a box, it stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.looks import Looks, looks_at
from perception.model.image_backbones.efficientnet_lite import Settings as BackboneSettings
from perception.nuscenes import CAMERAS
from perception.ops.nms import rotated_nms
from perception.types import Boxes3D, Frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet, RGB, 0-255
GEOMETRY = 12  # numbers about a box and its view, beside the label it came with
AT_ONCE = 32  # views: more leave the processor's caches


class Settings(BaseSettings):
    """What is looked at, and how much the second opinion counts."""

    name: Literal["appearance"] = "appearance"
    cameras: tuple[str, ...] = CAMERAS  # any may be missing
    size: int = Field(64, ge=16)  # px, of a view
    margin: float = Field(0.15, ge=0)  # around the box, as part of its side
    out_stage: int = Field(4, ge=0, le=6)  # of EfficientNet-Lite0, the last that is used
    hidden: int = 128
    min_score: float = 0.03  # boxes below it aren't looked at
    max_boxes: int = 200  # looked at a frame, the best
    weight: float = Field(0.7, ge=0, le=1)  # of the second opinion's logarithm in the score
    second_label: float = 0.15  # other classes at least as probable are handed on too
    standing: float | None = None  # m/s: faster boxes keep their heading, which a `motion` refiner before knows better
    max_overlap: float = 0.2  # of two boxes of a class that overlap more the worse one goes

    def build(self, classes: tuple[str, ...]) -> Appearance:
        return Appearance(self, classes)


class Appearance(nn.Module):
    """Views (K, 3, S, S) with what is known of their boxes -> logits of classes and background, and of facing."""

    def __init__(self, settings: Settings, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        self.backbone = BackboneSettings(out_stages=(settings.out_stage,), pretrained="efficientnet_lite0").build()
        places = -(-settings.size // self.backbone.strides[0])  # a side: which end is the front depends on where it is
        width = self.backbone.out_channels[0] * places**2
        self.look = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, settings.hidden), nn.ReLU(inplace=True))
        known = len(classes) + GEOMETRY
        self.judge = nn.Sequential(nn.Linear(settings.hidden + known, settings.hidden), nn.ReLU(inplace=True))
        self.kind = nn.Linear(settings.hidden, len(classes) + 1)  # the last is background
        self.facing = nn.Linear(settings.hidden, 2)

    def load_pretrained(self) -> None:
        """Start from ImageNet's weights."""
        self.backbone.load_pretrained()

    def forward(self, views: Tensor, known: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        """views (K, 3, S, S) normalised; known (K, classes + GEOMETRY); heading (K, 2), cosine and sine of the box's
        yaw counted from the line of sight -> (K, classes + 1), and (K,): positive where the heading is right."""
        seen = self.look(self.backbone(views)[0].flatten(1))
        judged = self.judge(torch.cat([seen, known], dim=1))
        return self.kind(judged), (self.facing(judged) * heading).sum(dim=1)

    def example(self, count: int, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random inputs of `forward`."""
        size, known = self.settings.size, len(self.classes) + GEOMETRY
        shapes = ((count, 3, size, size), (count, known), (count, 2))
        return tuple(torch.randn(*shape, generator=chance) for shape in shapes)

    @torch.inference_mode()
    def refine(self, frame: Frame, boxes: Boxes3D) -> Boxes3D:
        """The boxes with labels, scores and headings as the cameras see them."""
        settings = self.settings
        seen, looks = looks_at_best(frame, boxes, settings, settings.max_boxes, settings.size, settings.margin)
        if not len(seen):
            return boxes
        kind, facing = self._judged(boxes.select(seen), looks)
        unseen = np.setdiff1d(np.arange(len(boxes)), seen)
        return self._joined(boxes.select(unseen), boxes.select(seen), kind, facing)

    def _judged(self, boxes: Boxes3D, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (K, classes + 1), and facing logits (K,)."""
        known, heading = (torch.from_numpy(array) for array in what_is_known(boxes, looks))
        device = self.kind.weight.device
        parts = []
        for start in range(0, len(known), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            views = normalised(torch.from_numpy(looks.images[part]).to(device))
            kind, facing = self(views, known[part].to(device), heading[part].to(device))
            parts.append((kind.float().softmax(dim=1).cpu(), facing.float().cpu()))
        return tuple(torch.cat(columns).numpy() for columns in zip(*parts, strict=True))

    def _joined(self, unseen: Boxes3D, seen: Boxes3D, kind: np.ndarray, facing: np.ndarray) -> Boxes3D:
        wrong = facing < 0
        if self.settings.standing is not None:
            wrong &= ~(np.linalg.norm(seen.velocities, axis=1) > self.settings.standing)
        yaws = np.where(wrong, (seen.yaws + 2 * math.pi) % (2 * math.pi) - math.pi, seen.yaws).astype(seen.yaws.dtype)
        seen = replace(seen, yaws=yaws)
        weight, parts = self.settings.weight, [unseen]
        best = kind[:, :-1].argmax(axis=1)
        for label in range(len(self.classes)):
            rows = np.nonzero((best == label) | (kind[:, label] >= self.settings.second_label))[0]
            scores = seen.scores[rows] ** (1 - weight) * kind[rows, label] ** weight
            labelled = seen.select(rows)
            parts.append(
                replace(labelled, labels=np.full(len(rows), label, np.int64), scores=scores.astype(seen.scores.dtype))
            )
        joined = Boxes3D.joined(parts)
        return joined.select(_best_of_each(joined, self.settings.max_overlap))


def looks_at_best(
    frame: Frame, boxes: Boxes3D, settings: Settings, most: int, size: int, margin: float
) -> tuple[np.ndarray, Looks]:
    """Of the best boxes, `most` of them, those that a camera sees: their rows (K,), best first, and the views."""
    order = np.argsort(-boxes.scores, kind="stable")
    order = order[boxes.scores[order] >= settings.min_score][:most]
    cameras = {name: frame.cameras[name] for name in settings.cameras if name in frame.cameras}
    looks = looks_at(boxes.select(order), cameras, size, margin)
    return order[looks.rows], looks


def _best_of_each(boxes: Boxes3D, max_overlap: float) -> np.ndarray:
    """Rows that stay when of two overlapping boxes of a class the worse one goes, best first."""
    kept = []
    for label in np.unique(boxes.labels):
        rows = np.nonzero(boxes.labels == label)[0]
        flat = np.concatenate([boxes.centers[rows, :2], boxes.sizes[rows, :2], boxes.yaws[rows, None]], axis=1)
        scores = torch.from_numpy(boxes.scores[rows].astype(np.float32))
        stay = rotated_nms(torch.from_numpy(flat.astype(np.float32)), scores, max_overlap)
        kept.append(rows[stay.numpy()])
    rows = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return rows[np.argsort(-boxes.scores[rows], kind="stable")]


def what_is_known(boxes: Boxes3D, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Of K boxes and their views: (K, classes + GEOMETRY), and the heading counted from the line of sight (K, 2)."""
    count = len(boxes)
    label = np.zeros((count, len(boxes.class_names)), np.float32)
    label[np.arange(count), boxes.labels] = 1
    score = np.clip(boxes.scores, 1e-4, 1 - 1e-4)
    angle = boxes.yaws - looks.bearing
    columns = [
        np.log(score / (1 - score)) / 3,
        *np.log(np.maximum(boxes.sizes, 0.05)).T,
        np.linalg.norm(boxes.centers[:, :2], axis=1) / 30,
        boxes.centers[:, 2] + 1,
        np.linalg.norm(np.nan_to_num(boxes.velocities), axis=1) / 5,
        np.log(looks.pixels / 50),
        looks.visible,
        np.cos(2 * angle),
        np.abs(np.sin(angle)),
        np.abs(np.cos(angle)),
    ]
    known = np.concatenate([label, np.stack(columns, axis=1).astype(np.float32)], axis=1)
    return known, np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def normalised(images: Tensor) -> Tensor:
    """Views (K, S, S, 3) uint8 -> (K, 3, S, S) float32."""
    mean, std = (images.new_tensor(values, dtype=torch.float32) for values in (MEAN, STD))
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
