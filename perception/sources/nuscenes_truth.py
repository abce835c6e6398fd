"""nuScenes annotations as truth boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import CLASS_OF_CATEGORY
from perception.sources.nuscenes_tables import Annotation, Instance, Named, Sample, Table
from perception.types import Boxes3D, Truth

LONGEST_STEP_S = 1.5  # between two annotations that tell a velocity


class Annotations:
    """The annotations of some scenes, and of them the classes that are asked for."""

    def __init__(
        self,
        folder: Path,
        samples: Table[Sample],  # whole scenes
        class_names: tuple[str, ...],
        every_sample: Table[Sample] | None = None,  # if given, an annotation of none of these is a mistake
    ) -> None:
        """Read the annotation tables for `samples`; InputError for what is missing or malformed."""
        self._samples, self._class_names = samples, class_names
        self._categories = Table(folder, "category", Named)
        self._attributes = Table(folder, "attribute", Named)
        self._instances = Table(folder, "instance", Instance)
        rows = Table(folder, "sample_annotation", Annotation)
        if every_sample is not None:
            rows.follow("sample_token", every_sample, needed=np.ones(len(rows), bool))
        self._rows = rows.where(rows.follow("sample_token", samples) >= 0)
        self._category_of_row = self._followed_categories()
        ours = [CLASS_OF_CATEGORY.get(category.name) in class_names for category in self._categories]
        self._by_sample = self._grouped(np.array(ours, bool)[self._category_of_row])

    def _followed_categories(self) -> np.ndarray:
        """Place in the table of categories of each annotation's (rows,)."""
        instances = self._rows.follow("instance_token", self._instances, needed=np.ones(len(self._rows), bool))
        used = np.zeros(len(self._instances), bool)
        used[instances] = True
        return self._instances.follow("category_token", self._categories, needed=used)[instances]

    def _grouped(self, mask: np.ndarray) -> list[np.ndarray]:
        """For each sample the places of its annotations among those that a mask picks."""
        places = np.flatnonzero(mask)
        samples = self._rows.follow("sample_token", self._samples)[places]
        order = np.argsort(samples, kind="stable")
        ends = np.cumsum(np.bincount(samples, minlength=len(self._samples)))
        return np.split(places[order], ends[:-1])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def path(self) -> Path:
        """The file they are from."""
        return self._rows.path

    def truth(self, sample_token: str, lidar_from_world: Transform) -> Truth:
        """A sample's boxes in the lidar frame, in the file's order."""
        rows = self.rows(sample_token)
        return Truth(
            self.boxes_world(rows).transformed(lidar_from_world, "lidar"),
            np.array([row.num_lidar_pts for row in rows], np.int64),
            np.array([row.num_radar_pts for row in rows], np.int64),
            tuple(self.attribute(row) for row in rows),
            tuple(row.instance_token for row in rows),
        )

    def rows(self, sample_token: str) -> list[Annotation]:
        """A sample's annotations of the classes that are asked for, in the file's order."""
        if sample_token not in self._samples:
            return []
        return [self._rows.at(place) for place in self._by_sample[self._samples.place(sample_token)]]

    def others(self, category: str) -> list[Annotation]:
        """The annotations of a category, such as one that no class covers."""
        called = np.array([row.name == category for row in self._categories], bool)
        return [self._rows.at(place) for place in np.flatnonzero(called[self._category_of_row])]

    def attribute(self, row: Annotation) -> str:
        """The name of an annotation's attribute, "" where it has none."""
        if len(row.attribute_tokens) > 1:
            what = f"{self._rows.path}: attribute_tokens of {row.token}"
            raise InputError(what, "one attribute or none", f"{len(row.attribute_tokens)}")
        return self._attributes[row.attribute_tokens[0]].name if row.attribute_tokens else ""

    def velocities(self, rows: Sequence[Annotation]) -> np.ndarray:
        """Velocities (N, 3) [m/s] in the world frame, from where an object is one keyframe earlier and one later.

        At the ends of its track one side is its own place. NaN where it was seen once only, and where the keyframes
        are more than 1.5 s a step apart, both as the development kit's `box_velocity`, whose numbers these are: to the
        last bit, since its times are seconds in floats too.
        """
        firsts = [self._rows[row.prev] if row.prev else row for row in rows]
        lasts = [self._rows[row.next] if row.next else row for row in rows]
        elapsed = self._seconds(lasts) - self._seconds(firsts)
        steps = np.array([bool(row.prev) + bool(row.next) for row in rows])
        known = (elapsed > 0) & (elapsed <= LONGEST_STEP_S * steps)
        moved = self.numbers(lasts, "translation", 3) - self.numbers(firsts, "translation", 3)
        return np.where(known, moved.T / np.where(known, elapsed, 1), np.nan).T

    def _seconds(self, rows: Sequence[Annotation]) -> np.ndarray:
        return 1e-6 * np.array([self._samples[row.sample_token].timestamp for row in rows])

    def boxes_world(self, rows: Sequence[Annotation]) -> Boxes3D:
        """Annotations as boxes in the world frame; InputError for numbers that can't be."""
        if not rows:
            return Boxes3D.empty(self._class_names, "world")
        sizes = self.numbers(rows, "size", 3, nonzero=True)
        labels = [self._class_names.index(self._class_name(row)) for row in rows]
        return Boxes3D(
            self.numbers(rows, "translation", 3),
            sizes[:, [1, 0, 2]],  # from width, length, height
            headings(self.numbers(rows, "rotation", 4, nonzero=True)),
            self.velocities(rows)[:, :2],
            np.ones(len(rows)),
            np.array(labels, np.int64),
            self._class_names,
            "world",
        )

    def numbers(self, rows: Sequence[Annotation], field: str, count: int, nonzero: bool = False) -> np.ndarray:
        """A field of some rows (rows, count), float64; with `nonzero` a row that is nothing but 0 is a mistake too."""
        values = [getattr(row, field) for row in rows]
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError):
            numbers = np.full(1, np.nan)
        good = numbers.shape == (len(rows), count) and np.isfinite(numbers).all()
        if not good or (nonzero and not numbers.any(axis=1).all()):
            if len(rows) > 1:  # which of them is it?
                return np.concatenate([self.numbers([row], field, count, nonzero) for row in rows])
            what = f"{self._rows.path}: {field} in sample {rows[0].sample_token}"
            raise InputError(what, f"{count} finite numbers{', not all 0' if nonzero else ''}", f"{values[0]!r:.80}")
        return numbers

    def _class_name(self, row: Annotation) -> str | None:
        return CLASS_OF_CATEGORY.get(self._category(row))

    def _category(self, row: Annotation) -> str:
        return self._categories[self._instances[row.instance_token].category_token].name


def headings(quaternions_wxyz: np.ndarray) -> np.ndarray:
    """Yaws (N,) [rad] of rotations (N, 4): where what is left of their x axis in the x-y plane points to."""
    forward = Rotation.from_quat(np.roll(quaternions_wxyz, -1, axis=1)).apply((1, 0, 0))
    return np.arctan2(forward[:, 1], forward[:, 0])
