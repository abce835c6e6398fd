"""How perception/model/refiners/placement.py learns: points around found boxes, and what really is there.

Detectors know their training drives better than others, so half of the lessons are shown as of boxes found worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from perception.model.boxes import has_front
from perception.model.refiners.placement import (
    FIT,
    Placement,
    Settings,
    half_extent,
    known_of,
    seen_from_faces,
    surroundings_of,
    turned,
)
from perception.refining.lessons import LessonArrays, nearest_truth
from perception.refining.train import Course as BaseCourse
from perception.refining.train import Sums
from perception.refining.train import Training as BaseTraining
from perception.types import Boxes3D, Frame

ROOM = 2.0  # of what is seen around a box in lessons, against what the refiner sees: for boxes found worse
MORE = 1.5  # the same of the number of points
BENT = 0.2  # m, logarithm or rad: errors beyond count by their size, smaller ones by its square
NEAR_M = 0.3  # what counts as right, in the progress that is told


class Training(BaseTraining):
    """How it learns."""

    epochs: int = Field(8, ge=1)
    epoch_lessons: int = Field(200_000, ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(8e-3, gt=0)
    disturbed: float = Field(0.5, ge=0, le=1)  # part of the lessons shown as of boxes found worse, by:
    shift_m: float = Field(0.2, ge=0)  # deviation of the middle,
    shift_share: float = Field(0.03, ge=0)  # and more of it: as part of the box's side
    stretch: float = Field(0.1, ge=0)  # of the sides' logarithms
    turn: float = Field(0.06, ge=0)  # rad
    fit_weight: float = Field(4.0, ge=0)  # of the loss about the box, beside that about classes
    facing_weight: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)


@dataclass(frozen=True)
class Lessons(LessonArrays):
    """K found boxes and the points around them."""

    points: np.ndarray  # (K, P, 5) float16: x, y, z [m] in each box's own axes, intensity, age [s]
    counts: np.ndarray  # (K,) int64, how many of the P there are
    found: np.ndarray  # (K, 7) float32: center, size [m], yaw [rad]
    right: np.ndarray  # (K, 7) float32: the same as annotated; zeros for what is nothing
    speed: np.ndarray  # (K,) float32 [m/s], as found
    score: np.ndarray  # (K,) float32, as found
    label: np.ndarray  # (K,) int64, as found
    kind: np.ndarray  # (K,) int64, the class, or the number of classes for what is nothing


def lessons_of(frame: Frame, boxes: Boxes3D, settings: Settings) -> Lessons:
    """What a frame with truth teaches about the boxes found in it."""
    wider = settings.model_copy(
        update={
            "margin_m": settings.margin_m * ROOM,
            "margin_share": settings.margin_share * ROOM,
            "above_m": settings.above_m - settings.margin_m,
            "points": round(settings.points * MORE),
        }
    )
    points = frame.cloud.points if frame.cloud is not None else np.zeros((0, 5), np.float32)
    around = surroundings_of(points, boxes, np.nonzero(boxes.scores >= settings.min_score)[0], wider)
    seen = boxes.select(around.rows)
    nearest, there = nearest_truth(seen, frame.truth)
    right, kind = np.zeros((len(seen), 7), np.float32), np.full(len(seen), len(boxes.class_names))
    if there.any():
        right[there] = _numbers(frame.truth.boxes.select(nearest[there]))
        kind[there] = frame.truth.boxes.labels[nearest[there]]
    speed = np.linalg.norm(np.nan_to_num(seen.velocities), axis=1).astype(np.float32)
    score = seen.scores.astype(np.float32)
    return Lessons(
        around.points.astype(np.float16), around.counts, _numbers(seen), right, speed, score, seen.labels, kind
    )


def _numbers(boxes: Boxes3D) -> np.ndarray:
    return np.concatenate([boxes.centers, boxes.sizes, boxes.yaws[:, None]], axis=1).astype(np.float32)


class Course(BaseCourse):
    """Boxes as found and found worse, mirrored, turned round."""

    refiner: Placement
    lessons: Lessons
    settings: Training

    def kinds(self) -> np.ndarray:
        return self.lessons.kind

    def loss(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Sums]:
        lessons, settings, nothing = self.lessons, self.settings, len(self.refiner.classes)
        points, found, right = self._shown(rows, rng)
        points, there = _cropped(points, lessons.counts[rows], found, self.refiner.settings, rng)
        boxes = Boxes3D(
            found[:, :3],
            found[:, 3:6],
            found[:, 6],
            np.stack([lessons.speed[rows], np.zeros(len(rows), np.float32)], axis=1),
            lessons.score[rows],
            lessons.label[rows],
            self.refiner.classes,
        )
        known = known_of(boxes, there.sum(axis=1))
        faces = seen_from_faces(torch.from_numpy(points), torch.from_numpy(found[:, 3:6]))
        fit, facing, kind = self.refiner(faces, torch.from_numpy(there), torch.from_numpy(known))
        is_kind = torch.from_numpy(lessons.kind[rows])
        loss = F.cross_entropy(kind, is_kind, label_smoothing=settings.label_smoothing)
        sums = {"class right": ((kind.argmax(1) == is_kind).sum().item(), len(rows))}
        enough = there.sum(axis=1) >= self.refiner.settings.least_points
        thing = np.nonzero((lessons.kind[rows] < nothing) & enough)[0]
        if len(thing):
            wanted, fronted, ahead = (torch.from_numpy(a) for a in wanted_fit(found[thing], right[thing]))
            off = F.smooth_l1_loss(fit[thing], wanted, beta=BENT, reduction="none").sum(dim=1)
            loss = loss + settings.fit_weight * off.sum() / len(rows)
            apart = (fit.detach()[thing, :2] - wanted[:, :2]).norm(dim=1)
            sums["middle right"] = ((apart < NEAR_M).sum().item(), len(thing))
            sums["before"] = ((wanted[:, :2].norm(dim=1) < NEAR_M).sum().item(), len(thing))
            fronted &= torch.from_numpy(has_front(lessons.kind[rows[thing]], self.refiner.classes))
            if fronted.any():
                said = facing[thing][fronted]
                faced = F.binary_cross_entropy_with_logits(said, ahead[fronted].float(), reduction="sum")
                loss = loss + settings.facing_weight * faced / len(rows)
                sums["facing right"] = (((said > 0) == ahead[fronted]).sum().item(), int(fronted.sum()))
        return loss, sums

    def _shown(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points in the axes of the boxes, the boxes as they are shown this time, and as they should be."""
        settings, count = self.settings, len(rows)
        points = self.lessons.points[rows].astype(np.float32)
        found, right = self.lessons.found[rows].copy(), self.lessons.right[rows].copy()
        mirrored = rng.random(count) < 0.5
        points[mirrored, :, 1] *= -1
        for boxes in (found, right):
            boxes[mirrored, 1] *= -1
            boxes[mirrored, 6] *= -1
        worse = (rng.random(count) < settings.disturbed)[:, None] * rng.normal(0, 1, (count, 7))
        shift = worse[:, :3] * (settings.shift_m + settings.shift_share * found[:, 3:6])
        turn = worse[:, 6] * settings.turn + math.pi * (rng.random(count) < 0.5)
        x, y = points[..., 0] - shift[:, None, 0], points[..., 1] - shift[:, None, 1]
        cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
        points[..., 0], points[..., 1] = x * cosine + y * sine, y * cosine - x * sine
        points[..., 2] -= shift[:, 2:]
        found[:, :3] += turned(shift, found[:, 6])
        found[:, 3:6] *= np.exp(worse[:, 3:6] * settings.stretch)
        found[:, 6] += turn
        return points, found, right


def wanted_fit(found: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How boxes (K, 7) must change to be right (K, FIT) float32; whether they have a front (K,); and if it is ahead."""
    fit = np.empty((len(found), FIT), np.float32)
    fit[:, :3] = turned(right[:, :3] - found[:, :3], -found[:, 6])
    fit[:, 3:6] = np.log(right[:, 3:6] / found[:, 3:6])
    turn = right[:, 6] - found[:, 6]
    fit[:, 6] = (turn + math.pi / 2) % math.pi - math.pi / 2
    return fit, np.abs(np.cos(turn)) > 0.5, np.cos(turn) > 0


def _cropped(
    points: np.ndarray, counts: np.ndarray, boxes: np.ndarray, settings: Settings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What a refiner sees of the points (K, M, 5), at random if too many: (K, P, 5), and which there are (K, P)."""
    inside = (np.abs(points[..., :3]) < half_extent(boxes[:, 3:6], settings)[:, None]).all(axis=2)
    inside &= points[..., 2] > (settings.above_m - boxes[:, 5] / 2)[:, None]
    inside &= np.arange(points.shape[1]) < counts[:, None]
    keep = np.where(rng.random(len(points)) < 0.3, rng.uniform(0.2, 1, len(points)), 1)
    inside &= rng.random(inside.shape) < keep[:, None]
    order = np.argsort(np.where(inside, rng.random(inside.shape), 2.0), axis=1)[:, : settings.points]
    there = np.take_along_axis(inside, order, axis=1)
    return np.take_along_axis(points, order[..., None], axis=1) * there[..., None], there
