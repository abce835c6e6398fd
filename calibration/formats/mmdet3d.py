"""MMDetection3D info files, version 1.1, as made for nuScenes: one entry of `data_list`.

`images.NAME.cam2img` is the camera matrix, `images.NAME.cam2ego` and `lidar_points.lidar2ego` are 4 x 4 matrices
`ego_from_camera` and `ego_from_lidar`, kept in float32. `lidar2cam` is camera_from_lidar with the ego motion between
the two stamps in it: it belongs to a frame, not to a rig, and isn't read here. Image sizes aren't in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from calibration.transform import Transform


def rig_from_mmdet3d(
    entry: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, int]],  # camera name -> (width, height) [px]
    lidar: str = "LIDAR_TOP",  # the file doesn't name it
) -> Rig:
    """The rig of one entry; raises InputError for missing fields and sizes."""
    ego_from_lidar = _transform(_field(entry, "lidar_points"), "lidar_points", "lidar2ego")
    sensors = {lidar: Sensor(lidar, "lidar", ego_from_lidar)}
    for name, image in _field(entry, "images").items():
        sensors[name] = _camera(name, image, sizes)
    return Rig(sensors)


def _camera(name: str, image: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]]) -> Sensor:
    what = f"images.{name}"
    if name not in sizes:
        raise InputError(what, "its image size", f"sizes of {', '.join(sizes) or 'no camera'}")
    intrinsics = Intrinsics.from_matrix(_field(image, "cam2img", what), *sizes[name], what=f"{what}.cam2img")
    return Sensor(name, "camera", _transform(image, what, "cam2ego"), intrinsics)


def _transform(block: Mapping[str, Any], what: str, name: str) -> Transform:
    matrix, what = _field(block, name, what), f"{what}.{name}"
    if not isinstance(matrix, list | np.ndarray) or len(matrix) != 4:  # three rows would pass for a rotation alone
        raise InputError(what, "a matrix (4, 4)", f"{matrix!r:.80}")
    return Transform.from_matrix(matrix, what)


def _field(block: Mapping[str, Any], name: str, what: str = "info entry") -> Any:
    if not isinstance(block, Mapping) or name not in block:
        got = ", ".join(map(str, block)) if isinstance(block, Mapping) else type(block).__name__
        raise InputError(what, f"a field {name}", got or "an empty block")
    return block[name]
