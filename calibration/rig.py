"""A rig: which sensors a vehicle carries, where they sit on it, and how its cameras image.

The file is YAML, one block a sensor:

    sensors:
      CAM_FRONT:
        kind: camera                            # camera | lidar | radar | imu
        ego_from_sensor:
          translation: [1.7, 0.0, 1.5]          # [m]
          quaternion: [0.5, -0.5, 0.5, -0.5]    # w x y z
        intrinsics:                             # cameras only
          {width: 1600, height: 900, fx: 1266.4, fy: 1266.4, cx: 816.3, cy: 491.5, model: pinhole, coefficients: []}

`ego_from_sensor: {matrix: [[...], ...]}` with four rows is as good. Nothing has a default but the lens (a pinhole).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.files import read_yaml, write_atomically
from calibration.spelling import did_you_mean
from calibration.transform import Transform

KINDS = ("camera", "lidar", "radar", "imu")
MAX_DISTANCE_M = 50.0  # no sensor is further from its vehicle's origin; millimetres read as metres are

HEADER = """\
# Ego frame: x forward, y left, z up. A point of the sensor's frame in the ego frame is rotation @ point + translation.
# Translations in metres, quaternions w x y z, intrinsics in pixels (whole numbers at pixel centres).
"""


@dataclass(frozen=True, eq=False)
class Sensor:
    """One sensor on the vehicle. Raises InputError for unknown kinds, cameras without intrinsics, others with."""

    name: str
    kind: str  # one of KINDS
    ego_from_sensor: Transform
    intrinsics: Intrinsics | None = None  # cameras only
    what: InitVar[str | None] = None  # how errors call it; by its name if not said

    def __post_init__(self, what: str | None) -> None:
        what = what or f"sensor {self.name}"
        if self.kind not in KINDS:
            raise InputError(f"{what} kind", " | ".join(KINDS), repr(self.kind), did_you_mean(self.kind, KINDS))
        if not isinstance(self.ego_from_sensor, Transform):
            raise InputError(f"{what} ego_from_sensor", "a Transform", repr(self.ego_from_sensor))
        if (self.kind == "camera") != (self.intrinsics is not None):
            expected = "intrinsics" if self.kind == "camera" else f"no intrinsics for a {self.kind}"
            raise InputError(what, expected, "none" if self.intrinsics is None else "some")


@dataclass(frozen=True, eq=False)
class Rig:
    """Named sensors, all placed in one ego frame (x forward, y left, z up). A missing sensor is absent."""

    sensors: Mapping[str, Sensor]  # by name

    def __post_init__(self) -> None:
        object.__setattr__(self, "sensors", dict(self.sensors))
        for name, sensor in self.sensors.items():
            if sensor.name != name:
                raise InputError("rig", f"the sensor {name} under its own name", sensor.name)

    def __getitem__(self, name: str) -> Sensor:
        """The sensor of that name; raises InputError with the nearest name there is."""
        if name not in self.sensors:
            raise InputError("sensor", "one that the rig has", repr(name), did_you_mean(name, self.sensors))
        return self.sensors[name]

    @property
    def cameras(self) -> tuple[Sensor, ...]:
        """The cameras, in the rig's order."""
        return tuple(sensor for sensor in self.sensors.values() if sensor.kind == "camera")

    @property
    def lidars(self) -> tuple[Sensor, ...]:
        """The lidars, in the rig's order."""
        return tuple(sensor for sensor in self.sensors.values() if sensor.kind == "lidar")

    def transform(self, destination: str, source: str) -> Transform:
        """`destination_from_source` between two sensors at one instant: ego motion between stamps isn't in it."""
        return self[destination].ego_from_sensor.inverse() @ self[source].ego_from_sensor

    def validate(self, what: str = "rig") -> None:
        """Raise InputError for legal numbers that no vehicle has; `what` is how the error calls the rig."""
        if not self.sensors:
            raise InputError(what, "at least one sensor", "none")
        for name, sensor in self.sensors.items():
            translation, camera = sensor.ego_from_sensor.translation, sensor.intrinsics
            if np.abs(translation).max() > MAX_DISTANCE_M:
                expected = f"a translation within {MAX_DISTANCE_M:g} m of the ego origin"
                got = " ".join(f"{x:g}" for x in translation)
                raise InputError(f"{what}: {name}", expected, got, "give it in metres")
            if camera and not camera.in_image((camera.cx, camera.cy)):
                expected = f"a principal point in the {camera.width}x{camera.height} image"
                fix = "give the size for which the intrinsics hold"
                raise InputError(f"{what}: {name}", expected, f"{camera.cx:g} {camera.cy:g}", fix)

    @staticmethod
    def load(path: str | Path) -> Rig:
        """Read and validate a rig file; raises InputError that names the file and the field."""
        return Rig.parse(read_yaml(Path(path)), str(path))

    @staticmethod
    def parse(content: Any, what: str = "rig") -> Rig:
        """The same of a file's content; `what` is how errors call it."""
        sensors = _fields(content, {"sensors"}, set(), what)["sensors"]
        if not isinstance(sensors, dict):
            raise InputError(f"{what}: sensors", "a block for each sensor", f"{sensors!r:.80}")
        rig = Rig({str(name): _read_sensor(str(name), block, f"{what}: {name}") for name, block in sensors.items()})
        rig.validate(what)
        return rig

    def save(self, path: str | Path) -> None:
        """Write the rig as YAML, whole or not at all; loading it gives the same numbers to 1e-12."""
        content = {"sensors": {name: _sensor_block(sensor) for name, sensor in self.sensors.items()}}
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        write_atomically(Path(path), HEADER + text)


def _sensor_block(sensor: Sensor) -> dict[str, Any]:
    block = {"kind": sensor.kind, "ego_from_sensor": _transform_block(sensor.ego_from_sensor)}
    if sensor.intrinsics:
        block["intrinsics"] = {**asdict(sensor.intrinsics), "coefficients": list(sensor.intrinsics.coefficients)}
    return block


def _transform_block(transform: Transform) -> dict[str, Any]:
    """A quaternion, unless the rotation is too rough for one (it came from a float32 file): then its own numbers."""
    quaternion, translation = transform.quaternion, transform.translation
    if np.abs(Transform.from_quaternion(quaternion).rotation - transform.rotation).max() > 1e-13:
        return {"matrix": transform.matrix.tolist()}
    return {"translation": translation.tolist(), "quaternion": quaternion.tolist()}


def _read_sensor(name: str, block: Any, where: str) -> Sensor:
    fields = _fields(block, {"kind", "ego_from_sensor"}, {"intrinsics"}, where)
    intrinsics = None
    if "intrinsics" in fields:
        intrinsics = _read_intrinsics(fields["intrinsics"], f"{where} intrinsics")
    ego_from_sensor = _read_transform(fields["ego_from_sensor"], f"{where} ego_from_sensor")
    return Sensor(name, fields["kind"], ego_from_sensor, intrinsics, what=where)


def _read_transform(block: Any, where: str) -> Transform:
    if isinstance(block, dict) and "matrix" in block:
        matrix = _fields(block, {"matrix"}, set(), where)["matrix"]
        if not isinstance(matrix, list) or len(matrix) != 4:  # three rows would pass for a rotation without a place
            raise InputError(f"{where} matrix", "four rows of four numbers", f"{matrix!r:.80}")
        return Transform.from_matrix(matrix, f"{where} matrix")
    fields = _fields(block, {"translation", "quaternion"}, set(), where)
    return Transform.from_quaternion(fields["quaternion"], fields["translation"], where)


def _read_intrinsics(block: Any, where: str) -> Intrinsics:
    fields = _fields(block, {"width", "height", "fx", "fy", "cx", "cy"}, {"model", "coefficients"}, where)
    if not isinstance(fields.get("coefficients", []), list):
        raise InputError(f"{where} coefficients", "a list of numbers", repr(fields["coefficients"]))
    return Intrinsics(**fields, what=where)


def _fields(block: Any, required: set[str], optional: set[str], where: str) -> dict[str, Any]:
    """The block, once it is sure that it has all required keys and no unknown ones."""
    known = sorted(required | optional)
    if not isinstance(block, dict):
        raise InputError(where, f"a block with {', '.join(known)}", f"{block!r:.80}")
    for key in block:
        if key not in known:
            raise InputError(where, f"keys {', '.join(known)}", repr(key), did_you_mean(key, known))
    for key in sorted(required - set(block)):
        raise InputError(where, f"the key {key}", f"only {', '.join(map(str, block)) or 'an empty block'}")
    return block
