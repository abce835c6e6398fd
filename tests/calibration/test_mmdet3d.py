"""An MMDetection3D info entry becomes a rig, which on a real keyframe agrees with the frame's own matrices."""

import pickle

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.formats.mmdet3d import rig_from_mmdet3d
from calibration.transform import Transform
from tests.data import KEYFRAME, keyframe_info, needs

EGO_FROM_CAMERA = [[0, 0, 1, 1.7], [-1, 0, 0, 0.0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
EGO_FROM_LIDAR = [[0, 1, 0, 0.9], [-1, 0, 0, 0.0], [0, 0, 1, 1.84], [0, 0, 0, 1]]
SIZES = {"CAM_FRONT": (1600, 900)}


@pytest.fixture
def entry() -> dict:
    camera = {"cam2img": [[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]], "cam2ego": EGO_FROM_CAMERA}
    return {"images": {"CAM_FRONT": camera}, "lidar_points": {"lidar2ego": EGO_FROM_LIDAR}}


def test_an_entry_becomes_a_rig(entry):
    rig = rig_from_mmdet3d(entry, SIZES)
    assert list(rig.sensors) == ["LIDAR_TOP", "CAM_FRONT"]
    np.testing.assert_array_equal(rig["LIDAR_TOP"].ego_from_sensor.matrix, EGO_FROM_LIDAR)
    np.testing.assert_allclose(rig.transform("CAM_FRONT", "LIDAR_TOP").apply([0, 9.1, -1.84]), [0, 1.5, 8.3])
    assert rig["CAM_FRONT"].intrinsics.cx == 816.3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images",), None, "info entry: expected a field images, got lidar_points"),
        (("lidar_points",), None, "info entry: expected a field lidar_points"),
        (("lidar_points", "lidar2ego"), None, "lidar_points: expected a field lidar2ego"),
        (("lidar_points", "lidar2ego"), np.eye(3), r"lidar_points.lidar2ego: expected a matrix \(4, 4\)"),
        (("images", "CAM_FRONT", "cam2ego"), None, "images.CAM_FRONT: expected a field cam2ego, got cam2img"),
        (("images", "CAM_FRONT", "cam2ego"), "none", "images.CAM_FRONT.cam2ego: expected a matrix"),
        (("images", "CAM_FRONT", "cam2ego"), -np.eye(4), "images.CAM_FRONT.cam2ego"),
        (("images", "CAM_FRONT", "cam2img"), np.zeros((3, 3)), "images.CAM_FRONT.cam2img"),
    ],
)
def test_bad_fields_are_named(entry, path, value, message):
    block = entry
    for key in path[:-1]:
        block = block[key]
    if value is None:
        del block[path[-1]]
    else:
        block[path[-1]] = value
    with pytest.raises(InputError, match=message):
        rig_from_mmdet3d(entry, SIZES)


def test_a_missing_size_is_named(entry):
    with pytest.raises(InputError, match=r"images\.CAM_FRONT: expected its image size"):
        rig_from_mmdet3d(entry, {})


@needs(KEYFRAME)
def test_a_real_keyframe_s_lidar2cam_is_its_rig_and_one_steady_drive_ahead():
    """Cameras fire before the LiDAR stamp, each at its own time: what the rig leaves unexplained is the ego motion."""
    entry = _real_entry()
    rig = rig_from_mmdet3d(entry, {name: _size(image["img_path"]) for name, image in entry["images"].items()})
    rig.validate()
    assert len(rig.cameras) == 6
    lidar_from_ego = rig["LIDAR_TOP"].ego_from_sensor.inverse()
    seconds, shifts_m = [], []
    for camera in rig.cameras:
        image = entry["images"][camera.name]
        earlier_ego_from_ego = camera.ego_from_sensor @ Transform.from_matrix(image["lidar2cam"]) @ lidar_from_ego
        seconds.append(entry["timestamp"] - image["timestamp"])
        shifts_m.append(earlier_ego_from_ego.translation)
        assert np.degrees(Rotation.from_matrix(earlier_ego_from_ego.rotation).magnitude()) < 0.1
    velocity = np.linalg.lstsq(np.array(seconds)[:, None], np.array(shifts_m), rcond=None)[0]  # (1, 3) [m/s]
    np.testing.assert_allclose(shifts_m, np.outer(seconds, velocity), atol=5e-3)
    np.testing.assert_allclose(velocity[0], [9.3, 0, 0], atol=0.2)


def _size(name: str) -> tuple[int, int]:
    return cv2.imread(str(KEYFRAME / name)).shape[1::-1]


def _real_entry() -> dict:
    with open(keyframe_info(), "rb") as file:
        return _NumbersOnly(file).load()["data_list"][0]


class _NumbersOnly(pickle.Unpickler):
    """Containers and NumPy scalars; with anything else a pickle could run any code."""

    allowed = frozenset({("numpy.core.multiarray", "scalar"), ("numpy", "dtype"), ("_codecs", "encode")})

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)
