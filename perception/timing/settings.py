"""What the synchroniser must know of the sensors, and how long it may wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibration.errors import InputError

MS = 1_000_000  # ns
CLOSEST = 0.6  # of its period: no two measurements of one sensor are expected closer together


@dataclass(frozen=True)
class SensorSettings:
    """When one sensor measures, against the reference's clock."""

    period_ns: int  # between two of its measurements
    tolerance_ns: int  # how far from the expected stamp a measurement may be
    offset_ns: int = (
        0  # expected stamp less the reference's: a camera that fires 30 ms before the sweep ends has -30 ms
    )
    timeout_ns: int = 0  # without anything for longer, the sensor counts as dead; 0 means three periods
    latency_ns: int = 0  # from stamp to arrival; only differences to the reference's count, see offsets.py
    queue: int = 16  # measurements kept for it at most

    def __post_init__(self) -> None:
        if self.timeout_ns == 0:
            object.__setattr__(self, "timeout_ns", 3 * self.period_ns)
        checks = {
            "period_ns": (self.period_ns > 0, "> 0"),
            "tolerance_ns": (self.tolerance_ns >= 0, ">= 0"),
            "timeout_ns": (self.timeout_ns >= 1.5 * self.period_ns, "at least 1.5 periods"),
            "queue": (self.queue >= 2, ">= 2"),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise InputError(f"sensor's {name}", expected, f"{getattr(self, name)}")

    @property
    def closest_ns(self) -> int:
        """No two measurements are expected closer together."""
        return round(CLOSEST * self.period_ns)


@dataclass(frozen=True)
class SyncSettings:
    """How measurements become bundles."""

    sensors: Mapping[str, SensorSettings]
    references: tuple[str, ...]  # the first gives bundles their stamps; while it is dead, the next that lives
    budget_ns: int = 100 * MS  # a bundle goes out this long after its reference arrived, complete or not
    jump_ns: int = 1000 * MS  # a clock that leaves the receiver's by more has jumped
    # Two ways to wait less, if this may be trusted:
    skip_silent: bool = False  # a dead sensor stays dead; what it sends first on its return may be missed
    in_order: bool = False  # what one sensor sends arrives in the order of its stamps, as most transports have it
    correct_offsets: bool = False  # subtract learned clock offsets from stamps
    slack_ns: int = field(init=False)  # by how much arrivals may be delayed with the same bundles

    def __post_init__(self) -> None:
        unknown = [name for name in self.references if name not in self.sensors]
        if unknown or not self.references or len(set(self.references)) < len(self.references):
            raise InputError("references", f"some of {', '.join(self.sensors)}, each once", f"{self.references}")
        if self.sensors[self.references[0]].offset_ns:
            got = f"{self.sensors[self.references[0]].offset_ns} ns"
            raise InputError(f"offset of {self.references[0]}", "0, for it is the first reference", got)
        object.__setattr__(self, "slack_ns", self.budget_ns - self._lead_ns())
        if self.slack_ns <= 0:
            raise InputError(
                "budget_ns",
                f"more than {self._lead_ns()}, when the last sensor's window closes",
                f"{self.budget_ns}",
                "allow more time or narrow the tolerances",
            )
        if self.jump_ns <= 2 * self.budget_ns:
            raise InputError("jump_ns", f"more than twice the budget of {self.budget_ns}", f"{self.jump_ns}")

    def reach_ns(self, name: str) -> int:
        """How soon after a bundle's stamp a reference still takes precedence over those after it."""
        sensor = self.sensors[name]
        return max(sensor.tolerance_ns, sensor.period_ns // 2)

    def _lead_ns(self) -> int:
        """From the earliest moment a reference can arrive to the last stamp that its bundle may depend on."""
        ends = [sensor.offset_ns + sensor.tolerance_ns for sensor in self.sensors.values()]
        ends += [self.sensors[name].offset_ns + self.reach_ns(name) for name in self.references[:-1]]
        return max(ends) - min(self.sensors[name].offset_ns for name in self.references)
