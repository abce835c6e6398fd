"""Nominal, degraded or blind: what the node thinks of its sensors, by event time.

A sensor is lost when nothing usable came of it for a while, and back when usable measurements came for a while without
such a gap: one message more or less changes nothing. Usable means usable in a frame: messages that can't be decoded, or
belong to no frame, are no sign of life.

    nominal     nothing is lost that matters
    degraded    detections are made without what is lost
    blind       nothing is detected: a sensor is lost that must not be, or all that the detector looks through
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Level(str, Enum):
    """How well the node sees."""

    NOMINAL = "nominal"
    DEGRADED = "degraded"
    BLIND = "blind"


@dataclass(frozen=True)
class State:
    """What is lost, and what follows."""

    level: Level
    lost: Mapping[str, str]  # why, by sensor; of those that change the state
    since_ns: int | None  # when this level and this set of sensors began

    @property
    def summary(self) -> str:
        """Without the reasons."""
        return f"{self.level.value}: {', '.join(self.lost)}" if self.lost else self.level.value

    def __str__(self) -> str:
        names = ", ".join(f"{name} ({why})" for name, why in self.lost.items())
        return f"{self.level.value}: {names}" if names else self.level.value


@dataclass
class _Watched:
    """One sensor; times as received [ns]."""

    policy: str  # degrade | blind | ignore
    lost_after_ns: int
    usable_ns: int | None = None  # the last that was
    run_ns: int | None = None  # the first of those that came without a gap since
    lost: bool = True  # until it has shown that it is there
    why: str = ""  # what was wrong the last time
    blamed_ns: int | None = None

    def update(self, now_ns: int, recover_ns: int) -> None:
        if self.usable_ns is None:
            return
        if now_ns - self.usable_ns > self.lost_after_ns:
            self.lost = True
        elif self.lost and self.usable_ns > self.run_ns and self.usable_ns - self.run_ns >= recover_ns:
            self.lost = False

    def reason(self, now_ns: int) -> str:
        if self.blamed_ns is not None and now_ns - self.blamed_ns <= self.lost_after_ns:
            return self.why
        if self.usable_ns is None:
            return "nothing came yet"
        if now_ns - self.usable_ns <= self.lost_after_ns:
            return "it is coming back"
        return f"nothing for {(now_ns - self.usable_ns) / 1e9:.1f} s"


@dataclass
class Health:
    """The state machine. Times may go back: then all that is remembered goes back with them."""

    lost_after_ns: Mapping[str, int]  # by sensor
    policies: Mapping[str, str]  # by sensor: degrade | blind | ignore
    eyes: Collection[str]  # what the detector looks through: with all of it lost it is blind
    recover_ns: int
    _watched: dict[str, _Watched] = field(init=False)
    _now_ns: int | None = field(init=False, default=None)
    _last: State = field(init=False)

    def __post_init__(self) -> None:
        self._watched = {name: _Watched(self.policies[name], after) for name, after in self.lost_after_ns.items()}
        self._last = State(Level.BLIND, MappingProxyType({}), None)

    def usable(self, name: str, now_ns: int) -> None:
        """Something came of a sensor that a frame can use."""
        self._follow(now_ns)
        sensor = self._watched[name]
        sensor.update(now_ns, self.recover_ns)
        if sensor.usable_ns is None or now_ns - sensor.usable_ns > sensor.lost_after_ns:
            sensor.run_ns = now_ns
        sensor.usable_ns, sensor.blamed_ns = now_ns, None

    def blame(self, name: str, why: str, now_ns: int) -> None:
        """Something was wrong with a sensor: the reason, should it turn out to be lost."""
        self._follow(now_ns)
        sensor = self._watched[name]
        sensor.why, sensor.blamed_ns = why, now_ns

    def is_lost(self, name: str) -> bool:
        """As of the last call."""
        return self._watched[name].lost

    def forgiven(self, name: str) -> bool:
        """Whether frames don't wait for it."""
        return self._watched[name].lost or self._watched[name].policy == "ignore"

    def must_not_lack(self, name: str) -> bool:
        """Whether there are no detections without it."""
        return self._watched[name].policy == "blind"

    def state(self, now_ns: int) -> State:
        """What is the case now."""
        self._follow(now_ns)
        for sensor in self._watched.values():
            sensor.update(now_ns, self.recover_ns)
        lost = {name: s.reason(now_ns) for name, s in self._watched.items() if s.lost and s.policy != "ignore"}
        level = Level.DEGRADED if lost else Level.NOMINAL
        if any(self.must_not_lack(name) for name in lost) or all(map(self.is_lost, self.eyes)):
            level = Level.BLIND
            lost = lost or {name: self._watched[name].reason(now_ns) for name in self.eyes}
        same = level is self._last.level and set(lost) == set(self._last.lost) and self._last.since_ns is not None
        self._last = State(level, MappingProxyType(lost), self._last.since_ns if same else now_ns)
        return self._last

    def _follow(self, now_ns: int) -> None:
        """Where the receiver's clock went back, go back with it."""
        if self._now_ns is not None and now_ns < self._now_ns:
            back_ns = self._now_ns - now_ns
            for sensor in self._watched.values():
                for name in ("usable_ns", "run_ns", "blamed_ns"):
                    if getattr(sensor, name) is not None:
                        setattr(sensor, name, getattr(sensor, name) - back_ns)
        self._now_ns = now_ns
