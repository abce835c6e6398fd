"""The nuScenes calibration tables become a rig."""

import numpy as np
import pytest

from calibration.errors import InputError
from calibration.formats.nuscenes import rig_from_nuscenes

SIZES = {"CAM_FRONT": (1600, 900)}


@pytest.fixture
def rows() -> dict:
    """Rows as in the published table; x right, y down, z forward of the camera is -y, -z, x of the ego frame."""
    camera = {
        "token": "a",
        "sensor_token": "b",
        "translation": [1.7, 0.016, 1.51],
        "rotation": [0.5, -0.5, 0.5, -0.5],
        "camera_intrinsic": [[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]],
    }
    half = np.sqrt(0.5)
    lidar = {"translation": [0.94, 0.0, 1.84], "rotation": [half, 0, 0, -half], "camera_intrinsic": []}
    radar = {"translation": [3.4, 0.0, 0.5], "rotation": [1.0, 0, 0, 0], "camera_intrinsic": []}
    return {"CAM_FRONT": camera, "LIDAR_TOP": lidar, "RADAR_FRONT": radar}


def test_every_channel_becomes_a_sensor_of_its_kind(rows):
    rig = rig_from_nuscenes(rows, SIZES)
    assert {name: sensor.kind for name, sensor in rig.sensors.items()} == {
        "CAM_FRONT": "camera",
        "LIDAR_TOP": "lidar",
        "RADAR_FRONT": "radar",
    }
    intrinsics = rig["CAM_FRONT"].intrinsics
    assert (intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.cy) == (1600, 900, 1266.4, 491.5)
    rig.validate()


def test_axes_are_those_of_the_ego_frame(rows):
    rig = rig_from_nuscenes(rows, SIZES)
    ahead_ego = [11.7, 0.016, 1.51]
    np.testing.assert_allclose(rig["CAM_FRONT"].ego_from_sensor.apply([0, 0, 10]), ahead_ego, atol=1e-9)
    np.testing.assert_allclose(rig["LIDAR_TOP"].ego_from_sensor.rotate([0, 1, 0]), [1, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("channel", "changes", "message"),
    [
        ("CAM_FRONT", {"rotation": None}, "calibrated_sensor CAM_FRONT quaternion"),
        ("CAM_FRONT", {"translation": [1.0]}, "calibrated_sensor CAM_FRONT translation"),
        ("CAM_FRONT", {"camera_intrinsic": []}, "CAM_FRONT camera_intrinsic: expected a camera matrix"),
        ("CAM_FRONT", {"camera_intrinsic": np.zeros((3, 3))}, "CAM_FRONT camera_intrinsic"),
        ("LIDAR_TOP", {"rotation": [0, 0, 0, 0]}, "LIDAR_TOP quaternion"),
    ],
)
def test_bad_rows_are_named(rows, channel, changes, message):
    rows[channel].update(changes)
    with pytest.raises(InputError, match=message):
        rig_from_nuscenes(rows, SIZES)


def test_missing_fields_sizes_and_unknown_channels_are_named(rows):
    with pytest.raises(InputError, match="CAM_FRONT: expected its image size, got sizes of CAM_BACK"):
        rig_from_nuscenes(rows, {"CAM_BACK": (1600, 900)})
    with pytest.raises(InputError, match="SONAR_FRONT: expected a channel CAM_"):
        rig_from_nuscenes({"SONAR_FRONT": rows["RADAR_FRONT"]}, SIZES)
    del rows["LIDAR_TOP"]["translation"]
    with pytest.raises(InputError, match="LIDAR_TOP: expected a field translation"):
        rig_from_nuscenes(rows, SIZES)
