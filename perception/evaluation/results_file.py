"""Reading a nuScenes detection submission, and refusing one that can't be scored.

The text is decoded a sample at a time into columns: as Python objects a whole validation set would take gigabytes.
Source of the format: the nuScenes detection task, "Results format".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import ATTRIBUTE_NAMES, Definition
from perception.evaluation.results_text import members
from perception.evaluation.truth import Truth
from perception.nuscenes import CLASS_NAMES, OFFICIAL_SPLITS
from perception.sources.nuscenes_truth import headings
from perception.types import Boxes3D

VECTORS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
FIELDS = (*VECTORS, "detection_score", "detection_name", "attribute_name", "sample_token")
LABELS = {name: index for index, name in enumerate(CLASS_NAMES)}
ATTRIBUTES = {"": -1} | {name: index for index, name in enumerate(ATTRIBUTE_NAMES)}


@dataclass(frozen=True)
class Results:
    """A submission's detections of the samples to score."""

    meta: dict[str, Any]
    predictions: SampleBoxes
    left_out: int  # samples in the file that aren't among those to score


def read_results(path: Path, truth: Truth, definition: Definition) -> Results:
    """Read a submission for the samples of `truth`.

    Detections come in the order of the file for official splits, and in the dataset's order for others, which is how
    the development kit breaks ties of scores. Raises InputError, naming sample and box, for whatever isn't as the
    format says; for samples that are missing or unknown; and for samples of other splits if the split is an official
    one and wanted whole. Velocities may be NaN; such errors aren't averaged.
    """
    numbers = {token: number for number, token in enumerate(truth.tokens)}
    found: dict[str, np.ndarray] = {}
    meta, outside = None, set()
    for token, records in members(path):
        if token is None:
            meta = records
            continue
        if token in found or token in outside:
            raise InputError(f"{path}: results of sample {token}", "each sample once", "it for the second time")
        if token in numbers:
            found[token] = _columns(f"{path}: sample {token}", token, records, definition.max_boxes_per_sample)
        elif token in truth.all_tokens:
            outside.add(token)
        else:
            what = f"{path}: results"
            raise InputError(what, f"samples of {truth.folder}", f"unknown token {token!r}", "is it another dataset's?")
    if not isinstance(meta, dict):
        raise InputError(str(path), 'an object "meta" beside the results', "none" if meta is None else repr(meta)[:40])
    _check_complete(path, truth, found, outside)
    order = found if truth.split in OFFICIAL_SPLITS else truth.tokens
    return Results(meta, _joined([numbers[token] for token in order], [found[token] for token in order]), len(outside))


def _check_complete(path: Path, truth: Truth, found: dict[str, np.ndarray], outside: set[str]) -> None:
    missing = [token for token in truth.tokens if token not in found]
    if missing:
        got = f"{len(found)}, without {missing[0]}"
        raise InputError(f"{path}: results", f"the {len(truth.tokens)} samples of split {truth.split}", got)
    if outside and truth.split in OFFICIAL_SPLITS and truth.subset.whole:
        got = f"{len(outside)} of other splits, such as {min(outside)}"
        raise InputError(f"{path}: results", f"samples of split {truth.split} only", got)


def _columns(what: str, token: str, records: Any, most: int) -> np.ndarray:
    """A sample's detections as rows: VECTORS' numbers, score, label, attribute."""
    if not isinstance(records, list):
        raise InputError(what, "a list of boxes", type(records).__name__)
    if len(records) > most:
        raise InputError(what, f"at most {most} boxes", f"{len(records)}", "keep the best")
    if not records:
        return np.zeros((0, sum(VECTORS.values()) + 3))
    try:
        columns = dict(zip(FIELDS, zip(*map(itemgetter(*FIELDS), records), strict=True), strict=True))
    except (KeyError, TypeError, IndexError):
        raise _first_bad(what, records, _has_fields, f"an object with {', '.join(FIELDS)}") from None
    parts = [_vectors(what, name, columns[name], count) for name, count in VECTORS.items()]
    parts.append(_vectors(what, "detection_score", [[score] for score in columns["detection_score"]], 1))
    parts.append(_codes(what, "detection_name", columns["detection_name"], LABELS))
    parts.append(_codes(what, "attribute_name", columns["attribute_name"], ATTRIBUTES))
    _check_values(what, columns, *parts[1:3], parts[4])
    for row, other in enumerate(columns["sample_token"]):
        if other != token:
            raise InputError(f"{what}: sample_token of box {row}", "the sample it is listed under", repr(other)[:60])
    return np.column_stack(parts)


def _vectors(what: str, name: str, values: Sequence[Any], count: int) -> np.ndarray:
    """A field of all boxes (N, count)."""
    expected = f"{count} finite numbers" if count > 1 else "a finite number"
    if not all(_is_vector(value, count) for value in values):
        raise _first_bad(f"{what}: {name}", values, lambda value: _is_vector(value, count), expected)
    try:
        numbers = np.fromiter(chain.from_iterable(values), np.float64, len(values) * count).reshape(-1, count)
    except OverflowError:
        raise InputError(f"{what}: {name}", expected, "an integer of more than 300 digits") from None
    bad = np.isinf(numbers) if name == "velocity" else ~np.isfinite(numbers)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise InputError(f"{what}: {name} of box {row}", expected, f"{numbers[row].tolist()}")
    return numbers


def _is_vector(value: Any, count: int) -> bool:
    return type(value) is list and len(value) == count and {int, float}.issuperset(map(type, value))


def _check_values(what: str, columns: dict[str, Any], sizes: np.ndarray, rotations: np.ndarray, scores: Any) -> None:
    checks = (
        ("size", (sizes > 0).all(axis=1), "three sizes > 0"),
        ("rotation", rotations.any(axis=1), "a quaternion w, x, y, z that isn't all 0"),
        ("detection_score", scores[:, 0] >= 0, "a score >= 0"),
    )
    for name, good, expected in checks:
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InputError(f"{what}: {name} of box {row}", expected, f"{columns[name][row]}")


def _codes(what: str, field: str, names: Sequence[Any], known: dict[str, int]) -> np.ndarray:
    for row, name in enumerate(names):
        if type(name) is not str or name not in known:
            kind = "class" if known is LABELS else "attribute"
            got = repr(name)[:60]
            raise InputError(f"{what}: {field} of box {row}", f"a nuScenes {kind}", got, did_you_mean(name, known))
    return np.array([known[name] for name in names], np.float64)


def _first_bad(what: str, values: Sequence[Any], good: Callable[[Any], bool], expected: str) -> InputError:
    row = next(row for row, value in enumerate(values) if not good(value))
    return InputError(f"{what}: box {row}", expected, f"{values[row]!r:.80}")


def _has_fields(record: Any) -> bool:
    return isinstance(record, dict) and all(name in record for name in FIELDS)


def _joined(numbers: Sequence[int], parts: Sequence[np.ndarray]) -> SampleBoxes:
    samples = np.repeat(np.array(numbers, np.int64), [len(part) for part in parts])
    table = np.concatenate(parts)
    ends = np.cumsum([*VECTORS.values(), 1, 1, 1])
    centers, sizes, rotations, velocities, scores, labels, attributes = np.split(table, ends[:-1], axis=1)
    boxes = Boxes3D(
        centers,
        sizes[:, [1, 0, 2]],  # from width, length, height
        headings(rotations) if len(rotations) else np.zeros(0),
        velocities,
        scores[:, 0],
        labels[:, 0].astype(np.int64),
        CLASS_NAMES,
        "world",
    )
    return SampleBoxes(samples, boxes, attributes[:, 0].astype(np.int64))
