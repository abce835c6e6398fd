"""How fast the scorer is, beside the development kit's, on made-up boxes: `python -m perception.evaluation.measure`.

The kit is measured on the first samples of the same boxes, since all of them take it minutes, and must get the same
numbers.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import ATTRIBUTE_NAMES, ERRORS, OFFICIAL
from perception.evaluation.metrics import Curves, curves_of, match_all, metrics_of
from perception.nuscenes import CLASS_NAMES
from perception.types import Boxes3D

SHARES = (0.42, 0.08, 0.02, 0.02, 0.03, 0.13, 0.01, 0.01, 0.2, 0.08)  # of CLASS_NAMES, about as in nuScenes


def made_up_boxes(
    samples: int, objects: int, detections: int, rng: np.random.Generator
) -> tuple[SampleBoxes, SampleBoxes]:
    """Truth with `objects` a sample, and as many detections a sample: half of them near an object, half anywhere."""
    count = samples * objects
    centers = np.column_stack([rng.uniform(-45, 45, (count, 2)), rng.normal(0, 1, count)])
    sizes, yaws = rng.uniform(0.5, 5, (count, 3)), rng.uniform(-np.pi, np.pi, count)
    labels = rng.choice(len(CLASS_NAMES), count, p=SHARES)
    velocities = np.where(rng.random((count, 1)) < 0.02, np.nan, rng.normal(0, 3, (count, 2)))
    boxes = Boxes3D(centers, sizes, yaws, velocities, np.ones(count), labels, CLASS_NAMES, "world")
    attributes = rng.integers(-1, len(ATTRIBUTE_NAMES), count)
    truth = SampleBoxes(np.repeat(np.arange(samples), objects), boxes, attributes)

    near = truth.select(np.sort(rng.integers(0, count, samples * detections // 2)))
    wrong = truth.select(np.sort(rng.integers(0, count, samples * detections - len(near))))
    found = [_disturbed(near, 0.7, rng), _disturbed(wrong, 20, rng)]
    which = np.concatenate([part.samples for part in found])
    attributes = np.concatenate([part.attributes for part in found])
    predictions = SampleBoxes(which, Boxes3D.joined([part.boxes for part in found]), attributes)
    return predictions.select(np.argsort(which, kind="stable")), truth


def _disturbed(boxes: SampleBoxes, distance: float, rng: np.random.Generator) -> SampleBoxes:
    count, old = len(boxes), boxes.boxes
    new = Boxes3D(
        old.centers + rng.normal(0, distance, (count, 3)),
        old.sizes * rng.uniform(0.8, 1.25, (count, 3)),
        old.yaws + rng.normal(0, 0.4, count),
        np.nan_to_num(old.velocities) + rng.normal(0, 1, (count, 2)),
        np.round(np.clip(rng.beta(2, 2 + distance / 5, count), 0.001, 1), 3),  # so that there are equal ones
        old.labels,
        CLASS_NAMES,
        "world",
    )
    kept = rng.random(count) < 0.8
    return SampleBoxes(boxes.samples, new, np.where(kept, boxes.attributes, rng.integers(-1, 8, count)))


def first_samples(boxes: SampleBoxes, count: int) -> SampleBoxes:
    """The boxes of the samples below a number."""
    return boxes.select(boxes.samples < count)


def as_kit_boxes(boxes: SampleBoxes, samples: int, truth: bool) -> Any:
    """The same boxes as the development kit's EvalBoxes."""
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    made, b = EvalBoxes(), boxes.boxes
    for sample in range(samples):
        made.add_boxes(str(sample), [])
    for row, sample in enumerate(boxes.samples):
        half, code = b.yaws[row] / 2, boxes.attributes[row]
        made.add_boxes(
            str(sample),
            [
                DetectionBox(
                    str(sample),
                    tuple(b.centers[row]),
                    tuple(b.sizes[row][[1, 0, 2]]),
                    (np.cos(half), 0.0, 0.0, np.sin(half)),
                    tuple(b.velocities[row]),
                    detection_name=CLASS_NAMES[b.labels[row]],
                    detection_score=-1.0 if truth else float(b.scores[row]),
                    attribute_name=ATTRIBUTE_NAMES[code] if code >= 0 else "",
                )
            ],
        )
    return made


def kit_curves(predictions: Any, truth: Any) -> dict[tuple[str, float], Any]:
    """What the development kit accumulates."""
    from nuscenes.eval.common.utils import center_distance
    from nuscenes.eval.detection.algo import accumulate

    return {
        (name, threshold): accumulate(truth, predictions, name, center_distance, threshold)
        for name in OFFICIAL.class_range
        for threshold in OFFICIAL.dist_ths
    }


def largest_difference(ours: Curves, theirs: dict[tuple[str, float], Any]) -> float:
    """Between any two numbers of the curves."""
    return max(
        float(np.abs(one - other).max())
        for key, curve in ours.items()
        for one, other in [
            (curve.precision, theirs[key].precision),
            (curve.confidence, theirs[key].confidence),
            *((curve.errors[:, column], getattr(theirs[key], name)) for column, name in enumerate(ERRORS)),
        ]
    )


def main() -> None:
    """Print both times, their ratio, and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=6019, help="as many as nuScenes' validation set has")
    parser.add_argument("--objects", type=int, default=30, help="a sample")
    parser.add_argument("--detections", type=int, default=200, help="a sample")
    parser.add_argument("--devkit-samples", type=int, default=601, help="for the development kit; 0 for none")
    settings = parser.parse_args()
    rng = np.random.default_rng(0)
    predictions, truth = made_up_boxes(settings.samples, settings.objects, settings.detections, rng)
    whole, _ = _timed(predictions, truth)
    print(f"ours, {settings.samples} samples x {settings.detections} boxes: {whole:.2f} s")
    if settings.devkit_samples:
        few = settings.devkit_samples
        predictions, truth = first_samples(predictions, few), first_samples(truth, few)
        part, curves = _timed(predictions, truth)
        kit = as_kit_boxes(predictions, few, truth=False), as_kit_boxes(truth, few, truth=True)
        start = time.perf_counter()
        theirs = kit_curves(*kit)
        elapsed = time.perf_counter() - start
        print(
            f"ours, {few} samples: {part:.3f} s; development kit: {elapsed:.2f} s, {elapsed / part:.0f} times as long"
        )
        print(f"largest difference of any number of the curves: {largest_difference(curves, theirs):.1e}")


def _timed(predictions: SampleBoxes, truth: SampleBoxes) -> tuple[float, Curves]:
    start = time.perf_counter()
    curves = curves_of(match_all(predictions, truth, OFFICIAL))
    metrics_of(curves, OFFICIAL)
    return time.perf_counter() - start, curves


if __name__ == "__main__":
    main()
