"""nuScenes: rows of the `calibrated_sensor` table.

A row holds `translation` [m] and `rotation` (quaternion w x y z) of the sensor in the ego frame, which sits on the
ground under the rear axle, and for cameras `camera_intrinsic`, the matrix of the rectified image (empty for others).
The table doesn't say how large the images are: `sample_data` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from calibration.spelling import did_you_mean
from calibration.transform import Transform

KIND_OF_PREFIX = {"CAM": "camera", "LIDAR": "lidar", "RADAR": "radar"}


def rig_from_nuscenes(
    calibrated_sensors: Mapping[str, Mapping[str, Any]],  # channel ("CAM_FRONT") -> row
    sizes: Mapping[str, tuple[int, int]],  # camera channel -> (width, height) [px]
) -> Rig:
    """The rig of one sample; raises InputError for missing fields and sizes, and for channels of no known kind."""
    return Rig({channel: _sensor(channel, row, sizes) for channel, row in calibrated_sensors.items()})


def _sensor(channel: str, row: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]]) -> Sensor:
    what = f"calibrated_sensor {channel}"
    prefix = channel.split("_")[0]
    if prefix not in KIND_OF_PREFIX:
        raise InputError(what, "a channel CAM_*, LIDAR_* or RADAR_*", channel, did_you_mean(prefix, KIND_OF_PREFIX))
    for field in ("rotation", "translation", "camera_intrinsic"):
        if field not in row:
            raise InputError(what, f"a field {field}", f"only {', '.join(row)}")
    ego_from_sensor = Transform.from_quaternion(row["rotation"], row["translation"], what)
    if KIND_OF_PREFIX[prefix] != "camera":
        return Sensor(channel, KIND_OF_PREFIX[prefix], ego_from_sensor)
    if channel not in sizes:
        raise InputError(what, "its image size", f"sizes of {', '.join(sizes) or 'no camera'}")
    intrinsics = Intrinsics.from_matrix(row["camera_intrinsic"], *sizes[channel], what=f"{what} camera_intrinsic")
    return Sensor(channel, "camera", ego_from_sensor, intrinsics)
