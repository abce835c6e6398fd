"""How perception/model/refiners/traffic.py learns: found boxes with what is around them, and which way these face.

Detectors know the headings of their training drives better than others, so that some are shown turned round, of the box
itself and of the others that stand: the more, the farther away. What was said is of the ends of a box, and turned with
it. (Head alone saying the wrong end, in a third of the lessons, changed nothing that could be measured.) Streets are
few, and each is seen again and again, so that the own car is shown a little elsewhere, and some of the others not at
all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from perception.model.refiners.traffic import MOVING, THING, Settings, Traffic, things_of
from perception.refining.lessons import LessonArrays, nearest_truth, what_they_are
from perception.refining.train import Course as BaseCourse
from perception.refining.train import Sums
from perception.refining.train import Training as BaseTraining
from perception.types import Boxes3D, Frame

WITHOUT_TOO = ("cloud", "cameras")  # frames teach about what one sensor alone finds and says, too
FAR_M = 50.0  # where as many are turned round as `doubted_far` says


class Training(BaseTraining):
    """How it learns."""

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(4e-3, gt=0)
    weight_decay: float = Field(0.5, ge=0)
    rarity: float = Field(0.25, ge=0, le=1)
    doubted: float = Field(0.02, ge=0, le=1)  # part of the headings shown turned round, near by,
    doubted_far: float = Field(0.05, ge=0, le=1)  # and far away
    unseen: float = Field(0.3, ge=0, le=1)  # part of the others that are not shown
    unsaid: float = Field(0.15, ge=0, le=1)  # part of the times that one who is heard is not, as where nothing was seen
    shift_m: tuple[float, float] = (2.0, 1.0)  # deviation of where the own car is shown, along and across,
    turn: float = Field(0.05, ge=0)  # and of which way it looks [rad]


@dataclass(frozen=True)
class Lessons(LessonArrays):
    """K found boxes that stand, and the others nearby."""

    things: np.ndarray  # (K, 1 + others, THING and logits) float32, see things_of
    facing: np.ndarray  # (K,) int64: 1, 0 where the front is at the other end


def lessons_of(frame: Frame, boxes: Boxes3D, settings: Settings) -> Lessons:
    """What a frame with truth teaches about the boxes found in it."""
    rows, things = things_of(boxes, frame, settings)
    seen = boxes.select(rows)
    _, facing = what_they_are(seen, frame.truth, *nearest_truth(seen, frame.truth))
    return Lessons(things[facing >= 0], facing[facing >= 0])


class Course(BaseCourse):
    """Boxes with some of the headings turned round."""

    refiner: Traffic
    lessons: Lessons
    settings: Training

    def kinds(self) -> np.ndarray:
        return self.lessons.things[:, 0, THING.index("label")].astype(np.int64)

    def loss(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Sums]:
        things, turned = doubted(moved(self.lessons.things[rows], self.settings, rng), self.settings, rng)
        right = torch.from_numpy(self.lessons.facing[rows] ^ turned)
        said = self.refiner(torch.from_numpy(things))
        loss = F.binary_cross_entropy_with_logits(said, right.float())
        count = len(rows)
        sums = {
            "facing right": (((said > 0) == (right > 0)).sum().item(), count),
            "before": (right.sum().item(), count),
        }
        return loss, sums


def moved(things: np.ndarray, settings: Training, rng: np.random.Generator) -> np.ndarray:
    """The things (K, 1 + others, THING and logits), less some of the others and of who is heard, as from where the own
    car isn't quite."""
    shown, count = things.copy(), len(things)
    x, y, yaw, vx, vy, label = (shown[..., THING.index(name)] for name in ("x", "y", "yaw", "vx", "vy", "label"))
    label[:, 1:][rng.random(label[:, 1:].shape) < settings.unseen] = -1
    heard = shown[..., len(THING) :]
    heard *= rng.random((count, 1, heard.shape[2])) >= settings.unsaid
    angle = rng.normal(0, settings.turn, (count, 1))
    cosine, sine = np.cos(angle), np.sin(angle)
    x += rng.normal(0, settings.shift_m[0], (count, 1))
    y += rng.normal(0, settings.shift_m[1], (count, 1))
    x[:], y[:] = x * cosine - y * sine, x * sine + y * cosine
    vx[:], vy[:] = vx * cosine - vy * sine, vx * sine + vy * cosine
    yaw += angle
    return shown


def doubted(things: np.ndarray, settings: Training, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The things (K, 1 + others, THING and logits), of which some that stand are turned round; and if the first is
    (K,) int64."""
    x, y, vx, vy = (things[..., THING.index(name)] for name in ("x", "y", "vx", "vy"))
    far = np.minimum(np.hypot(x, y) / FAR_M, 1)
    chance = settings.doubted + (settings.doubted_far - settings.doubted) * far
    turned = (rng.random(x.shape) < chance) & (np.hypot(vx, vy) <= MOVING)
    shown = things.copy()
    shown[..., THING.index("yaw")] += math.pi * turned
    shown[..., len(THING) :] *= np.where(turned, -1, 1)[..., None]
    return shown, turned[:, 0].astype(np.int64)
