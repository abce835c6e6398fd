"""What the synchroniser hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perception.timing.lane import SensorCounts
from perception.types import Measurement


@dataclass(frozen=True)
class Bundle:
    """What the sensors said of one instant."""

    stamp_ns: int  # of the reference, less its expected offset; strictly increasing within an epoch
    reference: str  # the sensor that it goes by
    measurements: Mapping[str, Measurement]  # by sensor, the reference's included, stamps as they came
    missing: Mapping[str, str]  # why each other sensor isn't there, in a few words
    corrections_ns: Mapping[str, int]  # what must be taken off a sensor's stamps, where its clock is known to be off
    epoch: int  # counts resets: at a new one stamps may go back, and whatever was remembered of the past is void
    waited_ns: int  # from the reference's arrival until the bundle went out

    @property
    def complete(self) -> bool:
        """Whether every sensor is there."""
        return not self.missing

    def stamp_of(self, sensor: str) -> int:
        """When a sensor of `measurements` measured, on the reference's clock [ns]."""
        return self.measurements[sensor].stamp_ns - self.corrections_ns.get(sensor, 0)


@dataclass(frozen=True)
class Statistics:
    """What happened so far."""

    sensors: Mapping[str, SensorCounts]
    complete: int  # bundles
    partial: int
    resets: int  # of everything, because the reference's or the receiver's clock jumped
