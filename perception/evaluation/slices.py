"""Scores of parts of the data: by distance, visibility, class size, speed and scene condition.

Boxes are matched once, over everything that counts. Of a slice count the objects that lie in it. A detection that
matches an object in the slice is a hit there; one that matches an object elsewhere is neither right nor wrong; one that
matches nothing is a false alarm where it lies itself, by its own distance, speed and scene. Detections have no
visibility, so a false alarm counts on every level: these scores compare with one another, not with the whole. mAP is
the mean over the classes with an object in the slice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.curves import curve_of
from perception.evaluation.filtering import ego_distances
from perception.evaluation.matching import NONE
from perception.evaluation.metrics import Metrics, metrics_of
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth
from perception.nuscenes import CLASS_NAMES

DISTANCES_M = (0, 20, 30, 40, np.inf)
SPEEDS = (0, 0.5, 5, 10, np.inf)  # m/s
CLASS_SIZES = {
    "small": ("pedestrian", "bicycle", "motorcycle", "traffic_cone", "barrier"),
    "medium": ("car",),
    "large": ("truck", "bus", "trailer", "construction_vehicle"),
}
MOVING_CLASSES = tuple(name for name in CLASS_NAMES if name not in ("traffic_cone", "barrier"))
CONDITIONS = {  # what scene descriptions say, at the start of a word; a scene may have several
    "night": "night",
    "dusk or dawn": "dusk|dawn|twilight",
    "rain": "rain|wet",
    "fog": "fog|mist",
    "snow": "snow",
    "overcast": "overcast|cloud",
}
FAIR = "none of these"


@dataclass(frozen=True)
class Slice:
    """A part of the data."""

    group: str
    name: str
    objects: np.ndarray  # (M,) bool
    predictions: np.ndarray  # (N,) bool, where false alarms count
    classes: tuple[str, ...] = CLASS_NAMES


@dataclass(frozen=True)
class SliceScore:
    """How well a part of the data does."""

    group: str
    name: str
    objects: int
    found: float  # share of the objects that any detection matches at the threshold of the errors
    metrics: Metrics  # of the classes with an object

    def as_json(self) -> dict[str, Any]:
        """As slices.json has it; null for errors that no class of the slice has."""
        errors = self.metrics.tp_errors
        return {
            "group": self.group,
            "slice": self.name,
            "objects": self.objects,
            "recall": self.found,
            "mean_ap": self.metrics.mean_ap,
            "tp_errors": {name: None if np.isnan(error) else error for name, error in errors.items()},
            "class_aps": self.metrics.mean_dist_aps,
        }


def score_slices(scores: Scores, truth: Truth) -> list[SliceScore]:
    """The scores of every slice that has an object."""
    return [scored for part in slices_of(scores, truth) if (scored := _scored(part, scores)) is not None]


def slices_of(scores: Scores, truth: Truth) -> Iterator[Slice]:
    """Every slice, group after group."""
    objects, predictions = scores.objects, scores.predictions
    names = ("0-20 m", "20-30 m", "30-40 m", "40 m and more")
    yield from _ranges("distance", names, DISTANCES_M, ego_distances(objects, truth), ego_distances(predictions, truth))
    levels = np.array(truth.visibility, object)[scores.object_rows]
    for level in sorted(set(levels)):
        title = level.removeprefix("v") + " % visible" if level else "not known"
        yield Slice("visibility", title, levels == level, np.ones(len(predictions), bool))
    for size, classes in CLASS_SIZES.items():
        title = f"{size}: {', '.join(classes)}".replace("_", " ")
        yield Slice("class size", title, np.ones(len(objects), bool), np.ones(len(predictions), bool), classes)
    names = ("below 0.5 m/s", "0.5-5 m/s", "5-10 m/s", "10 m/s and more")
    for part in _ranges("speed", names, SPEEDS, _speeds(objects), _speeds(predictions)):
        yield Slice(part.group, part.name, part.objects, part.predictions, MOVING_CLASSES)
    for condition, samples in conditions_of([scene.description for scene in truth.scenes]).items():
        yield Slice("scene condition", condition, samples[objects.samples], samples[predictions.samples])


def conditions_of(descriptions: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Which samples (S,) bool are under each condition that occurs, from the descriptions of their scenes."""
    found = {
        name: np.array([bool(re.search(rf"\b({words})", text, re.IGNORECASE)) for text in descriptions])
        for name, words in CONDITIONS.items()
    }
    found[FAIR] = ~np.any(list(found.values()), axis=0)
    return {name: samples for name, samples in found.items() if samples.any()}


def _ranges(
    group: str, names: Sequence[str], limits: Sequence[float], objects: np.ndarray, predictions: np.ndarray
) -> Iterator[Slice]:
    for name, low, high in zip(names, limits, limits[1:], strict=False):
        yield Slice(group, name, (objects >= low) & (objects < high), (predictions >= low) & (predictions < high))


def _speeds(boxes: SampleBoxes) -> np.ndarray:
    return np.linalg.norm(boxes.boxes.velocities, axis=1)


def _scored(part: Slice, scores: Scores) -> SliceScore | None:
    definition = scores.metrics.definition
    curves, count, found = {}, 0, 0
    for (name, threshold), matching in scores.matchings.items():
        mine = part.objects[matching.truth]
        if name not in part.classes or not mine.any():
            continue
        hits = matching.matched != NONE
        keep = part.predictions[matching.predictions]
        keep[hits] = part.objects[matching.matched[hits]]
        curves[name, threshold] = curve_of(matching, int(mine.sum()), keep)
        if threshold == definition.dist_th_tp:
            count, found = count + int(mine.sum()), found + int((keep & hits).sum())
    if not curves:
        return None
    return SliceScore(part.group, part.name, count, found / count, metrics_of(curves, definition))
