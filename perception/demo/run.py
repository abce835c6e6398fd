"""The demo's steps. Each is kept on disk, so that an interrupted run goes on where it stopped.

OUT/data                  the simulated drives, a nuScenes root
OUT/sim_lidar, ...        each detector's detections, scores, speed and full report
OUT/report.html           the three side by side
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from calibration.files import write_atomically
from calibration.spelling import counted
from perception.checkpoints.shipped import checkpoint_of
from perception.demo.page import write_page
from perception.demo.pictures import draw_scenes
from perception.detector import Detector, load_detector
from perception.evaluation.detecting import LABEL, detect_split
from perception.evaluation.detecting import Settings as DetectionSettings
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

SPLIT, SPEED = "sim_val", "speed.json"
TIMED_FRAMES = 8
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Contender:
    """One of the detectors that are compared."""

    title: str  # "LiDAR"
    config: Path
    checkpoint: Path


@dataclass(frozen=True)
class Speed:
    """How long a frame took, from decoded images and clouds to boxes."""

    median_ms: float
    frames: int
    threads: int
    load: float  # of the machine in the minute before: processes that wanted a core, this one's included

    @property
    def told(self) -> str:
        """How it was measured, in words."""
        return f"median of {counted(self.frames, 'frame')}, {counted(self.threads, 'thread')}, load {self.load:g}"


@dataclass(frozen=True)
class Outcome:
    """What a contender came to."""

    contender: Contender
    scores: Scores
    speed: Speed


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
    progress = _announced(progress, say)
    simulate(out / "data", settings, scenes, 0.0, workers, lambda items, total: progress(items, total, "simulating"))
    truth = load_truth(out / "data", VERSION, SPLIT)
    outcomes = [_outcome(contender, truth, out, progress, say) for contender in chosen]
    say("drawing")
    pictures = draw_scenes(truth, {outcome.contender.title: outcome.scores for outcome in outcomes})
    write_atomically(out / "report.html", write_page(outcomes, truth, settings, pictures))
    return outcomes


def _outcome(contender: Contender, truth: Truth, out: Path, progress: Progress, say: Callable[[str], None]) -> Outcome:
    title, folder = contender.title, out / contender.config.stem
    results = detect_split(
        DetectionSettings(contender.config, contender.checkpoint),
        truth,
        folder,
        Process(),
        lambda frames, total: progress(frames, total, f"detecting, {title}"),
        say,
    )
    say(f"scoring, {title}")
    return Outcome(contender, evaluate_results(results, truth, folder, say=say), _speed(contender, truth, folder, say))


def _speed(contender: Contender, truth: Truth, folder: Path, say: Callable[[str], None]) -> Speed:
    """As it was measured for these detections; now, where it wasn't yet."""
    path, label = folder / SPEED, (folder / LABEL).read_text(encoding="utf-8")
    of = hashlib.sha256(label.encode()).hexdigest()
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("detections") == of:
        return Speed(**kept["speed"])
    say(f"timing, {contender.title}")
    speed = _measured(load_detector(contender.config, contender.checkpoint), truth)
    write_atomically(path, json.dumps({"detections": of, "speed": asdict(speed)}, indent=1))
    return speed


def _measured(detector: Detector, truth: Truth) -> Speed:
    """From a frame in memory to its boxes; the first pass, which warms up, doesn't count."""
    load, times = os.getloadavg()[0], []
    tokens = truth.tokens[: TIMED_FRAMES + 1]
    options = frame_options_of(detector.config, cameras_too=False, allow_missing=False, truth=False)
    for frame in Source(truth.folder.parent, options, version=truth.folder.name, tokens=tokens):
        times.append(_timed(detector, frame))
    return Speed(1000 * statistics.median(times[1:]), len(times) - 1, torch.get_num_threads(), round(load, 1))


def _timed(detector: Detector, frame: Frame) -> float:
    start = time.perf_counter()
    detector(frame)
    return time.perf_counter() - start


def _announced(progress: Progress, say: Callable[[str], None]) -> Progress:
    """The same, and a line for each step: without a terminal there is no bar, and minutes would pass in silence."""

    def announced(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
        if total:
            say(f"{what}: {total} to do")
        return progress(items, total, what)

    return announced
