"""A stream at the pace of a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from calibration.errors import InputError
from perception.ros.bags import TimedMessage


def paced(
    messages: Iterable[TimedMessage],
    rate: float = 1.0,  # 2 is twice as fast as it was; 0 as fast as possible
    clock: Callable[[], float] = time.monotonic,  # s
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TimedMessage]:
    """The messages, each when it is due; one that is overdue at once, so that delays don't add up.

    Raises InputError for a rate below 0.
    """
    if not 0 <= rate < float("inf"):
        raise InputError("rate", "a number >= 0", f"{rate:g}")
    return _paced(messages, rate, clock, sleep)


def _paced(
    messages: Iterable[TimedMessage], rate: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[TimedMessage]:
    begin_ns, begin_s = None, 0.0
    for message in messages:
        if begin_ns is None:
            begin_ns, begin_s = message.received_ns, clock()
        elif rate > 0:
            due_s = begin_s + (message.received_ns - begin_ns) / 1e9 / rate
            wait_s = due_s - clock()
            if wait_s > 0:
                sleep(wait_s)
        yield message
