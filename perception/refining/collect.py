"""What a refiner learns from: the detector's boxes of each frame, views of them, and what they really are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from calibration.files import written_whole
from perception.detector import Detector
from perception.model.refiners.appearance import Settings, looks_at_best, what_is_known
from perception.types import Boxes3D, Frame, Truth

MOST = 200  # boxes of a frame, though a refiner may look at fewer: worse ones teach what is nothing
ROOM = 1.25  # of a collected view, against what the refiner sees: for shifts and scales
NEAR_M = {"pedestrian": 1.0, "bicycle": 1.0, "motorcycle": 1.0, "traffic_cone": 0.7, "barrier": 1.0}
NEAR_OTHERS_M = 2.0  # centres of one thing, found and annotated, are no farther apart


@dataclass(frozen=True)
class Lessons:
    """K views of boxes."""

    images: np.ndarray  # (K, R, R, 3) uint8
    known: np.ndarray  # (K, classes + GEOMETRY) float32
    heading: np.ndarray  # (K, 2) float32
    kind: np.ndarray  # (K,) int64, the class, or the number of classes for what is nothing
    facing: np.ndarray  # (K,) int64: 1, 0 where the front is at the other end, -1 unknown

    def __len__(self) -> int:
        return len(self.kind)

    @staticmethod
    def joined(parts: Sequence[Lessons]) -> Lessons:
        """All of them one after the other."""
        names = [field.name for field in fields(Lessons)]
        return Lessons(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with written_whole(path) as beside, beside.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> Lessons:
        """What `save` wrote."""
        with np.load(path) as arrays:
            return Lessons(**dict(arrays))


def lessons_of(frame: Frame, boxes: Boxes3D, settings: Settings) -> Lessons:
    """What a frame with truth teaches about the boxes found in it."""
    size = round(settings.size * ROOM)
    margin = ((1 + 2 * settings.margin) * ROOM - 1) / 2
    rows, looks = looks_at_best(frame, boxes, settings, MOST, size, margin)
    seen = boxes.select(rows)
    known, heading = what_is_known(seen, looks)
    kind, facing = what_they_are(seen, frame.truth)
    return Lessons(looks.images, known, heading, kind, facing)


def what_they_are(boxes: Boxes3D, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Class (K,) of what is nearest to each box, background if nothing is near; and whether its heading is right."""
    kind, facing = np.full(len(boxes), len(boxes.class_names)), np.full(len(boxes), -1)
    if not len(boxes) or not len(truth.boxes):
        return kind, facing
    near = np.array([NEAR_M.get(name, NEAR_OTHERS_M) for name in truth.boxes.class_names])[truth.boxes.labels]
    apart = np.linalg.norm(boxes.centers[:, None, :2] - truth.boxes.centers[None, :, :2], axis=2) / near
    nearest = apart.argmin(axis=1)
    there = apart[np.arange(len(boxes)), nearest] < 1
    kind[there] = truth.boxes.labels[nearest[there]]
    agree = np.cos(boxes.yaws - truth.boxes.yaws[nearest])
    fronted = there & (np.abs(agree) > 0.5)
    facing[fronted] = agree[fronted] > 0
    for name in ("barrier", "traffic_cone"):
        if name in boxes.class_names:
            facing[kind == boxes.class_names.index(name)] = -1
    return kind, facing


def collected(detector: Detector, settings: Settings, frames: Iterable[Frame], folder: Path) -> Iterator[Path]:
    """Detect in each frame, without a refiner, and write what it teaches to folder/TOKEN.npz."""
    for frame in frames:
        path = folder / f"{frame.token}.npz"
        lessons_of(frame, detector.found([frame])[0], settings).save(path)
        yield path
