"""The measurements of one sensor that wait for a bundle, and what became of all others."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, replace
from typing import NamedTuple

from perception.timing.clock import ClockWatch
from perception.timing.offsets import OffsetEstimate, OffsetLearner
from perception.timing.settings import SensorSettings
from perception.types import Measurement

REMEMBERED = 64  # stamps, to tell duplicates and to know when a sensor was alive


class Entry(NamedTuple):
    """A measurement that waits."""

    stamp_ns: int  # with its clock's offset taken off, if that is allowed
    received_ns: int
    measurement: Measurement


@dataclass(frozen=True)
class SensorCounts:
    """What became of one sensor's measurements: `received` is the sum of the seven that follow it."""

    received: int = 0
    used: int = 0  # in a bundle that went out
    duplicated: int = 0  # of a stamp that came before
    late: int = 0  # came when the bundle that they belong to was out
    dropped: int = 0  # the oldest of a full queue
    unused: int = 0  # no bundle needed them
    jumped: int = 0  # of a wrong stamp, or thrown away because a clock jumped
    waiting: int = 0
    jumps: int = 0  # of this sensor's clock, restarts included
    offset: OffsetEstimate | None = None  # of this sensor's clock; None while it isn't known


class Lane:
    """A bounded queue, sorted by stamp."""

    def __init__(self, name: str, settings: SensorSettings, tolerance_ns: int, step_ns: int, jump_ns: int) -> None:
        self.name, self.settings, self.tolerance_ns = name, settings, tolerance_ns
        self.learner = OffsetLearner(step_ns)
        self._jump_ns, self._remembered = jump_ns, max(REMEMBERED, 2 * settings.queue)
        self.received = self.used = self.duplicated = self.late = self.dropped = 0
        self.unused = self.jumped = self.jumps = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything but the counts."""
        self.entries: list[Entry] = []
        self.seen: list[int] = []  # stamps as they came, sorted
        self.newest: tuple[int, int] | None = None  # stamp as it came and arrival of the last one believed
        self.received_ns: int | None = None  # when the last one arrived
        self.suspect: Entry | None = None
        self.watch = ClockWatch(self._jump_ns)
        self.correction_ns = 0  # taken off the stamps of what arrives
        self.learner.forget()

    def note(self, entry: Entry) -> bool:
        """Remember its stamp; False, and counted, if it came before or is older than what is remembered."""
        seen, stamp_ns = self.seen, entry.measurement.stamp_ns
        if not seen or stamp_ns > seen[-1]:
            seen.append(stamp_ns)
        elif stamp_ns < seen[0] and len(seen) == self._remembered:
            self.late += 1
            return False
        elif seen[bisect_left(seen, stamp_ns)] == stamp_ns:
            self.duplicated += 1
            return False
        else:
            insort(seen, stamp_ns)
        if len(seen) > self._remembered:
            del seen[0]
        return True

    def put(self, entry: Entry) -> None:
        """Let a measurement wait; the oldest of too many is dropped."""
        if not self.entries or entry.stamp_ns > self.entries[-1].stamp_ns:
            self.entries.append(entry)
        else:
            insort(self.entries, entry, key=lambda other: other.stamp_ns)
        if len(self.entries) > self.settings.queue:
            del self.entries[0]
            self.dropped += 1

    def nearest(self, wanted_ns: int, received_ns: int) -> Entry | None:
        """The waiting measurement nearest to a stamp, of two the earlier; None if none is within the tolerance.

        One that arrived much earlier or later than `received_ns` has its stamp from a clock that jumped since.
        """
        entries, best, distance = self.entries, None, self.tolerance_ns
        for entry in entries:
            away = abs(entry.stamp_ns - wanted_ns)
            if away < distance or (away == distance and best is None):
                if abs(entry.received_ns - received_ns) <= self._jump_ns:
                    best, distance = entry, away
            elif entry.stamp_ns > wanted_ns:
                break
        return best

    def take(self, entry: Entry) -> None:
        """Use a measurement."""
        self.entries.remove(entry)
        self.used += 1

    def purge(self, until_ns: int) -> None:
        """Let go of what no bundle can need any more: stamps up to this one."""
        entries = self.entries
        while entries and entries[0].stamp_ns <= until_ns:
            del entries[0]
            self.unused += 1

    def throw_away(self, ahead_ns: int | None = None) -> None:
        """Let go of all that isn't of a clock this far ahead of the receiver's."""
        kept = []
        if ahead_ns is not None:
            kept = [e for e in self.entries if abs(e.stamp_ns - e.received_ns - ahead_ns) <= self._jump_ns]
        self.jumped += len(self.entries) - len(kept)
        self.entries = kept

    def forgive_suspect(self) -> None:
        """Let go of a measurement whose stamp was wrong."""
        if self.suspect is not None:
            self.jumped += 1
            self.suspect = None

    def was_seen(self, after_ns: int, until_ns: float = math.inf) -> bool:
        """Whether there was a stamp, corrected, later than the first and not later than the second."""
        place = bisect_right(self.seen, until_ns + self.correction_ns)
        return place > 0 and self.seen[place - 1] > after_ns + self.correction_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether it counts as dead."""
        return self.received_ns is None or now_ns - self.received_ns > self.settings.timeout_ns

    def counts(self) -> SensorCounts:
        """Everything so far."""
        names = ("received", "used", "duplicated", "late", "dropped", "unused", "jumped", "jumps")
        waiting = len(self.entries) + (self.suspect is not None)
        numbers = SensorCounts(**{name: getattr(self, name) for name in names}, waiting=waiting)
        return replace(numbers, offset=self.learner.estimate())
