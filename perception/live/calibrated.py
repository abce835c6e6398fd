"""Where sensors sit and how cameras image, as far as it is known by now, and what changed of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.rig import Rig, Sensor
from perception.ros.vehicle import Vehicle

STILL_M, STILL_DEG = 1e-4, 1e-3  # what numbers may differ by, sent again


class Calibrated:
    """A snapshot of a vehicle, which others may keep: it is replaced, never changed."""

    def __init__(self, sensors: Sequence[str]) -> None:
        self._sensors = tuple(sensors)
        self.rig = Rig({})
        self.unknown: dict[str, str] = dict.fromkeys(sensors, "nothing is known of it yet")

    def update(self, vehicle: Vehicle) -> list[str]:
        """Look again, after something came -> what changed, a line each."""
        unknown = vehicle.unknown(self._sensors)
        rig = vehicle.calibration([name for name in self._sensors if name not in unknown])
        changes = []
        for name, sensor in rig.sensors.items():
            before = self.rig.sensors.get(name)
            what = difference(before, sensor) if before else ""
            if what:
                changes.append(f"calibration of {name} changed: {what}")
        self.rig, self.unknown = rig, {name: str(error) for name, error in unknown.items()}
        return changes


def difference(before: Sensor, after: Sensor) -> str:
    """What is new of a sensor; "" for nothing."""
    moved = after.ego_from_sensor @ before.ego_from_sensor.inverse()
    apart_m = float(np.linalg.norm(after.ego_from_sensor.translation - before.ego_from_sensor.translation))
    turned_deg = float(np.rad2deg(Rotation.from_matrix(moved.rotation).magnitude()))
    parts = []
    if apart_m > STILL_M or turned_deg > STILL_DEG:
        parts.append(f"moved by {apart_m:.3f} m, turned by {turned_deg:.2f} degrees")
    if before.intrinsics != after.intrinsics:
        parts.append(f"intrinsics {before.intrinsics} became {after.intrinsics}")
    return ", ".join(parts)
