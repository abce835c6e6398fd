"""rosbag2: a folder with metadata.yaml, or one .mcap or .db3 file, as messages in the order in which they came."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import InputError
from perception.ros.codec import Codec

SUFFIXES = (".mcap", ".db3")
STORAGES = ("mcap", "sqlite3")
BROKEN = "copy it again; what was cut short while it was recorded, `mcap recover` or `ros2 bag reindex` may save"
EXPECTED = "a rosbag2 folder (with metadata.yaml), .mcap or .db3 file"


@dataclass(frozen=True)
class TimedMessage:
    """A message as it came."""

    topic: str
    kind: str  # like "sensor_msgs/msg/Image"
    received_ns: int
    data: bytes  # CDR


@dataclass(frozen=True)
class Topic:
    """What is published where."""

    kind: str
    latched: bool = False  # the last message is also for those who come later (transient local)
    count: int = 0  # of messages, where that is known
    definition: tuple[str, str] | None = None  # of the kind and its hash, where the bag has them


def is_bag(path: Path) -> bool:
    """Whether a path looks like a rosbag2."""
    return (path / "metadata.yaml").is_file() or (path.suffix in SUFFIXES and path.is_file())


class Bag:
    """An existing rosbag2. It can be gone through any number of times; one message at a time is in memory."""

    def __init__(self, path: str | Path) -> None:
        """Read what topics there are; InputError for what is no bag, or was cut short."""
        self.path = Path(path)
        Codec()  # says so where rosbags isn't installed
        if not is_bag(self.path):
            got = "another kind" if self.path.exists() else "no such file or folder"
            raise InputError(str(self.path), EXPECTED, got)
        with self._opened() as reader:
            self.topics: Mapping[str, Topic] = _topics(reader.connections)
            self.start_ns, self.count = reader.start_time, reader.message_count
        folder = self.path if self.path.is_dir() else None
        self.files = tuple(sorted(p for p in folder.iterdir() if p.is_file())) if folder else (self.path,)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TimedMessage]:
        return self.messages(self.topics)

    def messages(self, topics: Collection[str]) -> Iterator[TimedMessage]:
        """The messages on these topics, oldest first; InputError where the bag breaks off."""
        with self._opened() as reader:
            connections = [connection for connection in reader.connections if connection.topic in topics]
            if not connections:
                return
            for connection, received_ns, data in reader.messages(connections):
                yield TimedMessage(connection.topic, connection.msgtype, received_ns, bytes(data))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The reader; what it raises becomes InputError."""
        from rosbags.rosbag2 import Reader

        try:
            with Reader(self.path) as reader:
                yield reader
        except InputError:
            raise
        except Exception as error:  # of the reader, of SQLite, of a decompressor: nothing else runs in here
            got = f"a broken one ({type(error).__name__}: {error})"
            raise InputError(str(self.path), EXPECTED, got, BROKEN) from error


def _topics(connections: Iterable[Any]) -> dict[str, Topic]:
    found: dict[str, Topic] = {}
    for connection in connections:
        before = found.get(connection.topic)
        if before is not None and before.kind != connection.msgtype:
            got = f"{before.kind} and {connection.msgtype}"
            raise InputError(f"topic {connection.topic}", "messages of one kind", got)
        latched = any(qos.durability.name == "TRANSIENT_LOCAL" for qos in connection.ext.offered_qos_profiles)
        count = connection.msgcount + (before.count if before else 0)
        text, digest = connection.msgdef.data, connection.digest
        found[connection.topic] = Topic(connection.msgtype, latched, count, (text, digest) if text and digest else None)
    return found


def write_bag(
    path: Path,
    topics: Mapping[str, Topic],
    messages: Iterable[TimedMessage],
    storage: str = "mcap",  # or "sqlite3"
) -> int:
    """Write a rosbag2 folder, whole or not at all -> the number of messages.

    Raises InputError where `path` exists already or can't be written to, and for kinds of messages that nothing
    defines.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    if storage not in STORAGES:
        raise InputError("storage", " or ".join(STORAGES), repr(storage))
    if path.exists():
        raise InputError(str(path), "a new folder's name", "one that exists", "choose another, or remove it")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True)
        with Writer(beside / path.name, version=8, storage_plugin=StoragePlugin[storage.upper()]) as writer:
            connections = {name: _connection(writer, name, topic) for name, topic in topics.items()}
            count = 0
            for message in messages:
                writer.write(connections[message.topic], message.received_ns, message.data)
                count += 1
        os.replace(beside / path.name, path)
    except OSError as error:
        raise InputError(str(path), "a place to write to", error.strerror or type(error).__name__) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count


def _connection(writer: Any, name: str, topic: Topic) -> Any:
    text, digest = topic.definition or Codec().definition(topic.kind)
    qos = (_latched(),) if topic.latched else ()
    return writer.add_connection(name, topic.kind, msgdef=text, rihs01=digest, offered_qos_profiles=qos)


def _latched() -> Any:
    """Quality of service of /tf_static: reliable, and the last message is kept for those who come later."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    no_limit = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        no_limit,
        no_limit,
        QosLiveliness.SYSTEM_DEFAULT,
        no_limit,
        avoid_ros_namespace_conventions=False,
    )
