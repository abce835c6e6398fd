"""Streams of measurements for the tests of time alignment."""

from collections.abc import Iterable

import numpy as np

from perception.timing.sync import Bundle, SensorSettings, Synchroniser, SyncSettings
from perception.types import Measurement, PointCloud

MS = 1_000_000
NOTHING = PointCloud(np.zeros((0, 5), np.float32))

LIDAR = SensorSettings(period_ns=50 * MS, tolerance_ns=0)
LEFT = SensorSettings(period_ns=50 * MS, tolerance_ns=20 * MS, offset_ns=-30 * MS)
RIGHT = SensorSettings(period_ns=100 * MS, tolerance_ns=20 * MS, offset_ns=-10 * MS)
SENSORS = {"LIDAR": LIDAR, "LEFT": LEFT, "RIGHT": RIGHT}
SETTINGS = SyncSettings(SENSORS, ("LIDAR", "LEFT"), budget_ns=160 * MS)

Arrival = tuple[int, str, int]  # received [ns], sensor, stamp [ns]


def taken(sensor: str, stamp_ns: int) -> Measurement:
    """A measurement whose payload doesn't matter."""
    return Measurement(sensor, stamp_ns, NOTHING)


def steady(sensor: str, count: int, start_ns: int = 0, delay_ns: int = 5 * MS, ahead_ns: int = 0) -> list[Arrival]:
    """A sensor without jitter, whose clock is this much ahead."""
    settings = SENSORS[sensor]
    true_ns = [start_ns + settings.offset_ns + k * settings.period_ns for k in range(count)]
    return [(time_ns + delay_ns, sensor, time_ns + ahead_ns) for time_ns in true_ns]


def all_steady(count: int, start_ns: int = 0) -> list[Arrival]:
    """Every sensor for as long as `count` turns of the LiDAR take."""
    return [
        arrival
        for sensor, settings in SENSORS.items()
        for arrival in steady(sensor, count * LIDAR.period_ns // settings.period_ns, start_ns)
    ]


def run(
    arrivals: Iterable[Arrival], settings: SyncSettings = SETTINGS, end: bool = True, tick_ns: int = 0
) -> tuple[list[Bundle], Synchroniser]:
    """Bundles of arrivals, in order of their times; with a timer that goes off every `tick_ns` if that isn't 0."""
    synchroniser, bundles, now_ns = Synchroniser(settings), [], None
    for received_ns, sensor, stamp_ns in sorted(arrivals, key=lambda arrival: arrival[0]):
        if tick_ns and now_ns is not None:
            for time_ns in range(now_ns, received_ns, tick_ns):
                bundles += synchroniser.advance(time_ns)
        bundles += synchroniser.add(taken(sensor, stamp_ns), received_ns)
        now_ns = received_ns
    return bundles + (synchroniser.flush() if end else []), synchroniser


def contents(bundles: Iterable[Bundle]) -> list[tuple]:
    """What is in bundles, without when they went out."""
    return [
        (bundle.epoch, bundle.stamp_ns, bundle.reference, {name: m.stamp_ns for name, m in bundle.measurements.items()})
        for bundle in bundles
    ]
