"""How perception/model/refiners/appearance.py learns: views of found boxes, and what they really are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from perception.model.refiners.appearance import (
    PLACE,
    Appearance,
    Settings,
    is_measured,
    looks_at_best,
    normalised,
    what_is_known,
)
from perception.refining.lessons import LessonArrays, near_m, nearest_truth, what_they_are
from perception.refining.train import Course as BaseCourse
from perception.refining.train import Sums
from perception.refining.train import Training as BaseTraining
from perception.types import Boxes3D, Frame, Truth

MOST = 200  # boxes of a frame, though a refiner may look at fewer: worse ones teach what is nothing
WITHOUT_TOO = ("cloud",)  # frames teach about what the cameras alone find, where a detector has them stand in
IN_SIGHT = 0.2  # logarithm of the distance by which cameras may be wrong about where a thing is
ROOM = 1.25  # of a collected view, against what the refiner sees: for shifts and scales


class Training(BaseTraining):
    """How it learns; half the learning rate is for the image network."""

    facing_weight: float = Field(1.5, ge=0)  # of the loss about headings, beside that about classes
    frozen_stages: int = Field(1, ge=0)  # of the image network, with its stem: they stay as ImageNet made them
    place_weight: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    doubted: float = Field(0.15, ge=0, le=1)  # part of the lessons with the heading turned round, see Course


@dataclass(frozen=True)
class Lessons(LessonArrays):
    """K views of boxes."""

    images: np.ndarray  # (K, R, R, 3) uint8
    known: np.ndarray  # (K, classes + GEOMETRY) float32
    heading: np.ndarray  # (K, 2) float32
    kind: np.ndarray  # (K,) int64, the class, or the number of classes for what is nothing
    facing: np.ndarray  # (K,) int64: 1, 0 where the front is at the other end, -1 unknown
    place: np.ndarray  # (K, 2) float32: how much farther it is, a logarithm, and to the left [m]; NaN teaches nothing


def lessons_of(frame: Frame, boxes: Boxes3D, settings: Settings) -> Lessons:
    """What a frame with truth teaches about the boxes found in it."""
    size = round(settings.size * ROOM)
    margin = ((1 + 2 * settings.margin) * ROOM - 1) / 2
    rows, looks = looks_at_best(frame, boxes, settings, MOST, size, margin)
    seen = boxes.select(rows)
    measured = is_measured(frame, settings)
    known, heading = what_is_known(seen, looks, measured)
    place = np.full((len(seen), 2), np.nan, np.float32)
    if measured:
        nearest, there = nearest_truth(seen, frame.truth)
    else:
        nearest, there, apart = nearest_in_sight(seen, frame.truth, looks.origin)
        place[there] = apart[there]
    kind, facing = what_they_are(seen, frame.truth, nearest, there)
    return Lessons(looks.images, known, heading, kind, facing, place)


def nearest_in_sight(boxes: Boxes3D, truth: Truth, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The annotation nearest to each box as seen from `origins` (K, 2): its row (K,), whether it is the same thing, and
    where it is (K, 2), see Lessons.place. Cameras are surer of angles than of distances."""
    count = len(boxes)
    if not count or not len(truth.boxes):
        return np.zeros(count, np.int64), np.zeros(count, bool), np.zeros((count, 2), np.float32)
    sight = boxes.centers[:, :2] - origins
    length = np.linalg.norm(sight, axis=1, keepdims=True).clip(1e-3)
    lead = sight / length
    to = truth.boxes.centers[None, :, :2] - origins[:, None]
    ahead = (to * lead[:, None]).sum(axis=2)
    left = to[..., 1] * lead[:, None, 0] - to[..., 0] * lead[:, None, 1]
    farther = np.log(np.maximum(ahead, 1e-3) / length)
    apart = np.hypot(farther / IN_SIGHT, left / near_m(truth))
    nearest = apart.argmin(axis=1)
    rows = np.arange(count)
    place = np.stack([farther[rows, nearest], left[rows, nearest]], axis=1).astype(np.float32)
    return nearest, apart[rows, nearest] < 1, place


class Course(BaseCourse):
    """Views drawn so that rare classes count, shifted, mirrored, in other light.

    Some come with the wrong heading: detectors know their training drives better than others, so that headings found
    there are to be trusted less than they deserve.
    """

    refiner: Appearance
    lessons: Lessons
    settings: Training

    def __init__(self, refiner: Appearance, lessons: Lessons, settings: Training) -> None:
        super().__init__(refiner, lessons, settings)
        self._frozen = [refiner.backbone.stem, *refiner.backbone.stages[: settings.frozen_stages]]
        for part in self._frozen:
            part.requires_grad_(False)

    def parameter_groups(self) -> list[dict]:
        looking = [p for p in self.refiner.backbone.parameters() if p.requires_grad]
        judging = [p for name, p in self.refiner.named_parameters() if not name.startswith("backbone.")]
        rate = self.settings.learning_rate
        return [{"params": looking, "lr": rate / 2}, {"params": judging, "lr": rate}]

    def begin(self) -> None:
        super().begin()
        for part in self._frozen:
            part.eval()

    def kinds(self) -> np.ndarray:
        return self.lessons.kind

    def loss(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Sums]:
        lessons, settings = self.lessons, self.settings
        placed = np.isfinite(lessons.place[rows]).all(axis=1)
        images, mirrored = augmented(lessons.images[rows], self.refiner.settings.size, rng, placed)
        heading = lessons.heading[rows].copy()
        heading[mirrored, 1] *= -1
        ahead = lessons.facing[rows].copy()
        doubted = rng.random(len(rows)) < settings.doubted
        heading[doubted] *= -1
        ahead[doubted & (ahead >= 0)] ^= 1
        views = normalised(torch.from_numpy(images))
        kind, facing, place = self.refiner(views, torch.from_numpy(lessons.known[rows]), torch.from_numpy(heading))
        facing = facing.sum(dim=1)
        right_kind, right_facing = torch.from_numpy(lessons.kind[rows]), torch.from_numpy(ahead)
        loss = F.cross_entropy(kind, right_kind, label_smoothing=settings.label_smoothing)
        known = right_facing >= 0
        if known.any():
            faced = F.binary_cross_entropy_with_logits(facing[known], right_facing[known].float())
            loss = loss + settings.facing_weight * faced
        if placed.any():
            wanted = lessons.place[rows[placed]].copy()
            wanted[mirrored[placed], 1] *= -1
            wanted, said = torch.from_numpy(wanted), place[torch.from_numpy(placed)]
            off = F.smooth_l1_loss(said / said.new_tensor(PLACE), wanted / said.new_tensor(PLACE), reduction="sum")
            loss = loss + settings.place_weight * off / len(rows)
        right = (kind.argmax(1) == right_kind).sum().item()
        faces = ((facing > 0).long() == right_facing)[known].sum().item()
        return loss, {"class right": (right, len(rows)), "facing right": (faces, int(known.sum()))}


def augmented(
    images: np.ndarray, size: int, rng: np.random.Generator, still: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Views (K, R, R, 3) -> (K, size, size, 3) uint8, shifted and scaled but for those that are to keep `still` (K,),
    mirrored, in other light and other colours; and which are mirrored.

    Colours, for else it learns a few trailers by heart rather than what a trailer is."""
    count, whole = len(images), images.shape[1]
    scales = np.where(still, 1.0, rng.uniform(0.85, 1.2, count))
    sides = np.clip(np.rint(size * scales), 1, whole).astype(int)
    room = whole - sides
    shifts = rng.normal(0, whole / 30, (2, count)) * ~still
    left, top = np.clip(np.rint(room / 2 + shifts), 0, room).astype(int)
    mirrored = rng.random(count) < 0.5
    brightness = rng.uniform(0.7, 1.35, (count, 1, 1, 1))
    colour = np.where(rng.random((count, 1, 1, 1)) < 0.5, rng.uniform(0.7, 1.4, (count, 1, 1, 3)), 1.0)
    out = np.empty((count, size, size, 3), np.uint8)
    for k in range(count):
        view = images[k, top[k] : top[k] + sides[k], left[k] : left[k] + sides[k]]
        view = cv2.resize(view, (size, size), interpolation=cv2.INTER_LINEAR)
        out[k] = np.minimum((view[:, ::-1] if mirrored[k] else view) * (brightness[k] * colour[k]), 255)
    return out, mirrored
