"""Where frames come from: one file a source; the file name is the configuration name.

A source is an iterable of Frames that may be gone through any number of times. It holds tables, never the data: one
frame at a time is in memory. Each source file has a class `Source` with `__init__(path, options, **its own settings)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from calibration.errors import InputError
from calibration.files import is_file
from calibration.spelling import did_you_mean
from perception.nuscenes import CAMERAS, CLASS_NAMES
from perception.ros.bags import is_bag
from perception.types import Frame


class Source(Protocol):
    """What every source is."""

    class_names: tuple[str, ...]  # of the truth, which its labels count in
    files: tuple[Path, ...]  # the tables it was opened from: where they change, its frames may
    closing_notes: tuple[str, ...]  # what is to be said after the last frame, for no frame is left to say it

    def __len__(self) -> int:
        """How many frames an iteration yields."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in time order within a drive; InputError where one can't be used."""

    def without(self, tokens: Collection[str]) -> Source:
        """The same source less these frames, whose data then isn't read."""


@dataclass(frozen=True)
class FrameOptions:
    """What a frame shall hold."""

    cameras: tuple[str, ...] = CAMERAS  # () for none
    lidar: bool = True  # False: frames have no cloud
    sweeps: int = 9  # clouds before the keyframe's that are added to it; fewer where a scene begins
    remove_radius_m: float = 1.0  # returns from the own car, dropped from the sweeps: |x| and |y| below it
    truth: bool = True  # False: frames have no truth, and annotations aren't read
    allow_missing: bool = False  # go on without a camera or cloud that can't be read, and say so in Frame.notes
    class_names: tuple[str, ...] = CLASS_NAMES  # truth of other classes is left out

    def __post_init__(self) -> None:
        if not (self.sweeps >= 0 and self.remove_radius_m >= 0):
            got = f"{self.sweeps} and {self.remove_radius_m:g}"
            raise InputError("sweeps and remove_radius_m", "numbers >= 0", got)


class MissingDataError(InputError):
    """A sensor's data isn't there or can't be read: what `allow_missing` forgives."""


def find_file(candidates: Sequence[Path]) -> Path:
    """The first of these paths that is a file; MissingDataError, naming all of them, if none is."""
    try:
        for path in candidates:
            if is_file(path):
                return path
    except InputError as error:
        raise MissingDataError(candidates[0].name, "a readable file", str(error)) from error
    raise MissingDataError(candidates[0].name, f"a file at {' or '.join(map(str, candidates))}", "none")


def open_source(name: str, path: str | Path, options: FrameOptions | None = None, **settings: Any) -> Source:
    """The source of this name over a file or folder; `settings` are that source's own, see its file.

    Raises InputError for an unknown name, and for whatever the source can't open.
    """
    if name not in source_names():
        raise InputError("source", "a source's name", repr(name), did_you_mean(name, source_names()))
    module = importlib.import_module(f"perception.sources.{name}")
    return module.Source(path, options or FrameOptions(), **settings)


def source_names() -> list[str]:
    """Every source, by name: the files beside this one that have a class `Source`."""
    modules = {
        name: importlib.import_module(f"perception.sources.{name}") for _, name, _ in pkgutil.iter_modules(__path__)
    }
    return sorted(name for name, module in modules.items() if hasattr(module, "Source"))


def guess_source(path: str | Path) -> str:
    """The name of the source that reads this file or folder; InputError where none does."""
    path = Path(path)
    if any(folder.is_dir() for folder in path.glob("v1.0-*")):
        return "nuscenes"
    if path.suffix == ".pkl" and path.is_file():
        return "mmdet3d_info"
    if is_bag(path):
        return "bag"
    got = "another kind" if path.exists() else "no such file or folder"
    kinds = "a nuScenes root (with a folder v1.0-*), an mmdetection3d info file (.pkl) or a rosbag2 (.mcap, .db3)"
    raise InputError(str(path), kinds, got)
