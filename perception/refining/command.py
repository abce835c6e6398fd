"""From a trained detector and a dataset to its refiner: what tools/train_refiner.py does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from calibration.errors import InputError
from calibration.files import write_atomically
from perception.checkpoints.native import Comparison, read_weights, require_complete, save_weights
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.model.inference import for_inference
from perception.model.network import Network
from perception.refining.collect import Lessons, collected
from perception.refining.train import RefinerTraining, train_refiner
from perception.sources.nuscenes import Source
from perception.training.command import with_training
from perception.training.data import open_split

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
PREFIX = "refiner."


def train_refiner_on_nuscenes(
    config: DetectorConfig,
    checkpoint: Path,  # of the detector; its refiner, if it has one, is made anew
    roots: Sequence[Path],
    out: Path,
    *,
    version: str | None,
    split: str | None,  # None: the version's one training split
    settings: RefinerTraining,
    progress: Progress,
    say: Callable[[str], None],
) -> Path:
    """Detect in the training split, look at what was found, learn from it -> the weights of detector and refiner.

    A run that was interrupted goes on where it stopped. Raises InputError for a configuration without a refiner, and
    for weights or data that can't be used.
    """
    if config.refiner is None:
        raise InputError("configuration", "a section `refiner`", "none", "see perception/model/refiners/")
    torch.manual_seed(settings.seed)
    network = Network(config)
    weights = {name: tensor for name, tensor in read_weights(checkpoint).items() if not name.startswith(PREFIX)}
    fresh = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(PREFIX)}
    require_complete(Comparison.of(network, weights | fresh), str(checkpoint))
    network.load_state_dict(weights | fresh)
    network.refiner.backbone.load_pretrained()
    sources = [open_split(with_training(config), root, version, split) for root in roots]
    _claim(out, config, checkpoint, sources, settings)
    lessons = Lessons.joined([_lessons(network, config, source, out / "looks", progress) for source in sources])
    say(f"{len(lessons)} views of boxes found in {sum(map(len, sources))} frames")
    train_refiner(network.refiner, lessons, settings, out / "last.ckpt", progress, say)
    path = out / "weights.safetensors"
    save_weights(path, network.state_dict(), {"seed": str(settings.seed)})
    return path


def _claim(
    out: Path, config: DetectorConfig, checkpoint: Path, sources: Sequence[Source], settings: RefinerTraining
) -> None:
    """Write down whose work lies in `out`; InputError if it is another run's."""
    identity = {
        "config": config.model_dump(mode="json", exclude={"training"}, serialize_as_any=True),
        "checkpoint": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "data": [hashlib.sha256("\n".join(source.tokens).encode()).hexdigest() for source in sources],
        "settings": settings.model_dump(mode="json"),
    }
    text, path = json.dumps(identity, indent=1) + "\n", out / "run.json"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(str(out), "a folder of its own", "another run's", "choose another --out, or remove it")
    try:
        (out / "looks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(out), "a folder to write to", error.strerror or type(error).__name__) from error
    write_atomically(path, text)


def _lessons(network: Network, config: DetectorConfig, source: Source, folder: Path, progress: Progress) -> Lessons:
    remaining = [token for token in source.tokens if not (folder / f"{token}.npz").is_file()]
    if remaining:
        detector = Detector(config, for_inference(deepcopy(network)))
        frames = map(source.frame, progress(remaining, len(remaining), "looking at what is found"))
        for _ in collected(detector, config.refiner, frames, folder):
            pass
    return Lessons.joined([Lessons.load(folder / f"{token}.npz") for token in source.tokens])
