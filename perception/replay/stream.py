"""Streams of messages: what is replayed, changed by faults, written to bags and published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from calibration.errors import InputError
from perception.ros.bags import Bag, TimedMessage, Topic, is_bag


class Stream(Protocol):
    """Messages in the order in which they arrive; it can be gone through any number of times."""

    topics: Mapping[str, Topic]

    def __len__(self) -> int:
        """About how many messages there are."""

    def __iter__(self) -> Iterator[TimedMessage]:
        """The messages; their times of receipt never go back."""


def open_stream(path: Path, version: str | None = None, scene: str | None = None, clock: bool = False) -> Stream:
    """The stream of a bag, or of a scene of a nuScenes root.

    Raises InputError for anything else, and where version and scene don't pick one drive.
    """
    from perception.replay.nuscenes import Drive

    if is_bag(path):
        if version or scene or clock:
            raise InputError("--version, --scene and --clock", "a nuScenes root to choose from", f"the bag {path}")
        return Bag(path)
    if any(folder.is_dir() for folder in path.glob("v1.0-*")):
        return Drive(path, version, scene, clock=clock)
    got = "another kind" if path.exists() else "no such file or folder"
    raise InputError(str(path), "a nuScenes root (with a folder v1.0-*) or a rosbag2", got)


def faulty_stream(
    path: Path,
    version: str | None = None,
    scene: str | None = None,
    faults: Sequence[str] = (),  # texts, see perception.replay.faults
    seed: int = 0,
    clock: bool = False,
) -> Stream:
    """The same with faults; InputError for those that can't be, before anything is read."""
    from perception.replay.faults import Fault, Faulty

    parsed = [Fault.parse(text) for text in faults]
    stream = open_stream(path, version, scene, clock)
    return Faulty(stream, parsed, seed) if parsed else stream
