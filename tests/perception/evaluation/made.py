"""Submissions for the made-up dataset, wrong in every way a detector may be; and truth without a dataset."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import ATTRIBUTE_NAMES
from perception.evaluation.results_file import Results
from perception.evaluation.scoring import Scores, score
from perception.evaluation.truth import Racks, Scene, Subset, Truth
from perception.nuscenes import CLASS_NAMES
from perception.types import Boxes3D

META = {"use_camera": True, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


def record(token: str, name: str = "car", **fields: Any) -> dict[str, Any]:
    """A detection, legal unless told otherwise."""
    given = {
        "sample_token": token,
        "translation": [400.0, 1100.0, 1.0],
        "size": [2.0, 4.0, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": name,
        "detection_score": 0.5,
        "attribute_name": "",
    }
    return given | fields


def random_results(
    truth: Truth,
    seed: int,
    *,
    copies: int = 3,  # at most, of each object
    wrong: int = 6,  # at most, of false detections a sample
    spread: float = 0.8,  # [m]
    decimals: int = 2,  # of scores: few make ties
    unknown_velocities: float = 0.1,
    left_out: tuple[str, ...] = (),  # classes that aren't detected
    empty: tuple[int, ...] = (),  # samples without detections
) -> dict[str, list[dict]]:
    """Detections of every sample."""
    rng = np.random.default_rng(seed)
    results: dict[str, list[dict]] = {token: [] for token in truth.tokens}
    boxes = truth.objects.boxes
    for row, sample in enumerate(truth.objects.samples):
        name = CLASS_NAMES[boxes.labels[row]]
        if name in left_out or sample in empty:
            continue
        for _ in range(rng.integers(0, copies + 1)):
            center = boxes.centers[row] + rng.normal(0, spread, 3)
            size = boxes.sizes[row][[1, 0, 2]] * rng.uniform(0.7, 1.4, 3)
            results[truth.tokens[sample]].append(
                _random(rng, truth.tokens[sample], name, center, size, boxes.yaws[row], decimals, unknown_velocities)
            )
    for sample, token in enumerate(truth.tokens):
        for _ in range(0 if sample in empty else rng.integers(0, wrong + 1)):
            center = truth.ego_world[sample] + rng.normal(0, 30, 3)
            name = rng.choice([name for name in CLASS_NAMES if name not in left_out])
            results[token].append(
                _random(rng, token, str(name), center, rng.uniform(0.5, 5, 3), 0, decimals, unknown_velocities)
            )
        rng.shuffle(results[token])
    return results


def _random(
    rng: np.random.Generator,
    token: str,
    name: str,
    center: np.ndarray,
    size: np.ndarray,
    yaw: float,
    decimals: int,
    unknown: float,
) -> dict[str, Any]:
    half = (yaw + rng.normal(0, 0.6) + np.pi * (rng.random() < 0.2)) / 2
    tilt = rng.normal(0, 0.02, 2)
    rotation = np.array([np.cos(half), *tilt, np.sin(half)]) * rng.uniform(0.5, 2)  # its length doesn't matter
    velocity = [float("nan")] * 2 if rng.random() < unknown else rng.normal(0, 3, 2).tolist()
    return record(
        token,
        name,
        translation=center.tolist(),
        size=size.tolist(),
        rotation=rotation.tolist(),
        velocity=velocity,
        detection_score=float(np.round(rng.uniform(0.01, 1), decimals)),
        attribute_name=str(rng.choice(["", *ATTRIBUTE_NAMES])),
    )


def write_submission(path: Path, results: dict[str, list[dict]], meta: Any = META) -> Path:
    """A results file -> its path."""
    path.write_text(json.dumps({"meta": meta, "results": results}))
    return path


def largest_difference(ours: Any, theirs: Any, but: Collection[str] = ()) -> float:
    """Between two JSON values of the same structure; NaN equals NaN. AssertionError where the structures differ.

    `but` are keys at the top whose values may be anything.
    """
    if isinstance(theirs, dict):
        ours = {str(key): value for key, value in ours.items() if key not in but}
        theirs = {str(key): value for key, value in theirs.items() if key not in but}
        assert set(ours) == set(theirs)
        return max((largest_difference(ours[key], theirs[key]) for key in theirs), default=0.0)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        return max(map(largest_difference, ours, theirs), default=0.0)
    if isinstance(theirs, (int, float)):
        return 0.0 if np.isnan(ours) and np.isnan(theirs) else abs(ours - theirs)
    assert ours == theirs
    return 0.0


def made_up_truth(
    centers: Sequence[tuple[float, float]],  # [m] of cars, relative to the ego vehicle, all in one sample unless told
    *,
    names: Sequence[str] = (),
    samples: Sequence[int] = (),
    speeds: Sequence[float] = (),  # m/s
    levels: Sequence[str] = (),
    points: Sequence[int] = (),
    instances: Sequence[str] = (),
    descriptions: Sequence[str] = ("",),  # of the scenes, one sample each
) -> Truth:
    """Annotations without a dataset."""
    count, scenes = len(centers), len(descriptions)
    return Truth(
        Path("v1.0-made"),
        "made",
        Subset(),
        tuple(f"sample{number}" for number in range(scenes)),
        frozenset(),
        tuple(Scene(f"token{number}", f"scene{number}", text) for number, text in enumerate(descriptions)),
        np.zeros((scenes, 3)),
        made_up_boxes(centers, names=names, samples=samples, speeds=speeds),
        np.array(points or [5] * count, np.int64),
        tuple(levels or ["v80-100"] * count),
        tuple(instances or [f"track{row}" for row in range(count)]),
        Racks(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3, 3))),
    )


def made_up_boxes(
    centers: Sequence[tuple[float, float]],
    scores: Sequence[float] = (),
    *,
    names: Sequence[str] = (),
    samples: Sequence[int] = (),
    speeds: Sequence[float] = (),
) -> SampleBoxes:
    """Boxes of 4 x 2 x 2 m that head along x; cars in the first sample unless told otherwise."""
    count = len(centers)
    boxes = Boxes3D(
        np.column_stack([np.reshape(centers, (-1, 2)), np.zeros(count)]),
        np.tile([4.0, 2.0, 2.0], (count, 1)),
        np.zeros(count),
        np.column_stack([list(speeds) or np.zeros(count), np.zeros(count)]),
        np.array(list(scores) or [1.0] * count),
        np.array([CLASS_NAMES.index(name) for name in (names or ["car"] * count)], np.int64),
        CLASS_NAMES,
        "world",
    )
    return SampleBoxes(np.array(list(samples) or [0] * count, np.int64), boxes, np.full(count, -1))


def scored(truth: Truth, predictions: SampleBoxes) -> Scores:
    """The scores of detections that come from no file."""
    return score(Results(META, predictions, 0), truth)
