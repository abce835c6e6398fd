"""A detector under every corruption: what tools/robustness.py does.

    OUT/robustness.json     all scores, and what is left of them
    OUT/heatmap.png         the same to look at
    OUT/report.html         the same with a picture of each corruption; needs nothing else
    OUT/conditions/*.json   the scores of each corruption and severity, which a further run takes up

A condition's file is named after everything that its scores depend on: configuration, weights, data, samples, seed, and
the code of the corruption. A condition that was interrupted goes on after its last finished frame.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import InputError
from calibration.files import is_file, make_folder, write_atomically
from perception.config import DetectorConfig
from perception.detector import Detector, load_detector
from perception.evaluation.definition import OFFICIAL
from perception.evaluation.metrics import Metrics
from perception.evaluation.results_file import read_results
from perception.evaluation.scoring import score
from perception.evaluation.truth import Truth
from perception.offline import OutputOptions, detect_to_folder, frame_options_of, identity_of
from perception.robustness import SEVERITIES, code_digest, corruption
from perception.robustness.frames import CLEAN, Condition, CorruptedSource, FrameMaker, Recipe
from perception.robustness.summary import Summary, as_json, check_comparable
from perception.types import Frame

SCORES = ("NDS", "mAP")
Progress = Callable[[Iterable[Frame], int, str], Iterable[Frame]]


@dataclass(frozen=True)
class Settings:
    """What is put to the test, and how."""

    config: Path
    checkpoint: Path
    corruptions: tuple[str, ...]
    severities: tuple[int, ...] = SEVERITIES
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    workers: int = 0  # processes that make frames ahead


def evaluate_robustness(
    settings: Settings,
    truth: Truth,
    out: Path,
    progress: Progress,
    say: Callable[[str], None],
    baseline: Mapping[str, Any] | None = None,  # another run's robustness.json
) -> Summary:
    """Score the detector under every condition and write `out`/robustness.json.

    Raises InputError for what can't be used or written, and for a baseline of other data, seed or corruptions; what is
    done by then is kept.
    """
    conditions = [Condition(), *(Condition(n, s) for n in settings.corruptions for s in settings.severities)]
    _check_files(settings)
    facts = _facts(settings, truth)
    if baseline is not None:
        check_comparable(facts, baseline)
    scores = condition_scores(settings, truth, out / "conditions", conditions, progress, say)
    summary = Summary(facts, settings.corruptions, settings.severities, scores, baseline)
    write_atomically(out / "robustness.json", json.dumps(as_json(summary), indent=1))
    return summary


def condition_scores(
    settings: Settings,
    truth: Truth,
    folder: Path,
    conditions: Sequence[Condition],  # the clean one first: others may be as it is
    progress: Progress,
    say: Callable[[str], None],
) -> dict[Condition, dict[str, float]]:
    """The scores of each condition, taken up from `folder` or made and kept there; InputError as above."""
    _check_files(settings)
    make_folder(folder)
    bench = _Bench(settings, truth, folder, progress, say)
    scores: dict[Condition, dict[str, float]] = {}
    try:
        for number, condition in enumerate(conditions, 1):
            scores[condition] = bench.scores(condition, f"{condition.label} ({number} of {len(conditions)})")
    except KeyboardInterrupt:
        done = f"{len(scores)} of {len(conditions)} conditions are done"
        say(f"{folder}: {done}; the same command goes on from there")
        raise
    finally:
        bench.close()
    return scores


def _check_files(settings: Settings) -> None:
    for path in (settings.config, settings.checkpoint):
        if not is_file(path):
            raise InputError(str(path), "a file", "none")


def _facts(settings: Settings, truth: Truth) -> dict[str, Any]:
    """What the scores depend on, as robustness.json has it."""
    return {
        "config": str(settings.config),
        "checkpoint": str(settings.checkpoint),
        "weights": _digest(settings.checkpoint.read_bytes()),
        "data": str(truth.folder),
        "split": truth.split,
        "samples": len(truth.tokens),
        "tokens": _digest("\n".join(truth.tokens).encode()),
        "seed": settings.seed,
        "device": settings.device,
        "precision": settings.precision,
        "corruptions": {name: code_digest(name) for name in settings.corruptions},
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class _Bench:
    """Detects and scores condition after condition, with one detector that is loaded when it is first needed."""

    def __init__(
        self, settings: Settings, truth: Truth, folder: Path, progress: Progress, say: Callable[[str], None]
    ) -> None:
        self._settings, self._truth, self._folder = settings, truth, folder
        self._progress, self._say = progress, say
        self._detector: Detector | None = None
        self._maker: FrameMaker | None = None
        self._clean: dict[str, Any] = {}
        tables = [truth.folder / f"{name}.json" for name in ("sample_data", "ego_pose", "calibrated_sensor")]
        self._identity = identity_of(
            [*tables, truth.folder / "sample_annotation.json"],
            config=_digest(settings.config.read_bytes()),
            weights=_digest(settings.checkpoint.read_bytes()),
            split=truth.split,
            tokens=_digest("\n".join(truth.tokens).encode()),
            device=settings.device,
            precision=settings.precision,
        )

    def scores(self, condition: Condition, title: str) -> dict[str, float]:
        """The scores of one condition, taken up or made."""
        identity = self._identity_of(condition)
        name = f"{condition.label}-{_digest(json.dumps(identity, sort_keys=True).encode())}"
        kept = self._folder / f"{name}.json"
        if not is_file(kept):
            record = {"identity": identity} | self._made(condition, name, title, identity)
            write_atomically(kept, json.dumps(record, indent=1))
            shutil.rmtree(self._folder / name, ignore_errors=True)
        found = json.loads(kept.read_text(encoding="utf-8"))
        if condition.name == CLEAN:
            self._clean = found
        return {score_name: found[score_name] for score_name in SCORES}

    def close(self) -> None:
        """Let worker processes go."""
        if self._maker is not None:
            self._maker.close()

    def _identity_of(self, condition: Condition) -> dict[str, Any]:
        if condition.name == CLEAN:
            return self._identity
        more = {"corruption": condition.name, "severity": condition.severity, "seed": self._settings.seed}
        return self._identity | more | {"code": code_digest(condition.name)}

    def _made(self, condition: Condition, name: str, title: str, identity: dict[str, Any]) -> dict[str, Any]:
        detector = self._load()
        if condition.name != CLEAN and not _can_tell(detector.config, condition):
            return {key: value for key, value in self._clean.items() if key != "identity"} | {"as_clean": True}
        results = self._folder / name / "results_nusc.json"
        if not is_file(results.with_name("boxes.json")):  # which is there if all is
            source = CorruptedSource(self._maker, condition)
            options = OutputOptions(pictures=False)
            detect_to_folder(
                detector,
                source,
                self._folder / name,
                options,
                {"robustness": identity},
                lambda frames, total: self._progress(frames, total, title),
                self._say,
            )
        return _record(score(read_results(results, self._truth, OFFICIAL), self._truth).metrics)

    def _load(self) -> Detector:
        if self._detector is None:
            settings = self._settings
            self._detector = load_detector(settings.config, settings.checkpoint, settings.device, settings.precision)
            options = frame_options_of(self._detector.config, cameras_too=False, allow_missing=False, truth=False)
            recipe = Recipe(self._truth.folder, self._truth.tokens, options, settings.seed)
            self._maker = FrameMaker(recipe, settings.workers)
        return self._detector


def _can_tell(config: DetectorConfig, condition: Condition) -> bool:
    """Whether the corruption changes anything that the detector looks at; points may tell cameras' depths."""
    return config.images is not None or "lidar" in corruption(condition.name).SENSORS


def _record(metrics: Metrics) -> dict[str, Any]:
    errors = {name: value for name, value in metrics.tp_errors.items() if value == value}  # JSON has no NaN
    return {"NDS": metrics.nd_score, "mAP": metrics.mean_ap, "errors": errors, "AP": metrics.mean_dist_aps}


def read_baseline(path: Path) -> dict[str, Any]:
    """Another run's robustness.json; InputError where it is none."""
    if path.is_dir():
        path = path / "robustness.json"
    if not is_file(path):
        raise InputError(str(path), "the robustness.json of another run", "no such file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["facts"]["corruptions"], found["scores"], found["clean"], found["severities"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the robustness.json of another run", f"{type(error).__name__}: {error}") from error
    return found
