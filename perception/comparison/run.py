"""Each method is made, scored under every condition, and timed; all of it is kept and taken up again.

    OUT/NAME/training/      what tools/train.py writes, where a method is trained
    OUT/NAME/config.yaml    the detector
    OUT/NAME/conditions/    scores, as tools/robustness.py keeps them
    OUT/NAME/cost.json      parameters, and the time a frame takes
    OUT/NAME/suite.json     mRA, where the suite was run; it is cheaper to run it for some methods only
    OUT/comparison.json     all of it

What a further run takes up goes by weights, data and code.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibration.files import is_file, write_atomically
from perception.checkpoints.combined import combine
from perception.checkpoints.shipped import checkpoint_of
from perception.comparison.methods import Method, Methods, config_of, weights_of
from perception.config import DetectorConfig
from perception.detector import load_detector
from perception.evaluation.truth import Truth
from perception.offline import frame_options_of
from perception.robustness import corruption_names, severities_of
from perception.robustness.frames import Condition
from perception.robustness.metrics import resistance
from perception.robustness.run import Settings, condition_scores
from perception.sources.nuscenes import Source
from perception.training.command import train_on_nuscenes

CONDITIONS = {
    "all sensors": Condition(),
    "no LiDAR": Condition("lidar_dropout", 3),
    "no camera": Condition("camera_drop", 3),
    "one camera lost": Condition("camera_drop", 1),
    "1 deg off": Condition("spatial_misalignment", 1),
    "50 ms off": Condition("temporal_misalignment", 1),
}
TIMED_FRAMES = 12
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Place:
    """What methods are trained and scored on, and where that is written."""

    root: Path
    version: str | None
    train_split: str | None
    truth: Truth
    out: Path
    folder: Path  # of the methods' file
    suite: tuple[Condition, ...] = ()  # whose mean share of the clean NDS is mRA


def spread(tokens: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of the samples, evenly spread."""
    rows = np.linspace(0, len(tokens), min(count, len(tokens)), endpoint=False).astype(int)
    return tuple(tokens[row] for row in rows)


def suite_of(severities: str) -> tuple[Condition, ...]:
    """Every corruption in these severities, given with commas between; none for an empty text."""
    levels = severities_of(severities, "--suite")
    return tuple(Condition(name, level) for name in corruption_names() for level in levels)


def compare(
    methods: Methods, selected: Iterable[Method], place: Place, progress: Progress, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Make and score the methods -> a row of facts each, which OUT/comparison.json gets too.

    Raises InputError for what can't be used; what is done by then is kept, as at Ctrl-C.
    """
    rows = []
    for method in selected:
        say(f"{method.name}:")
        rows.append(_row(methods, method, place, progress, say))
        write_atomically(place.out / "comparison.json", json.dumps(rows, indent=1))
    return rows


def _row(methods: Methods, method: Method, place: Place, progress: Progress, say: Callable[[str], None]) -> dict:
    config = config_of(methods, method, place.folder)
    path, checkpoint = _made(methods, method, config, place, progress, say)
    home = place.out / method.folder
    settings = Settings(path, checkpoint, corruptions=())  # conditions are named one by one
    wanted = list(dict.fromkeys((*CONDITIONS.values(), *place.suite)))
    found = condition_scores(settings, place.truth, home / "conditions", wanted, progress, say)
    scores = {title: found[condition] for title, condition in CONDITIONS.items()}
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    left = _left(found, place.suite, weights, home / "suite.json")
    about = {"name": method.name, "level": method.level, "of": method.of, "trained": _budget(method, config)}
    return about | {"scores": scores, "mRA": left} | _cost(path, checkpoint, place.truth, weights, home / "cost.json")


def _left(
    found: dict[Condition, dict[str, float]], suite: tuple[Condition, ...], weights: str, kept: Path
) -> float | None:
    """mRA under the suite; without one that of the last suite that these weights were put through, if any."""
    if not suite:
        before = _kept_of(weights, kept)
        return None if before is None else before["mRA"]
    under: dict[str, list[float]] = {}
    for condition in suite:
        under.setdefault(condition.name, []).append(found[condition]["NDS"])
    left = resistance(found[Condition()]["NDS"], under).mra
    severities = sorted({condition.severity for condition in suite})  # for who reads the file
    write_atomically(kept, json.dumps({"weights": weights, "severities": severities, "mRA": left}, indent=1))
    return left


def _kept_of(weights: str, kept: Path) -> dict[str, Any] | None:
    """What the file says, where it is there and of these weights."""
    found = json.loads(kept.read_text(encoding="utf-8")) if is_file(kept) else {}
    return found if found.get("weights") == weights else None


def _made(
    methods: Methods,
    method: Method,
    config: DetectorConfig,
    place: Place,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[Path, Path]:
    """The configuration and the weights of a method."""
    if method.config is not None:
        path = place.folder / method.config
        return path, checkpoint_of(path)
    weights, home = weights_of(methods, place.folder), place.out / method.folder
    if not method.trained:
        return combine(config, weights, home)
    out = home / "training"
    train_on_nuscenes(
        config,
        [place.root],
        out,
        version=place.version,
        split=place.train_split,
        weights=weights,
        device="cpu",
        allow_missing=False,
        progress=progress,
        say=say,
    )
    return out / "config.yaml", out / "weights.safetensors"


def _budget(method: Method, config: DetectorConfig) -> int:
    """Frames it was fine-tuned on."""
    if method.config is not None or not method.trained or config.training is None:
        return 0
    return config.training.epochs * (config.training.epoch_frames or 0)


def _cost(config: Path, checkpoint: Path, truth: Truth, weights: str, kept: Path) -> dict[str, Any]:
    """Millions of parameters, and the median time a frame takes from decoded images, in ms, on this machine."""
    before = _kept_of(weights, kept)
    if before is not None:
        return before["cost"]
    detector = load_detector(config, checkpoint)
    options = frame_options_of(detector.config, cameras_too=False, allow_missing=False, truth=False)
    tokens = spread(truth.tokens, TIMED_FRAMES)
    times = []
    for frame in Source(truth.folder.parent, options, version=truth.folder.name, tokens=tokens):
        start = time.perf_counter()
        detector(frame)
        times.append(time.perf_counter() - start)
    cost = {
        "parameters": sum(p.numel() for p in detector.network.parameters()) / 1e6,
        "ms": 1000 * statistics.median(times[1:] or times),  # the first also fills caches
        "threads": torch.get_num_threads(),
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps({"weights": weights, "cost": cost}, indent=1))
    return cost
