"""The demo's steps. Each is kept on disk, so that an interrupted run goes on where it stopped.

OUT/data                  the simulated drives, a nuScenes root
OUT/sim_lidar, ...        each detector's detections, scores and full report
OUT/report.html           the three side by side
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.files import write_atomically
from perception.checkpoints.shipped import checkpoint_of
from perception.demo.page import write_page
from perception.demo.pictures import draw_scenes
from perception.detector import Detector, load_detector
from perception.evaluation.detecting import Settings as DetectionSettings
from perception.evaluation.detecting import detect_split
from perception.evaluation.process import Process
from perception.evaluation.run import evaluate_results
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth, load_truth
from perception.offline import frame_options_of
from perception.simulation.dataset import simulate
from perception.simulation.scene import Settings as SceneSettings
from perception.simulation.tables import VERSION
from perception.sources.nuscenes import Source
from perception.types import Frame

SPLIT = "sim_val"
TIMED_FRAMES = 8
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Contender:
    """One of the detectors that are compared."""

    title: str  # "LiDAR"
    config: Path
    checkpoint: Path


@dataclass(frozen=True)
class Outcome:
    """What a contender came to."""

    contender: Contender
    scores: Scores
    frame_ms: float  # median of a frame, from decoded images and clouds to boxes


def contenders(configs: Path) -> list[Contender]:
    """The detectors that come with the project, of the configurations in this folder."""
    names = {"LiDAR": "sim_lidar", "camera": "sim_camera", "LiDAR + camera": "sim_fusion"}
    files = {title: configs / f"{name}.yaml" for title, name in names.items()}
    return [Contender(title, file, checkpoint_of(file)) for title, file in files.items()]


def run_demo(
    out: Path,
    chosen: Sequence[Contender],  # the last is the one that pictures are chosen for
    scenes: int,
    settings: SceneSettings,
    workers: int,
    progress: Progress,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Simulate, detect, score, and write `out`/report.html.

    Raises InputError for what can't be used or written; what is done by then is kept.
    """
    simulate(out / "data", settings, scenes, 0.0, workers, lambda items, total: progress(items, total, "simulating"))
    truth = load_truth(out / "data", VERSION, SPLIT)
    outcomes = [_outcome(contender, truth, out, progress, say) for contender in chosen]
    pictures = draw_scenes(truth, {outcome.contender.title: outcome.scores for outcome in outcomes})
    write_atomically(out / "report.html", write_page(outcomes, truth, settings, pictures))
    return outcomes


def _outcome(contender: Contender, truth: Truth, out: Path, progress: Progress, say: Callable[[str], None]) -> Outcome:
    name = contender.config.stem
    results = detect_split(
        DetectionSettings(contender.config, contender.checkpoint),
        truth,
        out / name,
        Process(),
        lambda frames, total: progress(frames, total, f"detecting, {contender.title}"),
        say,
    )
    scores = evaluate_results(results, truth, out / name, say=say)
    return Outcome(contender, scores, _frame_ms(load_detector(contender.config, contender.checkpoint), truth))


def _frame_ms(detector: Detector, truth: Truth) -> float:
    """Milliseconds from a frame in memory to its boxes; the first pass, which warms up, doesn't count."""
    tokens = truth.tokens[: TIMED_FRAMES + 1]
    options = frame_options_of(detector.config, cameras_too=False, allow_missing=False, truth=False)
    times = []
    for frame in Source(truth.folder.parent, options, version=truth.folder.name, tokens=tokens):
        times.append(_timed(detector, frame))
    return 1000 * statistics.median(times[1:])


def _timed(detector: Detector, frame: Frame) -> float:
    start = time.perf_counter()
    detector(frame)
    return time.perf_counter() - start
