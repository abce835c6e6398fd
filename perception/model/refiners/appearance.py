"""Boxes looked at in the full images: what they are, which of their two ends is the front, and how far they are.

LiDAR finds and measures things well and tells a bus from a truck, or a front from a back, badly; cameras the reverse.
So each found box is cut out of the image that shows it best, and a small image network says what it is, given what the
detector took it for. Frustum and region-wise fusion in the manner of Chen et al., "MV3D", CVPR 2017, with the image as
second opinion as in Pang et al., "CLOCs", IROS 2020: without a camera, or where none sees a box, it stays as it is.

Boxes of a frame without a point were found by the cameras, in small images. Those are moved, too: a box that is too far
away has its thing's wheels below its bottom in the full image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.looks import Looks, looks_at
from perception.model.boxes import (
    HEAD,
    best_of_each,
    best_rows,
    judged_again,
    label_columns,
    score_logits,
    turned_round,
)
from perception.model.image_backbones.efficientnet_lite import Settings as BackboneSettings
from perception.nuscenes import CAMERAS
from perception.ops import pixels
from perception.types import Boxes3D, Frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet, RGB, 0-255
GEOMETRY = 13  # numbers about a box and its view, beside the label it came with
STEP = 8  # images
AT_ONCE = 32  # views: more leave the processor's caches
PLACE = (0.1, 0.5)  # units of what is said about a place: logarithm of the distance, m to the left


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
    other_label: float = Field(1.0, gt=0, le=1)  # part of a score left for other labels than those that points gave
    standing: float | None = None  # m/s: faster boxes keep their heading, which a `motion` refiner before knows better
    measured: bool = True  # boxes of frames with points are the LiDAR's, and stay where they are
    max_overlap: float = 0.2  # of two boxes of a class that overlap more the worse one goes

    def build(self, classes: tuple[str, ...]) -> Appearance:
        return Appearance(self, classes)


class Appearance(nn.Module):
    """Views (K, 3, S, S) with what is known of their boxes -> what they are, which way they face, where they are."""

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
        self.facing = nn.Linear(settings.hidden, 3)  # the front's direction, and how far to trust the box's heading
        self.place = nn.Linear(settings.hidden, 2)

    def load_pretrained(self) -> None:
        """Start from ImageNet's weights."""
        self.backbone.load_pretrained()

    def forward(self, views: Tensor, known: Tensor, heading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """views (K, 3, S, S) normalised; known (K, classes + GEOMETRY); heading (K, 2), cosine and sine of the box's
        yaw counted from the line of sight -> logits of classes and background (K, classes + 1); (K, 2), logits that
        add up to a positive one where the heading is right, of the view and of how far headings as found are to be
        trusted; (K, 2), how much farther from the camera, a logarithm, and to the left [m] the thing is.
        """
        return self.opinion(self.seen(views), known, heading)

    def seen(self, views: Tensor) -> Tensor:
        """What the image network says of views (K, 3, S, S): (K, hidden)."""
        return self.look(self.backbone(views)[0].flatten(1))

    def seen_in(self, images: Tensor) -> Tensor:
        """The same of views (K, S, S, 3) uint8."""
        return self.look(self.backbone.of_pixels(images, MEAN, STD)[0].flatten(1))

    def opinion(self, seen: Tensor, known: Tensor, heading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rest of `forward`, which costs next to nothing."""
        judged = self.judge(torch.cat([seen, known], dim=1))
        facing = self.facing(judged)
        ahead = torch.stack([(facing[:, :2] * heading).sum(dim=1), facing[:, 2]], dim=1)
        return self.kind(judged), ahead, self.place(judged) * judged.new_tensor(PLACE)

    def example(self, count: int, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random inputs of `forward`."""
        size, known = self.settings.size, len(self.classes) + GEOMETRY
        shapes = ((count, 3, size, size), (count, known), (count, 2))
        return tuple(torch.randn(*shape, generator=chance) for shape in shapes)

    @torch.inference_mode()
    def refine(self, frame: Frame, boxes: Boxes3D) -> Boxes3D:
        """The boxes with labels, scores and headings, without points also with places, as the cameras see them."""
        settings = self.settings
        seen, looks = looks_at_best(frame, boxes, settings, settings.max_boxes, settings.size, settings.margin)
        if not len(seen):
            return boxes
        looked_at, measured = boxes.select(seen), is_measured(frame, settings)
        kind, facing, place = self._judged(looked_at, looks, measured)
        if not measured:
            looked_at = moved_in_sight(looked_at, looks.origin, place)
        unseen = np.setdiff1d(np.arange(len(boxes)), seen)
        return self._joined(boxes.select(unseen), looked_at, kind, facing, settings.other_label if measured else 1.0)

    def _judged(self, boxes: Boxes3D, looks: Looks, measured: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities (K, classes + 1), facing logits (K, 2), and places (K, 2)."""
        device = self.kind.weight.device
        known, heading = (torch.from_numpy(array).to(device) for array in what_is_known(boxes, looks, measured))
        geometry = np.concatenate([boxes.centers, boxes.sizes, boxes.yaws[:, None]], axis=1)
        # A box that may be two things is looked at once.
        _, first, same = np.unique(geometry, axis=0, return_index=True, return_inverse=True)
        images = looks.images[first]
        parts = [filled_up(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
        seen = torch.cat([self.seen_in(torch.from_numpy(part).to(device)) for part in parts])
        kind, facing, place = self.opinion(seen[torch.from_numpy(same.reshape(-1)).to(device)], known, heading)
        return tuple(values.float().cpu().numpy() for values in (kind.float().softmax(dim=1), facing, place))

    def _joined(
        self, unseen: Boxes3D, seen: Boxes3D, kind: np.ndarray, facing: np.ndarray, other_label: float
    ) -> Boxes3D:
        others = [logits for name, logits in seen.fronts.items() if name != HEAD]  # for the head, there is the trust
        seen = seen.with_front(self.settings.name, facing[:, 0])
        seen = turned_round(seen, facing.sum(axis=1) + sum(others), self.settings.standing)
        seen = judged_again(seen, kind, self.settings.weight, self.settings.second_label, other_label)
        joined = Boxes3D.joined([unseen, seen])
        return joined.select(best_of_each(joined, self.settings.max_overlap))


def looks_at_best(
    frame: Frame, boxes: Boxes3D, settings: Settings, most: int, size: int, margin: float
) -> tuple[np.ndarray, Looks]:
    """Of the best boxes, `most` of them, those that a camera sees: their rows (K,), best first, and the views."""
    order = best_rows(boxes, settings.min_score, most)
    cameras = {name: frame.cameras[name] for name in settings.cameras if name in frame.cameras}
    looks = looks_at(boxes.select(order), cameras, size, margin)
    return order[looks.rows], looks


def is_measured(frame: Frame, settings: Settings) -> bool:
    """Whether the frame's boxes were found by points rather than by cameras."""
    return settings.measured and frame.cloud is not None and len(frame.cloud.points) > 0


def moved_in_sight(boxes: Boxes3D, origins: np.ndarray, place: np.ndarray) -> Boxes3D:
    """The boxes so much farther from where they are seen from (K, 2), and to the left: see Appearance.forward."""
    sight = boxes.centers[:, :2] - origins
    left = np.stack([-sight[:, 1], sight[:, 0]], axis=1) / np.linalg.norm(sight, axis=1, keepdims=True).clip(1e-6)
    centers = boxes.centers.copy()
    centers[:, :2] = origins + sight * np.exp(place[:, :1]) + left * place[:, 1:]
    return replace(boxes, centers=centers)


def what_is_known(boxes: Boxes3D, looks: Looks, measured: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of K boxes and their views: (K, classes + GEOMETRY), and the heading counted from the line of sight (K, 2)."""
    count = len(boxes)
    angle = boxes.yaws - looks.bearing
    columns = [
        score_logits(boxes) / 3,
        *np.log(np.maximum(boxes.sizes, 0.05)).T,
        np.linalg.norm(boxes.centers[:, :2], axis=1) / 30,
        boxes.centers[:, 2] + 1,
        np.linalg.norm(np.nan_to_num(boxes.velocities), axis=1) / 5,
        np.log(looks.pixels / 50),
        looks.visible,
        np.full(count, measured),
        np.cos(2 * angle),
        np.abs(np.sin(angle)),
        np.abs(np.cos(angle)),
    ]
    known = np.concatenate([label_columns(boxes), np.stack(columns, axis=1).astype(np.float32)], axis=1)
    return known, np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def filled_up(images: np.ndarray) -> np.ndarray:
    """Images (K, ...) and black ones, to a multiple of STEP: what computes convolutions prepares for each number."""
    return np.concatenate([images, np.zeros((-len(images) % STEP, *images.shape[1:]), images.dtype)])


def normalised(images: Tensor) -> Tensor:
    """Views (K, S, S, 3) uint8 -> (K, 3, S, S) float32."""
    return pixels.normalised(images, MEAN, STD)
