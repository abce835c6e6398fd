"""What tools/benchmark.py does: a detector and a frame to a Report."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from types import ModuleType

import torch

from calibration.errors import InputError
from perception.benchmark.comparing import Comparison
from perception.benchmark.frame import made_up_frame
from perception.benchmark.machine import Machine, using_threads
from perception.benchmark.report import Report
from perception.benchmark.roofline import measure_roofline
from perception.benchmark.run import WARM_UP, Subject, measure_stages
from perception.checkpoints.native import load_weights
from perception.checkpoints.shipped import checkpoint_of, shipped_names
from perception.config import DetectorConfig, load_config
from perception.detector import Detector
from perception.model.inference import for_inference
from perception.model.network import Network
from perception.model.precision import Precision
from perception.offline import frame_options_of
from perception.sources import Source, guess_source, open_source
from perception.types import Frame

LOOKED_AT = 8  # frames, of which the one with the most points is measured: a drive's first has no earlier clouds yet
Progress = Callable[[Iterable[int], int, str], Iterable[int]]  # gets items, their number and what they are


@dataclass(frozen=True)
class Request:
    """What to measure, and how."""

    config: Path
    data: Path | None = None  # nuScenes root or info file; None: a made-up frame
    version: str | None = None  # of a nuScenes root
    sample: str | None = None  # of a nuScenes root; None: of its first frames the fullest
    checkpoint: Path | None = None
    threads: int | None = None  # None: as many as torch takes
    repeats: int = 20
    precision: Precision = "fp32"  # of the stages
    peer: str | None = None  # a file of comparisons/


def benchmark(request: Request, progress: Progress) -> Report:
    """Measure; raises InputError, before anything takes long, for what can't be used or compared."""
    config = load_config(request.config)
    peer = _peer(request.peer, config)
    network, weights = _network(request, config)
    plain = Detector(config, deepcopy(network))  # as trained, for peers to take its weights
    detector = Detector(config, for_inference(network, request.precision), precision=request.precision)
    read, described = _frames(request, config)
    subject = Subject(detector, read, decodes=request.data is not None)
    threads = request.threads or torch.get_num_threads()
    with using_threads(threads):
        machine = Machine.here()
        peaks_before = measure_roofline()
        stages = measure_stages(subject, request.repeats, lambda passes, total: progress(passes, total, "measuring"))
        roofline = measure_roofline().or_better(peaks_before)
        comparisons = (
            () if peer is None else _compare(peer, replace(subject, detector=plain), request.repeats, progress)
        )
    names = (str(request.config), weights, described)
    return Report(*names, machine, threads, request.precision, WARM_UP, roofline, tuple(stages), tuple(comparisons))


def _peer(name: str | None, config: DetectorConfig) -> ModuleType | None:
    if name is None:
        return None
    peer = importlib.import_module(f"perception.benchmark.comparisons.{name}")
    peer.require(config)
    return peer


def _compare(peer: ModuleType, subject: Subject, repeats: int, progress: Progress) -> list[Comparison]:
    def rounds(what: str) -> Iterable[int]:
        return progress(range(repeats), repeats, f"comparing: {what}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers' own, for torch has moved on since they were written
        return peer.compare(subject.detector, subject.read(), rounds)


def _network(request: Request, config: DetectorConfig) -> tuple[Network, str]:
    """With the weights given or in the package; where there are none with random ones, which take as long."""
    torch.manual_seed(0)
    network = Network(config)
    if request.checkpoint is None and request.config.stem not in shipped_names():
        return network, "random"
    path = checkpoint_of(request.config, request.checkpoint)
    load_weights(network, path)
    return network, str(path)


def _frames(request: Request, config: DetectorConfig) -> tuple[Callable[[], Frame], str]:
    """What gives the frame, and what it is called."""
    if request.data is None:
        _require_no_choice(request, "no INPUT")
        frame = made_up_frame(config)
        return lambda: frame, f"a made-up frame ({_content(frame)})"
    source = _source(request, request.data, config)
    seen = list(islice(source, LOOKED_AT))
    if not seen:
        raise InputError(str(request.data), "a source with frames", "none")
    frame = max(seen, key=_points)
    source = source.without([before.token for before in takewhile(lambda one: one is not frame, seen)])
    return lambda: next(iter(source)), f"frame {frame.token} of {request.data} ({_content(frame)})"


def _source(request: Request, data: Path, config: DetectorConfig) -> Source:
    name = guess_source(data)
    options = frame_options_of(config, cameras_too=False, allow_missing=False, truth=False)
    if name != "nuscenes":
        _require_no_choice(request, f"the info file {data}")
        return open_source(name, data, options)
    tokens = None if request.sample is None else [request.sample]
    return open_source(name, data, options, version=request.version, tokens=tokens)


def _points(frame: Frame) -> int:
    return len(frame.cloud.points) if frame.cloud is not None else 0


def _require_no_choice(request: Request, got: str) -> None:
    if request.version is not None or request.sample is not None:
        raise InputError("--version and --sample", "a nuScenes root to choose from", got)


def _content(frame: Frame) -> str:
    sizes = sorted({f"{c.intrinsics.width}x{c.intrinsics.height}" for c in frame.cameras.values()})
    parts = [f"{len(frame.cameras)} images of {', '.join(sizes)}"] if frame.cameras else []
    parts += [f"{len(frame.cloud.points):,} points"] if frame.cloud is not None else []
    return ", ".join(parts)
