"""What messages are made of: stamps, and byte arrays that are bytes, array.array or NumPy's, by the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from calibration.errors import InputError

SECOND_NS = 1_000_000_000


def stamp_ns_of(message: Any) -> int:
    """A message's header stamp [ns]."""
    stamp = message.header.stamp
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


def time_message(make: Callable[..., Any], stamp_ns: int) -> Any:
    """A builtin_interfaces/msg/Time; `make` is told in codec.py. InputError for what doesn't fit into it."""
    sec, nanosec = divmod(int(stamp_ns), SECOND_NS)
    if not -(2**31) <= sec < 2**31:
        raise InputError("stamp", "32 bits of seconds", f"{sec}")
    return make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def header_message(make: Callable[..., Any], stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/msg/Header."""
    return make("std_msgs/msg/Header", stamp=time_message(make, stamp_ns), frame_id=frame_id)


def bytes_of(data: Any, what: str) -> np.ndarray:
    """The bytes (N,) uint8 of a message's array, without a copy where it has a buffer."""
    try:
        return np.frombuffer(data, np.uint8)
    except ValueError:  # NumPy's for an empty one
        return np.zeros(0, np.uint8)
    except TypeError:
        raise InputError(what, "bytes", type(data).__name__) from None
