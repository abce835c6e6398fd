"""Messages from bytes and back, by rosbags' definitions of ROS 2 jazzy: no ROS is needed.

`make` in this package is `Codec().make`, or a function like it that makes another library's messages.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from calibration.errors import InputError
from perception.ros.fields import SECOND_NS

CDR_HEAD = 4  # bytes that say how the rest is written; the second is odd for little endian


class Codec:
    """ROS 2 messages of the usual packages."""

    def __init__(self) -> None:
        """Raises InputError where rosbags isn't installed."""
        self._store = _typestore()

    @staticmethod
    def make(kind: str, **fields: Any) -> Any:
        """A message of a kind like "sensor_msgs/msg/Image", all of its fields given."""
        return _typestore().types[kind](**fields)

    def has_header(self, kind: str) -> bool:
        """Whether messages of this kind are known, and begin with a header."""
        _, fields = self._store.fielddefs.get(kind, ((), ()))
        return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"

    def decode(self, data: bytes | memoryview, kind: str, what: str = "message") -> Any:
        """A message of its CDR bytes; InputError where they are cut short or of another kind."""
        try:
            return self._store.deserialize_cdr(data, kind)
        except (
            Exception
        ) as error:  # rosbags' readers are generated code: whatever goes wrong in them is the data's fault
            got = f"{len(data)} bytes that aren't one ({type(error).__name__})"
            raise InputError(what, f"a whole {kind}", got) from error

    def encode(self, message: Any) -> bytes:
        """Its CDR bytes, little endian."""
        return bytes(self._store.serialize_cdr(message, message.__msgtype__))

    def definition(self, kind: str) -> tuple[str, str]:
        """The text that defines a kind, and its hash; InputError for an unknown one."""
        if kind not in self._store.fielddefs:
            raise InputError("kind of message", "one of the usual packages", kind)
        return self._store.generate_msgdef(kind, ros_version=2)[0], self._store.hash_rihs01(kind)


def header_of(data: bytes | memoryview, what: str = "message") -> tuple[int, str]:
    """Stamp [ns] and frame id in the CDR bytes of a message that begins with a header; nothing else is read.

    Raises InputError where they end before.
    """
    order = _order(data) if len(data) >= CDR_HEAD else "<"
    try:
        sec, nanosec, length = struct.unpack_from(order + "iII", data, CDR_HEAD)
    except struct.error:
        raise InputError(what, "a message with a header", f"{len(data)} bytes") from None
    name = bytes(data[CDR_HEAD + 12 : CDR_HEAD + 12 + length])
    if not 0 < length == len(name):
        raise InputError(what, "a message with a header", f"{len(data)} bytes")
    return sec * SECOND_NS + nanosec, name[:-1].decode(errors="replace")


def with_header_stamp(data: bytes, stamp_ns: int) -> bytes:
    """The same bytes with another stamp."""
    changed = bytearray(data)
    struct.pack_into(_order(data) + "iI", changed, CDR_HEAD, *divmod(int(stamp_ns), SECOND_NS))
    return bytes(changed)


def _order(data: bytes | memoryview) -> str:
    return "<" if data[1] & 1 else ">"


@cache
def _typestore() -> Any:
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError("rosbags", "it to be installed", "no such package", "pip install rosbags") from None
    return get_typestore(Stores.ROS2_JAZZY)
