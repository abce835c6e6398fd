"""KITTI object benchmark: one `calib/NNNNNN.txt` a frame (Geiger et al., "Are we ready for autonomous driving?", 2012).

`P0`..`P3` (3 x 4) project from the rectified frame of camera 0 into each rectified image: P = K [I | t], where t is
where that camera sits. `R0_rect` (3 x 3) is rectified_from_camera0, `Tr_velo_to_cam` (3 x 4) camera0_from_velodyne and
`Tr_imu_to_velo` (3 x 4) velodyne_from_imu.

The ego frame of the rig is the IMU's: x forward, y left, z up, 0.93 m above the ground; KITTI knows no frame on the
ground. Sensors take the names of their folders: image_0 .. image_3 (2 is the left colour camera) and velodyne.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.files import read_text
from calibration.rig import Rig, Sensor
from calibration.transform import Transform

SHAPES = {"P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4), "R0_rect": (3, 3)}
SHAPES |= {"Tr_velo_to_cam": (3, 4), "Tr_imu_to_velo": (3, 4)}


def rig_from_kitti(path: str | Path, image_size: tuple[int, int]) -> Rig:
    """The rig of one calibration file; `image_size` (width, height) [px] differs from drive to drive and isn't in it.

    Raises InputError that names the file and the key for missing keys, malformed lines and impossible matrices.
    """
    matrices = _read(Path(path))

    def transform(key: str) -> Transform:
        rows = matrices[key]
        translation = rows[:, 3] if rows.shape[1] == 4 else np.zeros(3)
        return Transform(rows[:, :3], translation, f"{path}: {key}")

    ego_from_velodyne = transform("Tr_imu_to_velo").inverse()
    ego_from_rectified = ego_from_velodyne @ (transform("R0_rect") @ transform("Tr_velo_to_cam")).inverse()
    sensors = {"velodyne": Sensor("velodyne", "lidar", ego_from_velodyne)}
    for number in range(4):
        name, what = f"image_{number}", f"{path}: P{number}"
        K, offset = np.hsplit(matrices[f"P{number}"], [3])
        intrinsics = Intrinsics.from_matrix(K, *image_size, what=what)
        camera_from_rectified = Transform(np.eye(3), np.linalg.solve(K, offset[:, 0]), what)
        sensors[name] = Sensor(name, "camera", ego_from_rectified @ camera_from_rectified.inverse(), intrinsics)
    return Rig(sensors)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The matrices of the file by key; keys that this format doesn't have are left alone."""
    texts = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        key, colon, numbers = line.partition(":")
        if not colon:
            raise InputError(f"{path} line {number}", "KEY: numbers", f"{line!r:.60}")
        texts[key.strip()] = numbers.split()
    for key in SHAPES:
        if key not in texts:
            raise InputError(f"{path}: {key}", "a line with this key", f"keys {', '.join(texts) or 'none'}")
    return {key: _matrix(texts[key], shape, f"{path}: {key}") for key, shape in SHAPES.items()}


def _matrix(texts: list[str], shape: tuple[int, int], what: str) -> np.ndarray:
    try:
        values = np.array(texts, np.float64)
    except ValueError:
        raise InputError(what, "numbers", " ".join(texts)[:60]) from None
    if values.size != shape[0] * shape[1]:
        raise InputError(what, f"{shape[0] * shape[1]} numbers", f"{values.size}")
    if not np.isfinite(values).all():
        raise InputError(what, "finite numbers", f"{values[~np.isfinite(values)][0]}")
    return values.reshape(shape)
