"""Ground-truth paste: objects of other frames, points and box, put into a frame.

Yan et al., SECOND, Sensors 2018. A frame of a street holds few buses and bicycles; with paste, every frame does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calibration.errors import InputError
from calibration.files import written_whole
from perception.ops.overlap import overlap_bev
from perception.training.settings import PasteSettings
from perception.types import BOX_COLUMNS, Boxes3D, Frame

STRIP_M, STRIPS = 0.25, 2**15  # along x, points are looked up by strips this wide, so many on either side of 0

Objects = list[tuple[Boxes3D, np.ndarray]]  # one box each, and its points (M, 5) float32


@dataclass(frozen=True)
class PasteDatabase:
    """Objects with their points, each where it was in the lidar frame of its own keyframe."""

    boxes: Boxes3D  # N
    points: tuple[np.ndarray, ...]  # N times (M_i, 5) float32

    @staticmethod
    def collect(frames: Iterable[Objects], settings: PasteSettings, seed: int) -> PasteDatabase:
        """Of the frames' `objects_of` each class at most `most_of_class`, at random."""
        kept: dict[str, Objects] = {name: [] for name in settings.objects}
        seen, rng = dict.fromkeys(kept, 0), np.random.default_rng(seed)
        for objects in frames:
            for box, points in objects:
                name = box.class_names[box.labels[0]]
                seen[name] += 1
                if len(kept[name]) < settings.most_of_class:
                    kept[name].append((box, points))
                elif (place := rng.integers(seen[name])) < settings.most_of_class:  # reservoir: all are equally likely
                    kept[name][place] = (box, points)
        objects = [both for of_class in kept.values() for both in of_class]
        if not objects:
            expected = f"objects of {', '.join(settings.objects)} with {settings.min_points} points or more"
            raise InputError("training.paste", expected, "none in the training split")
        return PasteDatabase(Boxes3D.joined([box for box, _ in objects]), tuple(points for _, points in objects))

    def save(self, path: Path, identity: str) -> None:
        """Write an .npz file, whole or not at all; `identity` says what it was made from."""
        columns = {name: getattr(self.boxes, name) for name in BOX_COLUMNS}
        lengths = np.array([len(points) for points in self.points])
        with written_whole(path) as beside, beside.open("wb") as file:
            points, names = np.concatenate(self.points), np.array(self.boxes.class_names)
            np.savez(file, identity=identity, points=points, lengths=lengths, class_names=names, **columns)

    @staticmethod
    def load(path: Path, identity: str) -> PasteDatabase | None:
        """What was saved under the same identity; None if nothing was."""
        if not path.is_file():
            return None
        with np.load(path) as stored:
            if str(stored["identity"]) != identity:
                return None
            boxes = Boxes3D(*(stored[name] for name in BOX_COLUMNS), tuple(map(str, stored["class_names"])))
            return PasteDatabase(boxes, tuple(np.split(stored["points"], np.cumsum(stored["lengths"])[:-1])))

    def paste(
        self, points: np.ndarray, boxes: Boxes3D, settings: PasteSettings, rng: np.random.Generator
    ) -> tuple[np.ndarray, Boxes3D]:
        """Fill a frame up to `settings.objects` -> its points and boxes with the new ones.

        No new object touches another from above; what was where it is now goes away.
        """
        rows = self._free_rows(self._drawn(boxes, settings, rng), boxes)
        new = self.boxes.select(rows)
        buried = np.zeros(len(points), bool)
        for rows_inside in inside(points, new):
            buried[rows_inside] = True
        pasted = [self.points[row] for row in rows]
        return np.concatenate([points[~buried], *pasted]), Boxes3D.joined([boxes, new])

    def _drawn(self, boxes: Boxes3D, settings: PasteSettings, rng: np.random.Generator) -> np.ndarray:
        """Rows to try, classes mixed: as many of each class as the frame lacks."""
        rows = []
        for name, wanted in settings.objects.items():
            label = boxes.class_names.index(name) if name in boxes.class_names else -1
            pool = np.flatnonzero(self.boxes.labels == label)
            lacking = min(max(0, wanted - int((boxes.labels == label).sum())), len(pool))
            rows.append(rng.choice(pool, lacking, replace=False) if lacking else np.zeros(0, np.int64))
        return rng.permutation(np.concatenate(rows)).astype(np.int64)

    def _free_rows(self, rows: np.ndarray, boxes: Boxes3D) -> list[int]:
        """Those that touch neither a box of the frame nor an earlier one of these."""
        all_boxes = Boxes3D.joined([self.boxes.select(rows), boxes])
        table = torch.from_numpy(np.column_stack([all_boxes.centers, all_boxes.sizes, all_boxes.yaws]))
        touching = (overlap_bev(table[: len(rows)], table) > 0).numpy()
        accepted = np.zeros(len(all_boxes), bool)
        accepted[len(rows) :] = True
        for index in range(len(rows)):
            accepted[index] = not (touching[index] & accepted).any()
        return list(rows[accepted[: len(rows)]])


def inside(points: np.ndarray, boxes: Boxes3D) -> list[np.ndarray]:
    """The rows of points (N, >= 3) that lie in each of the boxes, ascending; only those near a box are looked at."""
    strips = np.floor(points[:, 0] / STRIP_M)
    strips = np.clip(strips, -STRIPS, STRIPS - 1).astype(np.int16)  # numbers this short are sorted in linear time
    order = np.argsort(strips, kind="stable")
    ordered = strips[order]
    reaches = np.linalg.norm(boxes.sizes[:, :2], axis=1) / 2
    found = []
    for index, ((x, y, _), reach) in enumerate(zip(boxes.centers, reaches, strict=True)):
        first, last = np.clip(np.floor(np.array([x - reach, x + reach]) / STRIP_M), -STRIPS, STRIPS - 1)
        near = order[np.searchsorted(ordered, np.int16(first)) : np.searchsorted(ordered, np.int16(last), side="right")]
        near = near[np.abs(points[near, 1] - y) <= reach]
        found.append(np.sort(near[boxes.select([index]).contain(points[near])[0]]))
    return found


def objects_of(frame: Frame, settings: PasteSettings) -> Objects:
    """A frame's objects that are worth pasting, and their points of all sweeps."""
    if frame.truth is None or frame.cloud is None:
        return []
    boxes = frame.truth.boxes
    wanted = np.isin(boxes.labels, [label for label, name in enumerate(boxes.class_names) if name in settings.objects])
    boxes = boxes.select(wanted & (frame.truth.lidar_points >= settings.min_points))
    rows_of_boxes = inside(frame.cloud.points, boxes)
    return [(boxes.select([index]), frame.cloud.points[rows]) for index, rows in enumerate(rows_of_boxes)]
