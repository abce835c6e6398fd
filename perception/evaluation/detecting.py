"""Detections for an evaluation, by one process or by several that share the samples (torchrun).

    OUT/results_nusc.json   the detections, the same for any number of processes
    OUT/detection.json      what they were made with: a further run with the same arguments takes them up

Each process detects every n-th sample into a folder beside OUT, where an interrupted run goes on. The first process
waits for the others' folders and joins them: files are all that they need of each other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from calibration.errors import InputError
from calibration.files import make_folder, write_atomically
from perception.config import DetectorConfig
from perception.detector import Detector, load_detector
from perception.evaluation.process import Process
from perception.evaluation.results_text import members
from perception.evaluation.truth import Truth
from perception.offline import OutputOptions, detect_to_folder, frame_options_of, identity_of
from perception.outputs.nuscenes_results import write_results
from perception.sources.nuscenes import Source
from perception.types import Frame

RESULTS, LABEL = "results_nusc.json", "detection.json"
LOOK_EVERY_S, SAY_EVERY_S = 0.2, 60.0  # while waiting for other processes


@dataclass(frozen=True)
class Settings:
    """What detects."""

    config: Path
    checkpoint: Path
    device: str = "cpu"  # "cuda" is each process's own
    precision: str = "fp32"  # see perception.model.precision.Precision
    allow_missing: bool = False


def detect_split(
    settings: Settings,
    truth: Truth,  # whose samples are wanted
    out: Path,
    process: Process,
    progress: Callable[[Iterable[Frame], int], Iterable[Frame]],
    say: Callable[[str], None],
) -> Path:
    """Detect this process's share, and as the first process write `out`/results_nusc.json, which is returned.

    Raises InputError for what can't be used, and at the first frame that can't be read; what is done is kept.
    """
    identity = _identity(settings, truth, process.world)
    results = out / RESULTS
    if results.is_file() and _label(out) == identity:
        say(f"{results}: made by these arguments before, so taken as it is")
        return results
    _detect_share(settings, truth, _share_folder(out, process), process, identity, progress, say)
    if process.rank == 0:
        shares = [_share_folder(out, replace(process, rank=rank)) for rank in range(process.world)]
        _wait_for(shares, identity, say)
        _join(shares, truth, out, identity)
    return results


def _identity(settings: Settings, truth: Truth, world: int) -> str:
    tables = [truth.folder / f"{name}.json" for name in ("sample_data", "ego_pose", "calibrated_sensor")]
    for path in (settings.config, settings.checkpoint):
        if not path.is_file():
            raise InputError(str(path), "a file", "none")
    identity = identity_of(
        (settings.config, settings.checkpoint, *tables),
        tokens=hashlib.sha256("\n".join(truth.tokens).encode()).hexdigest(),
        device=settings.device,
        precision=settings.precision,
        allow_missing=settings.allow_missing,
        processes=world,
    )
    return json.dumps(identity, sort_keys=True, indent=1)


def _label(folder: Path) -> str | None:
    try:
        return (folder / LABEL).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _share_folder(out: Path, process: Process) -> Path:
    return out.with_name(f"{out.name}.share-{process.rank + 1}-of-{process.world}")


def _detect_share(
    settings: Settings,
    truth: Truth,
    folder: Path,
    process: Process,
    identity: str,
    progress: Callable[[Iterable[Frame], int], Iterable[Frame]],
    say: Callable[[str], None],
) -> None:
    if _label(folder) == identity:
        return
    if folder.exists():  # of other arguments
        shutil.rmtree(folder)
    tokens = truth.tokens[process.rank :: process.world]
    device = f"cuda:{process.local_rank}" if settings.device == "cuda" and process.world > 1 else settings.device
    detector = load_detector(settings.config, settings.checkpoint, device, settings.precision)
    if tokens:
        source = _source(detector.config, truth, tokens, settings.allow_missing)
        options = OutputOptions(pictures=False)
        detect_to_folder(detector, source, folder, options, {"evaluation": identity}, progress, say)
    else:
        folder.mkdir(parents=True)
        write_results(folder / RESULTS, (), **_used(detector))
    write_atomically(folder / LABEL, identity)


def _source(config: DetectorConfig, truth: Truth, tokens: tuple[str, ...], allow_missing: bool) -> Source:
    options = frame_options_of(config, cameras_too=False, allow_missing=allow_missing, truth=False)
    return Source(truth.folder.parent, options, version=truth.folder.name, tokens=tokens)


def _used(detector: Detector) -> dict[str, bool]:
    return {"use_camera": bool(detector.config.cameras), "use_lidar": detector.config.uses_lidar}


def _wait_for(shares: list[Path], identity: str, say: Callable[[str], None]) -> None:
    said = time.monotonic()
    while missing := [folder for folder in shares if _label(folder) != identity]:
        if time.monotonic() - said > SAY_EVERY_S:
            say(f"waiting for {', '.join(folder.name for folder in missing)}")
            said = time.monotonic()
        time.sleep(LOOK_EVERY_S)


def _join(shares: list[Path], truth: Truth, out: Path, identity: str) -> None:
    make_folder(out)
    (out / LABEL).unlink(missing_ok=True)
    meta = next(value for token, value in members(shares[0] / RESULTS) if token is None)
    flags = {name: meta[name] for name in ("use_camera", "use_lidar")}
    write_results(out / RESULTS, _in_turn(shares, len(truth.tokens)), **flags)
    write_atomically(out / LABEL, identity)
    for folder in shares:
        shutil.rmtree(folder)


def _in_turn(shares: list[Path], count: int) -> Iterator[tuple[str, list[dict]]]:
    """The samples of all shares in the order of the split, of which each has every n-th."""
    readers = [(member for member in members(folder / RESULTS) if member.token is not None) for folder in shares]
    for reader in islice(cycle(readers), count):
        yield next(reader)
