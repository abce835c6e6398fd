"""From a trained detector and a dataset to one of its refiners: what tools/train_refiner.py does.

A refiner called NAME is perception/model/refiners/NAME.py, and how it learns is perception/refining/NAME.py: there
`Training` are its settings, `lessons_of(frame, boxes, refiner_settings)` gives `Lessons`, see
perception/refining/lessons.py, of frames without one of the sensors too that WITHOUT_TOO names, and
`Course(refiner, lessons, training)` is what perception/refining/train.py trains.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from calibration.errors import InputError
from calibration.files import make_folder, write_atomically
from calibration.spelling import did_you_mean
from perception.checkpoints.native import Comparison, read_weights, require_complete, save_weights
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.model.inference import for_inference
from perception.model.network import Network
from perception.refining.train import Training, train_refiner, training_of
from perception.sources.nuscenes import Source
from perception.training.command import with_training
from perception.training.data import open_split

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


def chosen_refiner(config: DetectorConfig, name: str | None) -> str:
    """The refiner to train: that of this name, or the configuration's one; InputError where that is none."""
    names = [refiner.name for refiner in config.refiners]
    if not names:
        raise InputError("configuration", "a section `refiners`", "none", "see perception/model/refiners/")
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        fix = did_you_mean(name, names) if name is not None else f"say which: --refiner {' or '.join(names)}"
        raise InputError("--refiner", "one of the configuration's refiners", repr(name), fix)
    return name


def training_settings(name: str, overrides: Sequence[str] = ()) -> Training:
    """How this refiner learns, with "key=value" in place of defaults; InputError for what it doesn't know."""
    return training_of(_how(name).Training, overrides)


def train_refiner_on_nuscenes(
    config: DetectorConfig,
    name: str,  # of the refiner, see chosen_refiner
    checkpoint: Path,  # of the detector, and of the refiners before this one
    roots: Sequence[Path],
    out: Path,
    *,
    version: str | None,
    split: str | None,  # None: the version's one training split
    settings: Training,
    progress: Progress,
    say: Callable[[str], None],
) -> Path:
    """Detect in the training split, look at what was found, learn from it -> the checkpoint with this refiner.

    A run that was interrupted goes on where it stopped. Raises InputError for weights or data that can't be used.
    """
    place = [refiner.name for refiner in config.refiners].index(name)
    before = config.model_copy(update={"refiners": config.refiners[:place]})
    weights = read_weights(checkpoint)
    detector = Network(before)
    needed = {key: tensor for key, tensor in weights.items() if key in detector.state_dict()}
    require_complete(Comparison.of(detector, needed), str(checkpoint))
    detector.load_state_dict(needed)
    torch.manual_seed(settings.seed)
    refiner = config.refiners[place].build(config.classes)
    if hasattr(refiner, "load_pretrained"):
        refiner.load_pretrained()
    needs = with_training(config).model_copy(update={"refiners": config.refiners[: place + 1]})
    sources = [open_split(needs, root, version, split) for root in roots]
    folder = out / name
    _claim(out, folder, before, config, checkpoint, sources, settings)
    teacher = Detector(before, for_inference(deepcopy(detector)))
    files = [_lessons(teacher, config.refiners[place], source, folder, progress) for source in sources]
    lessons = _how(name).Lessons.load_all(list(chain.from_iterable(files)))
    say(f"{len(lessons)} lessons of boxes found in {sum(map(len, sources))} frames")
    if not len(lessons):
        expected = "a detector that finds some of what is annotated in them"
        raise InputError("training frames", expected, "no box to learn from", "train the detector first")
    train_refiner(_how(name).Course(refiner, lessons, settings), settings, out / "last.ckpt", progress, say)
    prefix = f"refiners.{name}."
    trained = {prefix + key: tensor for key, tensor in refiner.state_dict().items()}
    kept = {key: tensor for key, tensor in weights.items() if not key.startswith(prefix)}
    path = out / "weights.safetensors"
    save_weights(path, kept | trained, {"seed": str(settings.seed)})
    return path


def _how(name: str) -> ModuleType:
    return importlib.import_module(f"perception.refining.{name}")


def _claim(
    out: Path,
    folder: Path,
    before: DetectorConfig,
    config: DetectorConfig,
    checkpoint: Path,
    sources: Sequence[Source],
    settings: Training,
) -> None:
    """Write down whose work lies in `out`; InputError if it is another run's."""
    identity = {
        "config": before.model_dump(mode="json", exclude={"training"}, serialize_as_any=True),
        "refiner": config.refiners[len(before.refiners)].model_dump(mode="json"),
        "checkpoint": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "data": [hashlib.sha256("\n".join(source.tokens).encode()).hexdigest() for source in sources],
        "settings": settings.model_dump(mode="json"),
    }
    text, path = json.dumps(identity, indent=1) + "\n", out / "run.json"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(str(out), "a folder of its own", "another run's", "choose another --out, or remove it")
    make_folder(folder, said_of=out)
    write_atomically(path, text)


def _lessons(teacher: Detector, refiner: Any, source: Source, folder: Path, progress: Progress) -> list[Path]:
    """Files of what each frame teaches, made now or there already; every other frame teaches without its cloud, too,
    and those between without their cameras, if that is something to learn from."""
    how = _how(refiner.name)
    without_too, config = getattr(how, "WITHOUT_TOO", ()), teacher.config
    without_cloud = set(source.tokens[::2]) if "cloud" in without_too and config.cameras_stand_in else set()
    fused = config.images is not None and config.lidar_encoder is not None
    without_cameras = set(source.tokens[1::2]) if "cameras" in without_too and fused else set()
    files = {token: folder / f"{token}.npz" for token in source.tokens}
    remaining = [token for token, file in files.items() if not file.is_file()]
    for token in progress(remaining, len(remaining), "looking at what is found") if remaining else ():
        frame = source.frame(token)
        shown = [frame]
        shown += [replace(frame, cloud=None)] if token in without_cloud else []
        shown += [replace(frame, cameras={})] if token in without_cameras else []
        parts = [how.lessons_of(one, teacher(one), refiner) for one in shown]
        how.Lessons.joined(parts).save(files[token])
    return list(files.values())
