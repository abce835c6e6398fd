"""What every refiner's lessons have in common: arrays of equal length in a file, and which box is which thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from calibration.files import written_whole
from perception.model.boxes import has_front
from perception.types import Boxes3D, Truth

NEAR_M = {"pedestrian": 1.0, "bicycle": 1.0, "motorcycle": 1.0, "traffic_cone": 0.7, "barrier": 1.0}
NEAR_OTHERS_M = 2.0  # centres of one thing, found and annotated, are no farther apart


@dataclass(frozen=True)
class LessonArrays:
    """Arrays with one row a lesson; subclasses name them, last one that is short."""

    COMPRESSED: ClassVar[bool] = False  # worth its time where most is zero

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All of them one after the other."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with written_whole(path) as beside, beside.open("wb") as file:
            save = np.savez_compressed if self.COMPRESSED else np.savez
            save(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        return cls.load_all([path])

    @classmethod
    def load_all(cls, paths: Sequence[Path]) -> Self:
        """What is in all of the files, one at least, one after the other, without a copy of it all on the way."""
        counts = [cls._count(path) for path in paths]
        whole, start = {}, 0
        for path, count in zip(paths, counts, strict=True):
            with np.load(path) as arrays:
                for field in fields(cls):
                    part = arrays[field.name]
                    if field.name not in whole:
                        whole[field.name] = np.empty((sum(counts), *part.shape[1:]), part.dtype)
                    whole[field.name][start : start + count] = part
            start += count
        return cls(**whole)

    @classmethod
    def _count(cls, path: Path) -> int:
        with np.load(path) as arrays:
            return len(arrays[fields(cls)[-1].name])


def nearest_truth(boxes: Boxes3D, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """The annotation (N,) nearest to each box, 0 where there is none at all; and whether it is the same thing."""
    if not len(boxes) or not len(truth.boxes):
        return np.zeros(len(boxes), np.int64), np.zeros(len(boxes), bool)
    apart = np.linalg.norm(boxes.centers[:, None, :2] - truth.boxes.centers[None, :, :2], axis=2) / near_m(truth)
    nearest = apart.argmin(axis=1)
    return nearest, apart[np.arange(len(boxes)), nearest] < 1


def what_they_are(
    boxes: Boxes3D, truth: Truth, nearest: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Class (K,) of the annotation nearest to each box, background if it isn't there; and whether its heading is
    right."""
    kind, facing = np.full(len(boxes), len(boxes.class_names)), np.full(len(boxes), -1)
    if not there.any():
        return kind, facing
    kind[there] = truth.boxes.labels[nearest[there]]
    agree = np.cos(boxes.yaws - truth.boxes.yaws[nearest])
    fronted = there & (np.abs(agree) > 0.5)
    facing[fronted] = agree[fronted] > 0
    facing[~has_front(kind, boxes.class_names)] = -1
    return kind, facing


def near_m(truth: Truth) -> np.ndarray:
    """How far from each annotation (N,) a found box may be and still be of that thing [m]."""
    return np.array([NEAR_M.get(name, NEAR_OTHERS_M) for name in truth.boxes.class_names])[truth.boxes.labels]
