"""nuScenes annotations as truth boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import CLASS_OF_CATEGORY
from perception.sources.nuscenes_tables import Annotation, Instance, Named, Sample, Table
from perception.types import Boxes3D, Truth

LONGEST_STEP_US = 1_500_000  # between two annotations that tell a velocity, in microseconds


class Annotations:
    """The annotations of some scenes, and of them the classes that are asked for."""

    def __init__(self, folder: Path, samples: Table[Sample], class_names: tuple[str, ...]) -> None:
        """Read the annotation tables for `samples`, whole scenes; InputError for what is missing or malformed."""
        self._samples, self._class_names = samples, class_names
        self._categories = Table(folder, "category", Named)
        self._attributes = Table(folder, "attribute", Named)
        self._instances = Table(folder, "instance", Instance)
        self._rows = Table(folder, "sample_annotation", Annotation, lambda row: row.sample_token in samples)
        self._by_sample = defaultdict(list)
        for row in self._rows:
            if self._class_name(row) in class_names:
                self._by_sample[row.sample_token].append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def truth(self, sample_token: str, lidar_from_world: Transform) -> Truth:
        """A sample's boxes in the lidar frame, in the file's order."""
        rows = self._by_sample.get(sample_token, [])
        return Truth(
            self._boxes_world(rows).transformed(lidar_from_world, "lidar"),
            np.array([row.num_lidar_pts for row in rows], np.int64),
            np.array([row.num_radar_pts for row in rows], np.int64),
            tuple(self._attribute(row) for row in rows),
            tuple(row.instance_token for row in rows),
        )

    def velocity(self, row: Annotation) -> np.ndarray:
        """An object's velocity (3,) [m/s] in the world frame, from where it is one keyframe earlier and one later.

        At the ends of its track one side is its own place. NaN where it was seen once only, and where the keyframes
        are more than 1.5 s a step apart, both as the development kit's `box_velocity`, whose numbers these are.
        """
        first = self._rows[row.prev] if row.prev else row
        last = self._rows[row.next] if row.next else row
        elapsed_us = self._samples[last.sample_token].timestamp - self._samples[first.sample_token].timestamp
        steps = bool(row.prev) + bool(row.next)
        if not 0 < elapsed_us <= LONGEST_STEP_US * steps:
            return np.full(3, np.nan)
        start, end = self._numbers((first, last), "translation", 3)
        return (end - start) / (elapsed_us / 1e6)

    def _boxes_world(self, rows: Sequence[Annotation]) -> Boxes3D:
        if not rows:
            return Boxes3D.empty(self._class_names, "world")
        sizes = self._numbers(rows, "size", 3, nonzero=True)
        labels = [self._class_names.index(self._class_name(row)) for row in rows]
        return Boxes3D(
            self._numbers(rows, "translation", 3),
            sizes[:, [1, 0, 2]],  # from width, length, height
            _headings(self._numbers(rows, "rotation", 4, nonzero=True)),
            np.array([self.velocity(row)[:2] for row in rows]),
            np.ones(len(rows)),
            np.array(labels, np.int64),
            self._class_names,
            "world",
        )

    def _numbers(self, rows: Sequence[Annotation], field: str, count: int, nonzero: bool = False) -> np.ndarray:
        """A field of some rows (rows, count), float64; with `nonzero` a row that is nothing but 0 is a mistake too."""
        values = [getattr(row, field) for row in rows]
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError):
            numbers = np.full(1, np.nan)
        good = numbers.shape == (len(rows), count) and np.isfinite(numbers).all()
        if not good or (nonzero and not numbers.any(axis=1).all()):
            what = f"{self._rows.path}: {field} in sample {rows[0].sample_token}"
            raise InputError(what, f"{count} finite numbers a box{', not all 0' if nonzero else ''}", f"{values!r:.80}")
        return numbers

    def _class_name(self, row: Annotation) -> str | None:
        return CLASS_OF_CATEGORY.get(self._categories[self._instances[row.instance_token].category_token].name)

    def _attribute(self, row: Annotation) -> str:
        if len(row.attribute_tokens) > 1:
            what = f"{self._rows.path}: attribute_tokens of {row.token}"
            raise InputError(what, "one attribute or none", f"{len(row.attribute_tokens)}")
        return self._attributes[row.attribute_tokens[0]].name if row.attribute_tokens else ""


def _headings(quaternions_wxyz: np.ndarray) -> np.ndarray:
    forward = Rotation.from_quat(np.roll(quaternions_wxyz, -1, axis=1)).apply((1, 0, 0))
    return np.arctan2(forward[:, 1], forward[:, 0])
