"""Tells a clock that jumped, or a sensor that restarted, from a late arrival and from a single wrong stamp."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What a stamp says of the clock it comes from."""

    STEADY = 1  # it runs with the receiver's clock
    SUSPECT = 2  # this stamp is far off: wrong, or the first after a jump
    JUMPED = 3  # the suspect before it was right: the clock jumped


class ClockWatch:
    """Compares a sensor's clock with the receiver's, whatever either counts from.

    Silence is no jump: both clocks went on. A jump needs two stamps in a row that agree with each other and not with
    what was before, so that one wrong stamp changes nothing.
    """

    def __init__(self, jump_ns: int) -> None:
        self._jump_ns = jump_ns
        self.ahead_ns: int | None = None  # stamp less arrival of the newest that was believed
        self._suspect_ns: int | None = None

    def judge(self, stamp_ns: int, received_ns: int) -> Verdict:
        """Take note of the next measurement."""
        ahead_ns = stamp_ns - received_ns
        if self.ahead_ns is None or abs(ahead_ns - self.ahead_ns) <= self._jump_ns:
            self.ahead_ns, self._suspect_ns = ahead_ns, None
            return Verdict.STEADY
        if self._suspect_ns is None or abs(ahead_ns - self._suspect_ns) > self._jump_ns:
            self._suspect_ns = ahead_ns
            return Verdict.SUSPECT
        self.ahead_ns, self._suspect_ns = ahead_ns, None
        return Verdict.JUMPED
