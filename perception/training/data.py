"""The training split: its frames by token, read and augmented in worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from calibration.errors import InputError
from perception.config import DetectorConfig
from perception.nuscenes import own_splits
from perception.offline import frame_options_of
from perception.sources.nuscenes import Source
from perception.sources.nuscenes_tables import find_version
from perception.training.examples import Example, ExampleMaker, merged
from perception.training.paste import Objects, objects_of
from perception.training.sampling import Key, Schedule
from perception.training.settings import PasteSettings
from perception.types import CameraImage, Frame, Truth

OFFICIAL_SPLITS = {"v1.0-trainval": "train", "v1.0-mini": "mini_train"}


def open_split(
    config: DetectorConfig, root: Path, version: str | None, split: str | None, allow_missing: bool = False
) -> Source:
    """The frames to train this detector on; without `split` the version's one training split.

    Raises InputError where there is no such data, no frame, or no truth.
    """
    options = frame_options_of(config, cameras_too=False, allow_missing=allow_missing)
    if not config.uses_lidar:  # the newest sweep alone, to supervise depths
        options = replace(options, sweeps=0, lidar=config.training.depth_weight > 0)
    folder = find_version(root, version)
    source = Source(root, options, version=folder.name, split=split or _training_split(folder))
    if source.truth(source.tokens[0]) is None:
        raise InputError(str(source.folder), "annotations to learn from", "none", "train on an annotated version")
    return source


class Sources:
    """Several datasets as one, one's frames after the other's; InputError where a frame is in two of them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._of_token = {token: source for source in sources for token in source.tokens}
        self.tokens = tuple(self._of_token)
        self.folders, self.class_names = tuple(source.folder for source in sources), sources[0].class_names
        twice = sum(map(len, sources)) - len(self.tokens)
        if twice:
            named = ", ".join(map(str, self.folders))
            raise InputError(f"training data {named}", "each frame once", f"{twice} twice", "give each root once")

    def __len__(self) -> int:
        return len(self.tokens)

    def frame(self, token: str) -> Frame:
        """See Source.frame."""
        return self._of_token[token].frame(token)

    def truth(self, token: str) -> Truth | None:
        """See Source.truth."""
        return self._of_token[token].truth(token)

    def earlier_image(self, token: str, camera: str) -> CameraImage | None:
        """See Source.earlier_image."""
        return self._of_token[token].earlier_image(token, camera)


def _training_split(folder: Path) -> str:
    own = [name for name in own_splits(folder) if name.endswith("train")]
    if len(own) == 1:
        return own[0]
    if folder.name in OFFICIAL_SPLITS:
        return OFFICIAL_SPLITS[folder.name]
    raise InputError(f"{folder}: training split", "one named ...train", ", ".join(own) or "none", "give --split")


def classes_present(source: Sources, min_points: int) -> np.ndarray:
    """Which classes each frame has truth of (frames, classes) bool; no image and no cloud is read.

    Raises InputError if no frame has any.
    """
    presence = np.zeros((len(source), len(source.class_names)), bool)
    for row, token in enumerate(source.tokens):
        truth = source.truth(token)
        presence[row, truth.boxes.labels[truth.lidar_points + truth.radar_points >= min_points]] = True
    if not presence.any():
        expected = f"truth of {', '.join(source.class_names)} with {min_points} points or more"
        named = ", ".join(map(str, source.folders))
        raise InputError(f"{named}: the training split", expected, "none", "see training.min_box_points")
    return presence


def examples(
    source: Sources, maker: ExampleMaker, schedule: Schedule, first_step: int, process: int, pinned: bool = False
) -> Iterator[Example]:
    """One process's batches from a step on, in order, whatever the number of workers; `pinned` is for a GPU."""
    batches = _Batches(schedule, first_step, process)
    workers = schedule.settings.workers
    how = {"batch_sampler": batches, "collate_fn": _merged_or_failed, "pin_memory": pinned}
    return _made(_Examples(source, maker), workers, **how)


def objects_to_paste(source: Sources, settings: PasteSettings, workers: int) -> Iterator[Objects]:
    """Each frame's, in order, whatever the number of workers."""
    return _made(_ObjectsOfFrames(source, settings), workers, batch_size=None, collate_fn=_as_it_is)


def _made(dataset: Dataset, workers: int, **how: Any) -> Iterator[Any]:
    """What worker processes make of a dataset; raises UnreadableFrame for what they can't read."""
    for made in DataLoader(dataset, num_workers=workers, worker_init_fn=_ignore_interrupts, **how):
        if isinstance(made, _Failed):
            raise UnreadableFrame(made.message)
        yield made


class UnreadableFrame(InputError):  # noqa: N818, named as what it says
    """What a worker process said about a frame, whole."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, message)


@dataclass(frozen=True)
class _Failed:
    """Errors of three arguments don't come through from worker processes: their text does."""

    message: str


@dataclass(frozen=True)
class _Batches:
    schedule: Schedule
    first_step: int
    process: int

    def __iter__(self) -> Iterator[list[Key]]:
        return self.schedule.batches(self.first_step, self.process)


@dataclass(frozen=True)
class _Examples(Dataset):
    source: Sources
    maker: ExampleMaker

    def __getitem__(self, key: Key) -> Example | _Failed:
        settings = self.maker.config.training
        paste = settings.paste is not None and key.epoch < settings.epochs - settings.paste.fade_epochs
        try:
            frame, earlier = self.source.frame(key.token), partial(self.source.earlier_image, key.token)
            return self.maker(frame, key.generator(settings.seed), paste, earlier)
        except InputError as error:
            return _Failed(str(error))


@dataclass(frozen=True)
class _ObjectsOfFrames(Dataset):
    source: Sources
    settings: PasteSettings

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Objects | _Failed:
        try:
            return objects_of(self.source.frame(self.source.tokens[index]), self.settings)
        except InputError as error:
            return _Failed(str(error))


def _as_it_is(made: Objects | _Failed) -> Objects | _Failed:
    return made


def _merged_or_failed(made: list[Example | _Failed]) -> Example | _Failed:
    failed = [one for one in made if isinstance(one, _Failed)]
    return failed[0] if failed else merged(made)


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C goes to the whole group of processes; what is to be done about it, the training process decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
