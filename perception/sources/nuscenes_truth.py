"""nuScenes annotations as truth boxes."""

from __future__ import annotations

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
            rows.follow_surely("sample_token", every_sample)
        self.table = rows.where(rows.follow("sample_token", samples) >= 0)  # of all classes
        self._category_of_row = self._followed_categories()
        classes = [CLASS_OF_CATEGORY.get(category.name) for category in self._categories]
        labels = np.array([class_names.index(name) if name in class_names else -1 for name in classes], np.int64)
        self._labels = labels[self._category_of_row]  # -1 for classes that aren't asked for
        self._of_samples, self._starts = self._grouped(self._labels >= 0)

    def _followed_categories(self) -> np.ndarray:
        """Place in the table of categories of each annotation's (rows,)."""
        instances = self.table.follow_surely("instance_token", self._instances)
        used, which = np.unique(instances, return_inverse=True)
        return self._instances.follow_surely("category_token", self._categories, used)[which]

    def _grouped(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the annotations that a mask picks, sample after sample, and where each begins (samples + 1,)."""
        places = np.flatnonzero(mask)
        samples = self.table.follow("sample_token", self._samples, places)
        counts = np.bincount(samples, minlength=len(self._samples))
        return places[np.argsort(samples, kind="stable")], np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.table)

    def truth(self, sample_token: str, lidar_from_world: Transform) -> Truth:
        """A sample's boxes in the lidar frame, in the file's order."""
        places = self.places(sample_token)
        return Truth(
            self.boxes_world(places).transformed(lidar_from_world, "lidar"),
            self.table.column("num_lidar_pts", places).astype(np.int64),
            self.table.column("num_radar_pts", places).astype(np.int64),
            tuple(self.attributes(places)),
            tuple(self.table.objects("instance_token", places)),
        )

    def places(self, sample_token: str) -> np.ndarray:
        """Where a sample's annotations of the classes that are asked for are in the table, in the file's order."""
        if sample_token not in self._samples:
            return np.zeros(0, np.int64)
        sample = self._samples.place(sample_token)
        return self._of_samples[self._starts[sample] : self._starts[sample + 1]]

    def others(self, category: str) -> np.ndarray:
        """Where the annotations of a category are, such as one that no class covers."""
        called = np.array([row.name == category for row in self._categories], bool)
        return np.flatnonzero(called[self._category_of_row])

    def attributes(self, places: np.ndarray) -> list[str]:
        """The names of annotations' attributes, "" where one has none."""
        names = []
        for place, tokens in zip(places, self.table.objects("attribute_tokens", places), strict=True):
            if len(tokens) > 1:
                what = f"{self.table.path}: attribute_tokens of {self.table.at(place).token}"
                raise InputError(what, "one attribute or none", f"{len(tokens)}")
            names.append(self._attributes[tokens[0]].name if tokens else "")
        return names

    def velocities(self, places: np.ndarray) -> np.ndarray:
        """Velocities (N, 3) [m/s] in the world frame, from where an object is one keyframe earlier and one later.

        At the ends of its track one side is its own place. NaN where it was seen once only, and where the keyframes
        are more than 1.5 s a step apart, both as the development kit's `box_velocity`, whose numbers these are: to the
        last bit, since its times are seconds in floats too.
        """
        firsts, lasts = self._neighbours("prev", places), self._neighbours("next", places)
        elapsed = self._seconds(lasts) - self._seconds(firsts)
        steps = (firsts != places).astype(int) + (lasts != places)
        known = (elapsed > 0) & (elapsed <= LONGEST_STEP_S * steps)
        moved = self.numbers(lasts, "translation", 3) - self.numbers(firsts, "translation", 3)
        return np.where(known, moved.T / np.where(known, elapsed, 1), np.nan).T

    def _neighbours(self, field: str, places: np.ndarray) -> np.ndarray:
        """The places that a field leads to, an annotation's own where it is empty."""
        found = self.table.follow(field, self.table, places)
        ends = np.flatnonzero(found < 0)
        for end, token in zip(ends, self.table.objects(field, places[ends]), strict=True):
            found[end] = self.table.place(token) if token else places[end]  # raises for one that leads nowhere
        return found

    def _seconds(self, places: np.ndarray) -> np.ndarray:
        samples = self.table.follow_surely("sample_token", self._samples, places)
        return 1e-6 * self._samples.column("timestamp", samples)

    def boxes_world(self, places: np.ndarray) -> Boxes3D:
        """Annotations as boxes in the world frame; InputError for numbers that can't be."""
        if not len(places):
            return Boxes3D.empty(self._class_names, "world")
        sizes = self.numbers(places, "size", 3, nonzero=True)
        return Boxes3D(
            self.numbers(places, "translation", 3),
            sizes[:, [1, 0, 2]],  # from width, length, height
            headings(self.numbers(places, "rotation", 4, nonzero=True)),
            self.velocities(places)[:, :2],
            np.ones(len(places)),
            self._labels[places],
            self._class_names,
            "world",
        )

    def numbers(self, places: np.ndarray, field: str, count: int, nonzero: bool = False) -> np.ndarray:
        """A field of some rows (rows, count), float64; with `nonzero` a row that is nothing but 0 is a mistake too."""
        numbers = self.table.vectors(field, places, count)
        wrong = ~np.isfinite(numbers).all(axis=1)
        if nonzero:
            wrong |= ~numbers.any(axis=1)
        if wrong.any():
            row = self.table.at(places[wrong.argmax()])
            what = f"{self.table.path}: {field} in sample {row.sample_token}"
            expected = f"{count} finite numbers{', not all 0' if nonzero else ''}"
            raise InputError(what, expected, f"{getattr(row, field)!r:.80}")
        return numbers


def headings(quaternions_wxyz: np.ndarray) -> np.ndarray:
    """Yaws (N,) [rad] of rotations (N, 4): where what is left of their x axis in the x-y plane points to."""
    forward = Rotation.from_quat(np.roll(quaternions_wxyz, -1, axis=1)).apply((1, 0, 0))
    return np.arctan2(forward[:, 1], forward[:, 0])
