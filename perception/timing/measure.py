"""How many measurements a second the synchroniser takes: `python -m perception.timing.measure`.

On the streams of a nuScenes car: a LiDAR at 20 Hz and six cameras that fire in six of ten of its turns.
"""

from __future__ import annotations

import time

import numpy as np

from perception.command import run
from perception.timing.sync import SensorSettings, Synchroniser, SyncSettings
from perception.types import Measurement, PointCloud

MS = 1_000_000  # ns
TURN_NS, TURNS = 50 * MS, 4000
FIRING = (0, 1, 3, 5, 6, 8)  # of ten turns, those in which cameras fire
EMPTY = PointCloud(np.zeros((0, 5), np.float32))


def settings() -> SyncSettings:
    """The LiDAR and six cameras, each with its offset to the sweep's end."""
    cameras = {f"CAM_{k}": SensorSettings(83 * MS, 20 * MS, -8 * k * MS) for k in range(6)}
    return SyncSettings({"LIDAR": SensorSettings(TURN_NS, 0), **cameras}, ("LIDAR", "CAM_0"), budget_ns=150 * MS)


def arrivals(sync: SyncSettings) -> list[tuple[int, Measurement]]:
    """Times of arrival and measurements, in order."""
    found = []
    for name, sensor in sync.sensors.items():
        turns = range(TURNS) if name == "LIDAR" else (turn for turn in range(TURNS) if turn % 10 in FIRING)
        stamps_ns = [turn * TURN_NS + sensor.offset_ns for turn in turns]
        found += [(stamp_ns + 9 * MS, Measurement(name, stamp_ns, EMPTY)) for stamp_ns in stamps_ns]
    return sorted(found, key=lambda arrival: arrival[0])


def main() -> None:
    """Measure how many measurements a second the synchroniser takes, of a LiDAR and six cameras."""
    sync = settings()
    stream, synchroniser = arrivals(sync), Synchroniser(sync)
    start = time.process_time()
    bundles = sum(len(synchroniser.add(measurement, received_ns)) for received_ns, measurement in stream)
    rate = len(stream) / (time.process_time() - start)
    print(f"{len(stream)} measurements, {bundles} bundles: {rate:.0f} measurements/s of processor time")


if __name__ == "__main__":
    run(main)
