"""Where exactly found boxes are, how large, what, and which end is the front, by the points in and around each.

A detector's map has cells of most of a metre. Here the points around each found box are seen as they are, by how far
each is from the box's six faces, and a small network says how the box must move, stretch and turn to fit: the second
stage of Shi et al., "PointRCNN", CVPR 2019, in the form of Li et al., "LiDAR R-CNN", CVPR 2021, whose distances to the
faces tell the network how large the box is that it corrects. The net over points is Qi et al., "PointNet", CVPR 2017.
Where a box moves, older points are brought to where they would be now.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.boxes import (
    best_of_each,
    best_rows,
    judged_again,
    label_columns,
    score_logits,
    turned_round,
)
from perception.ops.perceptron import Perceptron
from perception.ops.rows import Layer, rows_dtype
from perception.ops.surroundings import gather_surroundings
from perception.types import Boxes3D, Frame

POINT = 12  # numbers about a point, see `seen_from_faces`
GEOMETRY = 12  # numbers about a box, beside the label it came with
FIT = 7  # how it must change: shift along, across and up [m], stretch of three sides (logarithms), turn [rad]
AT_ONCE = 32  # boxes
LEAST_M = 0.05  # a side that is shorter is taken to be so long
NEWEST_S = 0.03  # points that are no older are the latest cloud's


class Settings(BaseSettings):
    """Which boxes are looked at, how many of the points around them, and what is changed."""

    name: Literal["placement"] = "placement"
    min_score: float = 0.1  # boxes below it aren't looked at
    max_boxes: int = Field(128, ge=1)  # looked at a frame, the best
    points: int = Field(128, ge=1)  # seen of a box, evenly drawn if there are more
    least_points: int = Field(3, ge=1)  # boxes with fewer stay as they are
    margin_m: float = Field(0.6, ge=0)  # seen beyond each face,
    margin_share: float = Field(0.15, ge=0)  # and so much of the side's length
    above_m: float = 0.1  # points count from above the box's bottom, not to be the road's
    channels: tuple[int, ...] = (32, 64, 128)  # of the net over points
    hidden: int = 192
    weight: float = Field(0.7, ge=0, le=1)  # of the second opinion's logarithm in the score
    second_label: float = 0.1  # other classes at least as probable are handed on too
    standing: float | None = None  # m/s: faster boxes keep their heading, which a `motion` refiner before knows better
    max_overlap: float = 0.2  # of two boxes of a class that overlap more the worse one goes

    def build(self, classes: tuple[str, ...]) -> Placement:
        return Placement(self, classes)


@dataclass(frozen=True)
class Surroundings:
    """Points around K boxes, P of each, in the box's own axes: along its heading, across to the left, up."""

    rows: np.ndarray  # (K,) int64, the box
    points: np.ndarray  # (K, P, 5) float32: x, y, z [m] from its middle, intensity, age [s]; zeros behind the last
    counts: np.ndarray  # (K,) int64, how many of the P there are


class Placement(nn.Module):
    """Points around boxes, with what is known of these -> how they must change, where their front is, what they are."""

    def __init__(self, settings: Settings, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        widths = (POINT, *settings.channels)
        self.point = nn.Sequential(*(layer for pair in pairwise(widths) for layer in _layers(*pair)))
        known = len(classes) + GEOMETRY
        self.judge = nn.Sequential(
            *_layers(widths[-1] + known, settings.hidden),
            nn.Dropout(0.1),
            *_layers(settings.hidden, settings.hidden),
        )
        self.fit = nn.Linear(settings.hidden, FIT)
        self.facing = nn.Linear(settings.hidden, 1)
        self.kind = nn.Linear(settings.hidden, len(classes) + 1)  # the last is background
        self._at_once: Callable[[torch.dtype], tuple[Perceptron, Perceptron]] | None = None

    def forward(self, points: Tensor, there: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """points (K, P, POINT), see `seen_from_faces`; there (K, P) bool; known (K, classes + GEOMETRY)
        -> (K, FIT); (K,), positive where the heading is right; (K, classes + 1), logits."""
        dtype = rows_dtype(known)
        if self._at_once is not None and dtype is not None:
            point, judge = self._at_once(dtype)
            highest = point.highest(points[there], there.sum(dim=1))
            fit, facing, kind = judge(torch.cat([highest, known], dim=1)).split([FIT, 1, len(self.classes) + 1], dim=1)
            return fit, facing[:, 0], kind
        each = self.point(points[there])
        every = each.new_zeros(*there.shape, each.shape[1])  # no point's are below zero
        every[there] = each
        judged = self.judge(torch.cat([every.amax(dim=1), known], dim=1))
        return self.fit(judged), self.facing(judged)[:, 0], self.kind(judged)

    def finalise(self) -> None:
        """For weights that don't change any more, their norms folded in."""
        point, judge = ([m for m in layers if isinstance(m, nn.Linear)] for layers in (self.point, self.judge))
        said = [self.fit, self.facing, self.kind]
        last = Layer(torch.cat([layer.weight for layer in said]), torch.cat([layer.bias for layer in said]))

        @cache
        def networks(dtype: torch.dtype) -> tuple[Perceptron, Perceptron]:
            first, then = ([Layer(layer.weight, layer.bias) for layer in layers] for layers in (point, judge))
            return Perceptron(first, True, dtype), Perceptron([*then, last], False, dtype)

        self._at_once = networks

    @torch.inference_mode()
    def refine(self, frame: Frame, boxes: Boxes3D) -> Boxes3D:
        """The boxes, moved, stretched and turned to the points around them, and called what these look like."""
        settings = self.settings
        if frame.cloud is None:
            return boxes
        looked_at = best_rows(boxes, settings.min_score, settings.max_boxes)
        around = surroundings_of(frame.cloud.points, boxes, looked_at, settings)
        enough = around.counts >= settings.least_points
        if not enough.any():
            return boxes
        around = Surroundings(around.rows[enough], around.points[enough], around.counts[enough])
        fit, facing, kind = self._judged(around, boxes.select(around.rows))
        unseen = np.setdiff1d(np.arange(len(boxes)), around.rows)
        moved = fitted(boxes.select(around.rows), fit).with_front(settings.name, facing)
        moved = turned_round(moved, facing, settings.standing)
        moved = judged_again(moved, kind, settings.weight, settings.second_label)
        joined = Boxes3D.joined([boxes.select(unseen), moved])
        return joined.select(best_of_each(joined, settings.max_overlap))

    def _judged(self, around: Surroundings, boxes: Boxes3D) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How each must change (K, FIT), facing logits (K,), and probabilities (K, classes + 1)."""
        device, count = self.facing.weight.device, len(boxes)
        known, sizes = known_of(boxes, around.counts), boxes.sizes.astype(np.float32)
        fit, facing = np.empty((count, FIT), np.float32), np.empty(count, np.float32)
        kind = np.empty((count, len(self.classes) + 1), np.float32)
        order = np.argsort(around.counts, kind="stable")  # boxes with as many points side by side: few places are empty
        for start in range(0, count, AT_ONCE):
            part = order[start : start + AT_ONCE]
            most = around.counts[part[-1]]
            points, extent, about, counts = (
                torch.from_numpy(array[part]).to(device)
                for array in (around.points[:, :most], sizes, known, around.counts)
            )
            there = torch.arange(most, device=device) < counts[:, None]
            said = self(seen_from_faces(points, extent), there, about)
            fit[part], facing[part] = (values.float().cpu().numpy() for values in said[:2])
            kind[part] = said[2].float().softmax(dim=1).cpu().numpy()
        return fit, facing, kind


def _layers(width: int, wanted: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, wanted), nn.BatchNorm1d(wanted), nn.ReLU(inplace=True)


def seen_from_faces(points: Tensor, sizes: Tensor) -> Tensor:
    """Points (K, P, 5) in the axes of boxes with these sizes (K, 3) -> (K, P, POINT): how far each is from the six
    faces [m], where that is in parts of the box, its intensity, its age, and whether it is new."""
    place, half, intensity, age = points[..., :3], sizes[:, None] / 2, points[..., 3:4], points[..., 4:5]
    part = place / half.clamp(min=LEAST_M / 2)
    return torch.cat([place - half, place + half, part, intensity / 255, age * 2, (age <= NEWEST_S).to(age)], dim=2)


def known_of(boxes: Boxes3D, counts: np.ndarray) -> np.ndarray:
    """What is known of K boxes with so many points around them: (K, classes + GEOMETRY) float32."""
    sight = boxes.yaws - np.arctan2(boxes.centers[:, 1], boxes.centers[:, 0])
    speed = np.linalg.norm(np.nan_to_num(boxes.velocities), axis=1)
    columns = [
        score_logits(boxes) / 3,
        *np.log(np.maximum(boxes.sizes, LEAST_M)).T,
        np.linalg.norm(boxes.centers[:, :2], axis=1) / 30,
        boxes.centers[:, 2] + 1,
        speed / 5,
        np.log1p(counts) / 5,
        np.cos(sight),
        np.sin(sight),
        np.abs(np.cos(sight)),
        np.abs(np.sin(sight)),
    ]
    return np.concatenate([label_columns(boxes), np.stack(columns, axis=1).astype(np.float32)], axis=1)


def half_extent(sizes: np.ndarray, settings: Settings) -> np.ndarray:
    """How far from the middle of boxes of these sizes (K, 3) points are seen (K, 3) [m]."""
    return sizes / 2 * (1 + 2 * settings.margin_share) + settings.margin_m


def surroundings_of(points: np.ndarray, boxes: Boxes3D, rows: np.ndarray, settings: Settings) -> Surroundings:
    """The points (N, 5) of a cloud around those boxes; older ones where a box's velocity has brought them."""
    chosen = boxes.select(rows)
    numbers = [
        chosen.centers,
        np.stack([np.cos(chosen.yaws), np.sin(chosen.yaws)], axis=1),
        np.nan_to_num(chosen.velocities),
        half_extent(chosen.sizes, settings),
        settings.above_m - chosen.sizes[:, 2:] / 2,
    ]
    wanted = torch.from_numpy(np.concatenate(numbers, axis=1).astype(np.float64))
    seen, counts = gather_surroundings(torch.from_numpy(points), wanted, settings.points)
    return Surroundings(np.asarray(rows, np.int64), seen.numpy(), counts.numpy())


def fitted(boxes: Boxes3D, fit: np.ndarray) -> Boxes3D:
    """The boxes changed by (K, FIT)."""
    shift = turned(fit[:, :3], boxes.yaws)
    yaws = (boxes.yaws + fit[:, 6] + math.pi) % (2 * math.pi) - math.pi
    return replace(
        boxes.headed(yaws.astype(boxes.yaws.dtype)),
        centers=(boxes.centers + shift).astype(boxes.centers.dtype),
        sizes=(boxes.sizes * np.exp(fit[:, 3:6])).astype(boxes.sizes.dtype),
    )


def turned(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Vectors (K, 3), each turned about z by its angle (K,) [rad]."""
    cosine, sine = np.cos(angles), np.sin(angles)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine, vectors[:, 2]], axis=1)
