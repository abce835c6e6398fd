"""How perception/model/refiners/motion.py learns: trails of found boxes, and how fast they really are.

A thing's trail at another speed is its trail sheared, so the few things that move, and the many that don't, are shown
at every speed, against what stands around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from perception.model.refiners.motion import Motion, Settings, known_of, likeliest, trails_of, ways_of
from perception.refining.lessons import LessonArrays, nearest_truth
from perception.refining.train import Course as BaseCourse
from perception.refining.train import Sums
from perception.refining.train import Training as BaseTraining
from perception.types import Boxes3D, Frame

AROUND_M = 0.2  # points so near to the annotated box are the thing's
STANDS_M_S = 0.5  # slower speeds that are made up become none: much stands, little creeps
RIGHT_M_S = 1.0  # what counts as right, in the progress that is told


class Training(BaseTraining):
    """How it learns."""

    epochs: int = Field(4, ge=1)
    epoch_lessons: int = Field(30_000, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    sheared: float = Field(0.6, ge=0, le=1)  # part of the lessons shown at made-up speeds
    thinned: float = Field(0.3, ge=0, le=1)  # part that lose points, down to a third
    shift_m: float = Field(0.15, ge=0)  # deviation of the box's place along the way,
    shift_s: float = Field(0.05, ge=0)  # and more for faster things: m for each m/s
    stretch: float = Field(0.06, ge=0)  # deviation of the length's logarithm
    blur: float = Field(0.8, gt=0)  # deviation of the aim, in steps between candidates


@dataclass(frozen=True)
class Lessons(LessonArrays):
    """K trails of boxes, of the thing and of what else is there."""

    COMPRESSED: ClassVar[bool] = True

    thing: np.ndarray  # (K, spans * layers, cells) uint8, counts
    rest: np.ndarray  # the same
    known: np.ndarray  # (K, classes + GEOMETRY) float32
    length: np.ndarray  # (K,) float32 [m], of the box along the way
    anywhere: np.ndarray  # (K,) bool
    speed: np.ndarray  # (K,) float32 [m/s], along the way
    label: np.ndarray  # (K,) int64


def lessons_of(frame: Frame, boxes: Boxes3D, settings: Settings) -> Lessons:
    """What a frame with truth teaches about the boxes found in it. Boxes of nothing teach nothing."""
    truth = frame.truth.boxes
    nearest, there = nearest_truth(boxes, frame.truth)
    there[there] = np.isfinite(truth.velocities[nearest[there]]).all(axis=1)
    points = frame.cloud.points if frame.cloud is not None else np.zeros((0, 5), np.float32)
    taught, nearest = boxes.select(there), nearest[there]
    ways = ways_of(taught, settings)
    every = trails_of(points, taught, ways, settings)
    thing = np.zeros_like(every)
    for row in np.unique(nearest[ways.rows]):
        members = np.nonzero(nearest[ways.rows] == row)[0]
        own = points[_own(points, truth, row)]
        thing[members] = trails_of(own, taught, ways.select(members), settings)
    lead = np.stack([np.cos(ways.angles), np.sin(ways.angles)], axis=1)
    return Lessons(
        thing,
        every - np.minimum(every, thing),  # where a cell is full, the thing's part of it is what is lost
        known_of(taught, ways, every),
        ways.lengths.astype(np.float32),
        ways.anywhere,
        (truth.velocities[nearest[ways.rows]] * lead).sum(axis=1).astype(np.float32),
        taught.labels[ways.rows],
    )


def _own(points: np.ndarray, truth: Boxes3D, row: int) -> np.ndarray:
    """The rows of the points (N, 5) that are the annotated thing's, where it was when they were measured."""
    center, velocity = truth.centers[row, :2], truth.velocities[row]
    length, width = truth.sizes[row, :2] / 2 + AROUND_M
    reach_m = length + width + np.linalg.norm(velocity) * points[:, 4].max(initial=0)
    near = np.nonzero((np.abs(points[:, 0] - center[0]) < reach_m) & (np.abs(points[:, 1] - center[1]) < reach_m))[0]
    apart = points[near, :2] + velocity * points[near, 4:5] - center
    lead = np.array([np.cos(truth.yaws[row]), np.sin(truth.yaws[row])])
    along, beside = apart @ lead, apart @ np.array([-lead[1], lead[0]])
    return near[(np.abs(along) < length) & (np.abs(beside) < width)]


class Course(BaseCourse):
    """Trails at speeds of all kinds."""

    refiner: Motion
    lessons: Lessons
    settings: Training

    def __init__(self, refiner: Motion, lessons: Lessons, settings: Training) -> None:
        super().__init__(refiner, lessons, settings)
        model = refiner.settings
        self._ages = torch.arange(model.spans).repeat_interleave(model.layers) * model.span_s
        self._top = np.zeros(len(refiner.classes), np.float32)  # of each class, the fastest there is
        np.maximum.at(self._top, lessons.label, np.abs(lessons.speed))

    def kinds(self) -> np.ndarray:
        return self.lessons.label * 2 + (np.abs(self.lessons.speed) > STANDS_M_S)

    def loss(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Sums]:
        total, right = torch.zeros(()), 0
        for anywhere in (False, True):
            members = rows[self.lessons.anywhere[rows] == anywhere]
            if not len(members):
                continue
            speeds = self.refiner.speeds(anywhere)
            trails, lengths, known, aim = self._shown(members, anywhere, rng)
            logits = self.refiner(trails, lengths, known, speeds)
            blur = self.settings.blur * self.refiner.settings.step[anywhere]
            wanted = (-0.5 * ((speeds - aim[:, None]) / blur).square()).softmax(dim=1)
            total = total - (wanted * logits.log_softmax(dim=1)).sum()
            right += ((likeliest(logits.detach(), speeds)[0] - aim).abs() < RIGHT_M_S).sum().item()
        return total / len(rows), {"speed right": (right, len(rows))}

    def _shown(
        self, rows: np.ndarray, anywhere: bool, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Trails, lengths, what is known, and the right speeds of these lessons as they are shown this time."""
        lessons, settings, count = self.lessons, self.settings, len(rows)
        speed = lessons.speed[rows]
        made_up = rng.uniform(-1, 1, count) * self._fastest(rows, anywhere)
        made_up[np.abs(made_up) < STANDS_M_S] = 0
        aim = np.where(rng.random(count) < settings.sheared, made_up, speed).astype(np.float32)
        faster = torch.from_numpy(aim - speed)
        thing = self._moved(torch.from_numpy(lessons.thing[rows]).float(), faster[:, None] * self._ages)
        trails = thing + torch.from_numpy(lessons.rest[rows]).float()
        keep = np.where(rng.random(count) < settings.thinned, rng.uniform(0.3, 1, count), 1).astype(np.float32)
        noise = torch.from_numpy(rng.random(trails.shape, dtype=np.float32))
        thinned = torch.floor(trails * torch.from_numpy(keep)[:, None, None] + noise)  # as many on average
        trails = torch.where(torch.from_numpy(keep < 1)[:, None, None], thinned, trails)
        mirrored = torch.from_numpy(rng.random(count) < 0.5)
        trails = torch.where(mirrored[:, None, None], trails.flip(2), trails)
        aim = torch.where(mirrored, -torch.from_numpy(aim), torch.from_numpy(aim))
        off = rng.normal(0, 1, count) * (settings.shift_m + (0 if anywhere else settings.shift_s) * np.abs(aim.numpy()))
        trails = self._moved(trails, torch.from_numpy(off.astype(np.float32))[:, None].expand(-1, trails.shape[1]))
        lengths = lessons.length[rows] * np.exp(rng.normal(0, settings.stretch, count)).astype(np.float32)
        return trails, torch.from_numpy(lengths), torch.from_numpy(lessons.known[rows]), aim

    def _fastest(self, rows: np.ndarray, anywhere: bool) -> np.ndarray:
        """How fast lessons of these classes are shown: as fast as any of the class is, and half as fast again."""
        least = self.refiner.settings.fastest[anywhere] / 4
        return np.clip(1.5 * self._top[self.lessons.label[rows]], least, 0.9 * self.refiner.settings.fastest[anywhere])

    def _moved(self, trails: Tensor, back: Tensor) -> Tensor:
        """The trails with each row moved back by so much (K, R) [m]; between cells, points are shared."""
        cells = trails.shape[2]
        place = torch.arange(cells) + back[..., None] / self.refiner.settings.cell
        left = place.floor()
        part, left = place - left, left.long()
        inside = [((left + k) >= 0) & ((left + k) < cells) for k in (0, 1)]
        below, above = (trails.gather(2, (left + k).clamp(0, cells - 1)) * inside[k] for k in (0, 1))
        return torch.lerp(below, above, part)
