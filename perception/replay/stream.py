"""Streams of messages: what is replayed, changed by faults, written to bags and published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from calibration.errors import InputError
from perception.ros.bags import Bag, TimedMessage, Topic, is_bag

BETWEEN_NS = 50_000_000  # from a stream's last message to its first, where it is repeated


class Stream(Protocol):
    """Messages in the order in which they arrive; it can be gone through any number of times."""

    topics: Mapping[str, Topic]

    def __len__(self) -> int:
        """About how many messages there are."""

    def __iter__(self) -> Iterator[TimedMessage]:
        """The messages; their times of receipt never go back."""


class Repeated:
    """A stream so many times, one after the other, as if the clocks went on: for drives longer than those there are.

    Where it begins again, the car is elsewhere at once. What is latched comes once.
    """

    def __init__(self, stream: Stream, times: int) -> None:
        """Raises InputError for less than one time."""
        if times < 1:
            raise InputError("times", "a number >= 1", str(times))
        self._stream, self._times, self.topics = stream, times, stream.topics

    def __len__(self) -> int:
        return self._times * len(self._stream)

    def __iter__(self) -> Iterator[TimedMessage]:
        """The messages; InputError for one that is cut short, whose stamp can't be changed."""
        from perception.replay.damage import moved_on

        later_ns = 0
        for turn in range(self._times):
            first_ns = last_ns = None
            for message in self._stream:
                received_ns, topic = message.received_ns, message.topic
                first_ns, last_ns = received_ns if first_ns is None else first_ns, received_ns
                if turn == 0:
                    yield message
                elif not self.topics[topic].latched:
                    data = moved_on(message.data, message.kind, later_ns, topic)
                    yield TimedMessage(topic, message.kind, received_ns + later_ns, data)
            if first_ns is None:
                return
            later_ns += last_ns - first_ns + BETWEEN_NS


def open_stream(path: str | Path, version: str | None = None, scene: str | None = None, clock: bool = False) -> Stream:
    """The stream of a bag, or of a scene of a nuScenes root.

    Raises InputError for anything else, and where version and scene don't pick one drive.
    """
    from perception.replay.nuscenes import Drive

    path = Path(path)
    if is_bag(path):
        if version or scene or clock:
            raise InputError("--version, --scene and --clock", "a nuScenes root to choose from", f"the bag {path}")
        return Bag(path)
    if any(folder.is_dir() for folder in path.glob("v1.0-*")):
        return Drive(path, version, scene, clock=clock)
    got = "another kind" if path.exists() else "no such file or folder"
    raise InputError(str(path), "a nuScenes root (with a folder v1.0-*) or a rosbag2", got)


def faulty_stream(
    path: str | Path,
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
