"""Which measurements belong together: streams of any rate in, bundles of one instant out.

    synchroniser = Synchroniser(settings)
    for measurement, received_ns in stream:
        for bundle in synchroniser.add(measurement, received_ns):
            ...
    synchroniser.flush()

Two clocks: stamps say when a sensor measured, and measurements are matched by them alone. The caller says when things
arrived, and how time goes on where nothing arrives (`advance`): that decides how long to wait. Both may count from
anything. Live these are the receive clock's times, in a replay the bag's; there is no other clock in here, so the same
calls give the same bundles.

A bundle goes out as soon as nothing that may still arrive could change it, at the latest `budget_ns` after its
reference arrived. So the order of arrival doesn't matter as long as arrivals are delayed by less than `slack_ns` (the
budget less how far the sensors' windows reach past the reference), and no sensor measures much faster than its period.
Where a sensor has nothing for a bundle, all of this costs the whole budget, for the bundles behind it too. Two settings
trust more and wait less: `skip_silent`, that a dead sensor stays dead, and `in_order`, that each sensor's measurements
arrive in their order, so that a newer one shows that an older one was never taken.
"""

from __future__ import annotations

from types import MappingProxyType

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.timing.bundle import Bundle, Statistics
from perception.timing.clock import Verdict
from perception.timing.lane import Entry, Lane, SensorCounts
from perception.timing.references import Head, References
from perception.timing.settings import MS, SensorSettings, SyncSettings
from perception.types import Measurement

__all__ = ["Bundle", "SensorCounts", "SensorSettings", "Statistics", "SyncSettings", "Synchroniser"]

RELEARNT = 16  # measurements from one correction of a clock to the next
LEAST_CORRECTION_NS = MS


class Synchroniser:
    """Makes bundles of measurements."""

    def __init__(self, settings: SyncSettings) -> None:
        self.settings = settings
        first = settings.sensors[settings.references[0]]
        self._lanes = {
            name: Lane(
                name,
                sensor,
                # The first reference is never looked for: it is there, or it is dead.
                0 if name == settings.references[0] else sensor.tolerance_ns,
                min(sensor.period_ns, first.period_ns),
                settings.jump_ns,
            )
            for name, sensor in settings.sensors.items()
        }
        self._references = References([self._lanes[name] for name in settings.references], settings)
        self._head: Head | None = None
        self._now_ns: int | None = None
        self._complete = self._partial = self._resets = 0

    def add(self, measurement: Measurement, received_ns: int) -> list[Bundle]:
        """Take a measurement that arrived at a time -> the bundles that go out by it.

        Times that go back a little count as no time passed. Raises InputError for a sensor that isn't in the settings.
        """
        lane = self._lanes.get(measurement.sensor)
        if lane is None:
            fix = did_you_mean(measurement.sensor, list(self._lanes))
            raise InputError("measurement", f"of one of {', '.join(self._lanes)}", repr(measurement.sensor), fix)
        bundles = self.advance(received_ns)
        lane.received += 1
        self._judge(lane, Entry(int(measurement.stamp_ns), self._now_ns, measurement))
        return bundles + self._due()

    def advance(self, now_ns: int) -> list[Bundle]:
        """Let time go on -> the bundles that waited long enough."""
        if self._now_ns is not None and now_ns < self._now_ns - self.settings.jump_ns:
            self._restart()
            self._now_ns = None
        self._now_ns = int(now_ns) if self._now_ns is None else max(self._now_ns, int(now_ns))
        return self._due() if self._head is not None else []

    def flush(self) -> list[Bundle]:
        """The rest, at the end of a stream."""
        bundles = []
        while head := self._next():
            bundles.append(self._release(head))
        return bundles

    def statistics(self) -> Statistics:
        """A snapshot of all counts."""
        counts = {name: lane.counts() for name, lane in self._lanes.items()}
        return Statistics(MappingProxyType(counts), self._complete, self._partial, self._resets)

    # What arrives

    def _judge(self, lane: Lane, entry: Entry) -> None:
        verdict = lane.watch.judge(entry.stamp_ns, entry.received_ns)
        if verdict is Verdict.SUSPECT:
            lane.forgive_suspect()
            lane.suspect = entry
        elif verdict is Verdict.JUMPED:
            self._jump(lane)
            suspect, lane.suspect = lane.suspect, None
            self._accept(lane, suspect)
            self._accept(lane, entry)
        else:
            lane.forgive_suspect()
            self._accept(lane, entry)
        lane.received_ns = entry.received_ns

    def _accept(self, lane: Lane, entry: Entry) -> None:
        """Put a measurement into its queue unless it comes too late."""
        self._learn(lane, entry)
        if lane.correction_ns:
            entry = entry._replace(stamp_ns=entry.stamp_ns - lane.correction_ns)
        if lane in self._references.lanes:
            self._references.note(lane, entry)
            self._head = None  # it may not be the next any more
        if not lane.note(entry):
            return
        last, stamp_ns = self._references.last, entry.stamp_ns - lane.settings.offset_ns
        if last is not None and stamp_ns + lane.tolerance_ns <= last.stamp_ns:
            lane.late += 1
        else:
            lane.put(entry)

    def _learn(self, lane: Lane, entry: Entry) -> None:
        """Compare a sensor's clock with the first reference's."""
        first = self._references.lanes[0]
        lane.newest = entry.stamp_ns, entry.received_ns
        if lane is first or first.newest is None or first.is_silent(entry.received_ns):
            return
        phase_ns = entry.stamp_ns - first.newest[0]
        arrival_ns = phase_ns - (entry.received_ns - first.newest[1])
        delay_ns = lane.settings.latency_ns - first.settings.latency_ns
        lane.learner.add(phase_ns - lane.settings.offset_ns, arrival_ns + delay_ns)
        if self.settings.correct_offsets and lane.received % RELEARNT == 0:
            self._correct(lane)

    def _correct(self, lane: Lane) -> None:
        learned = lane.learner.estimate()
        if learned is not None and abs(learned.offset_ns - lane.correction_ns) >= LEAST_CORRECTION_NS:
            lane.correction_ns = learned.offset_ns

    # Clocks that jump

    def _jump(self, lane: Lane) -> None:
        """A sensor's clock jumped or it restarted: what waits from before is of no use."""
        lane.jumps += 1
        self._head = None
        lane.throw_away()
        lane.seen.clear()
        lane.learner.forget()
        lane.correction_ns = 0
        if self._references.leads(lane, self._now_ns):
            self._begin_epoch()
            for other in self._lanes.values():
                other.throw_away(lane.watch.ahead_ns)

    def _restart(self) -> None:
        """The receiver's clock went back: nothing from before compares with what comes."""
        self._begin_epoch()
        for lane in self._lanes.values():
            lane.throw_away()
            lane.forgive_suspect()
            lane.restart()

    def _begin_epoch(self) -> None:
        self._resets += 1
        self._references.forget()
        self._head = None

    # What goes out

    def _due(self) -> list[Bundle]:
        bundles = []
        while (head := self._next()) and self._is_due(head):
            bundles.append(self._release(head))
        return bundles

    def _next(self) -> Head | None:
        if self._head is None:
            self._head = self._references.next()
        return self._head

    def _is_due(self, head: Head) -> bool:
        """Whether it has waited long enough, or nothing that may come would change its bundle."""
        if self._now_ns >= head.deadline_ns:
            return True
        return self._references.is_certain(head, self._now_ns) and all(
            self._is_settled(lane, head) for lane in self._lanes.values() if lane is not head.lane
        )

    def _is_settled(self, lane: Lane, head: Head) -> bool:
        """Whether no better measurement can arrive: it would be too close to the one that is there."""
        if self.settings.skip_silent and lane.is_silent(self._now_ns):
            return True
        wanted_ns = head.stamp_ns + lane.settings.offset_ns
        entry = lane.nearest(wanted_ns, head.entry.received_ns)
        away_ns = lane.tolerance_ns if entry is None else abs(entry.stamp_ns - wanted_ns)
        if self.settings.in_order and lane.was_seen(wanted_ns + away_ns):
            return True
        return entry is not None and 2 * away_ns <= lane.settings.closest_ns

    def _release(self, head: Head) -> Bundle:
        """Make the head's bundle and let go of what no later one can use."""
        chosen, missing = {}, {}
        for name, lane in self._lanes.items():
            wanted_ns = head.stamp_ns + lane.settings.offset_ns
            entry = head.entry if lane is head.lane else lane.nearest(wanted_ns, head.entry.received_ns)
            if entry is None:
                missing[name] = self._why_missing(lane, wanted_ns)
            else:
                chosen[name] = entry
                lane.take(entry)
            lane.purge(wanted_ns - lane.tolerance_ns)
        self._references.last, self._head = head, None
        self._complete += not missing
        self._partial += bool(missing)
        return self._bundle(head, chosen, missing)

    def _bundle(self, head: Head, chosen: dict[str, Entry], missing: dict[str, str]) -> Bundle:
        measurements = {name: entry.measurement for name, entry in chosen.items()}
        corrections_ns = {name: entry.measurement.stamp_ns - entry.stamp_ns for name, entry in chosen.items()}
        return Bundle(
            head.stamp_ns,
            head.lane.name,
            MappingProxyType(measurements),
            MappingProxyType(missing),
            MappingProxyType({name: ns for name, ns in corrections_ns.items() if ns}),
            self._resets,
            self._now_ns - head.entry.received_ns,
        )

    def _why_missing(self, lane: Lane, wanted_ns: int) -> str:
        if lane.received_ns is None:
            return "nothing came yet"
        if lane.is_silent(self._now_ns):
            return f"silent for {(self._now_ns - lane.received_ns) / 1e9:.2f} s"
        if lane.entries:
            away_ns = min((entry.stamp_ns - wanted_ns for entry in lane.entries), key=abs)
            if abs(away_ns) <= lane.tolerance_ns:
                return "its clock jumped"
            return f"the nearest is {away_ns / MS:+.1f} ms off, more than {lane.tolerance_ns / MS:g} ms"
        return "none came in time"
