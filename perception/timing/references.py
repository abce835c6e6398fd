"""Which measurement the next bundle goes by: the first reference's, or while that is dead, another's.

Whether a reference was alive is read off the stamps, not off who arrived first, so that the order of arrival doesn't
decide it: a later reference's measurement counts if none before it has a stamp in the timeout that ends just after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perception.timing.lane import Entry, Lane
from perception.timing.settings import SyncSettings


@dataclass(frozen=True)
class Head:
    """The reference measurement whose bundle goes out next."""

    stamp_ns: int  # the bundle's
    lane: Lane
    entry: Entry
    deadline_ns: int  # when it goes out, complete or not


class References:
    """The lanes that may give bundles their stamps, first choice first."""

    def __init__(self, lanes: Sequence[Lane], settings: SyncSettings) -> None:
        self.lanes, self._settings = tuple(lanes), settings
        self.forget()

    def forget(self) -> None:
        """Begin a new epoch."""
        self.last: Head | None = None  # of the last bundle
        self._first_ns: int | None = None  # earliest stamp of any
        self._ahead_ns: int | None = None  # the leading sensor's clock less the receiver's

    def note(self, lane: Lane, entry: Entry) -> None:
        """Take note of a measurement of one of them."""
        stamp_ns = entry.stamp_ns - lane.settings.offset_ns
        if self.leads(lane, entry.received_ns):
            self._ahead_ns = entry.stamp_ns - entry.received_ns
        if self._first_ns is None or stamp_ns < self._first_ns:
            self._first_ns = stamp_ns

    def leads(self, lane: Lane, now_ns: int) -> bool:
        """Whether it is one of them, and all that would come before it are dead now."""
        return lane in self.lanes and all(other.is_silent(now_ns) for other in self._before(lane))

    def next(self) -> Head | None:
        """The earliest measurement that a bundle goes by, and until when it may wait."""
        found = [
            (stamp_ns, lane, entry)
            for lane in self.lanes
            for entry in lane.entries
            if self._may_head(stamp_ns := entry.stamp_ns - lane.settings.offset_ns, lane, entry)
        ]
        if not found:
            return None
        # When any of them has waited long enough, so has all that came before it.
        deadline_ns = min(entry.received_ns for _, _, entry in found) + self._settings.budget_ns
        return Head(*min(found, key=lambda item: item[0]), deadline_ns)

    def is_certain(self, head: Head, now_ns: int) -> bool:
        """Whether no earlier one can arrive: there is no room for it since the last bundle's."""
        before = self._before(head.lane)
        if before and not (self._settings.skip_silent and all(lane.is_silent(now_ns) for lane in before)):
            return False
        if self._settings.in_order:
            return True
        if self.last is None or self.last.lane is not head.lane:
            return False
        return head.stamp_ns - self.last.stamp_ns < 2 * head.lane.settings.closest_ns

    def _before(self, lane: Lane) -> tuple[Lane, ...]:
        return self.lanes[: self.lanes.index(lane)]

    def _may_head(self, stamp_ns: int, lane: Lane, entry: Entry) -> bool:
        if self.last is not None and stamp_ns <= self.last.stamp_ns:
            return False
        if lane is self.lanes[0]:
            return True
        if abs(entry.stamp_ns - entry.received_ns - self._ahead_ns) > self._settings.jump_ns:
            return False  # its clock has nothing to do with the leading one
        return not any(self._lived(other, stamp_ns) for other in self._before(lane))

    def _lived(self, lane: Lane, stamp_ns: int) -> bool:
        """Whether a reference was alive at a bundle's stamp; at the beginning of a stream all are believed to be."""
        timeout_ns = lane.settings.timeout_ns
        if stamp_ns < self._first_ns + timeout_ns:
            return True
        own_ns = stamp_ns + lane.settings.offset_ns
        return lane.was_seen(own_ns - timeout_ns, own_ns + self._settings.reach_ns(lane.name))
