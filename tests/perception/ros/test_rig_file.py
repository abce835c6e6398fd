"""A rig file says which topic is which sensor; what doesn't fit together in it is named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from calibration.transform import Transform
from perception.nuscenes import CAMERAS
from perception.ros.rig_file import LiveRig, load_live_rig

NUSCENES = Path(__file__).resolve().parents[3] / "configs" / "rigs" / "nuscenes_ros.yaml"


def small() -> dict[str, Any]:
    return {
        "poses": {"kind": "odometry", "topic": "/odom"},
        "sync": {"references": ["TOP"]},
        "sensors": {
            "TOP": {"kind": "cloud", "topic": "/points", "frame": "top", "rate_hz": 10, "tolerance_ms": 20},
            "FRONT": {
                "kind": "image",
                "topic": "/image",
                "camera_info": "/info",
                "frame": "front",
                "rate_hz": 20,
                "offset_ms": -30,
                "tolerance_ms": 20,
            },
        },
    }


def calibration() -> Rig:
    front = Sensor("FRONT", "camera", Transform.identity(), Intrinsics(8, 6, 5, 5, 4, 3))
    return Rig({"FRONT": front, "TOP": Sensor("TOP", "lidar", Transform(np.eye(3), [0, 0, 2]))})


def load(tmp_path: Path, content: dict[str, Any]) -> LiveRig:
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_live_rig(path)


def test_the_nuscenes_car_has_its_sensors() -> None:
    rig = load_live_rig(NUSCENES)
    assert (rig.lidar, set(rig.cameras)) == ("LIDAR_TOP", set(CAMERAS))
    settings = rig.sync_settings(rig.sensors)
    assert settings.sensors["CAM_FRONT"].offset_ns == -35_000_000
    assert settings.references == ("LIDAR_TOP", "CAM_FRONT")
    assert settings.slack_ns > 0


def test_only_the_topics_that_the_wanted_sensors_need(tmp_path: Path) -> None:
    rig = load(tmp_path, small())
    lidar_only = {
        "/odom": "nav_msgs/msg/Odometry",
        "/tf_static": "tf2_msgs/msg/TFMessage",
        "/points": "sensor_msgs/msg/PointCloud2",
    }
    assert rig.topics(["TOP"]) == lidar_only
    assert rig.topics(["TOP", "FRONT"]) == lidar_only | {
        "/image": "sensor_msgs/msg/Image",
        "/info": "sensor_msgs/msg/CameraInfo",
    }


@pytest.mark.parametrize("inline", [True, False])
def test_a_calibration_is_read_and_spares_tf_static_and_camera_info(tmp_path: Path, inline: bool) -> None:
    calibration().save(tmp_path / "calibration.yaml")
    content = small()
    content["calibration"] = (
        yaml.safe_load((tmp_path / "calibration.yaml").read_text()) if inline else "calibration.yaml"
    )
    rig = load(tmp_path, content)
    np.testing.assert_array_equal(rig.calibration["TOP"].ego_from_sensor.translation, [0, 0, 2])
    assert set(rig.topics(rig.sensors)) == {"/odom", "/points", "/image"}


def rename_front(content: dict[str, Any]) -> None:
    content["sensors"]["FRONTT"] = content["sensors"].pop("FRONT")
    content["calibration"] = "calibration.yaml"


def swap_kinds(content: dict[str, Any]) -> None:
    content["sensors"] = {"FRONT": content["sensors"]["TOP"], "TOP": content["sensors"]["FRONT"]}
    content["sync"]["references"] = ["FRONT"]
    content["calibration"] = "calibration.yaml"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (rename_front, "expected a calibration of FRONTT, for /image, got FRONT, TOP; did you mean FRONT"),
        (swap_kinds, "expected a calibration of FRONT as a lidar, got one as a camera"),
        (lambda c: c["sensors"]["FRONT"].update(topik="/a"), "sensors.FRONT: expected a known key, got 'topik'"),
        (lambda c: c["sensors"]["FRONT"].update(topic="/points"), "expected each topic once, got /points"),
        (lambda c: c["sensors"]["FRONT"].update(kind="picture"), "sensors.FRONT.kind"),
        (lambda c: c["sensors"]["FRONT"].update(rate_hz=0), "sensors.FRONT.rate_hz"),
        (lambda c: c["sensors"]["FRONT"].pop("camera_info"), "camera_info for every camera, got none for FRONT"),
        (lambda c: c["sensors"]["TOP"].update(camera_info="/i"), "camera_info of cameras only"),
        (lambda c: c["sensors"].pop("TOP"), "expected one sensor of kind cloud, got none"),
        (lambda c: c["sync"].update(references=["TOPP"]), "got 'TOPP'; did you mean TOP"),
        (lambda c: c["sync"].update(references=["FRONT"]), "expected sync.references to begin with TOP"),
        (lambda c: c["sync"].update(budget_ms=1), "expected settings that fit together, got budget_ns"),
        (lambda c: c["poses"].pop("topic"), "expected a topic for odometry"),
        (lambda c: c["poses"].update(kind="tf"), "expected a topic for odometry and none for tf"),
        (lambda c: c.update(calibration="nowhere.yaml"), "nowhere.yaml: expected a readable file"),
        (lambda c: c.update(calibration={"sensors": {"TOP": {}}}), "calibration: TOP: expected the key"),
    ],
)
def test_what_does_not_fit_together_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], text: str
) -> None:
    calibration().save(tmp_path / "calibration.yaml")
    content = small()
    spoil(content)
    with pytest.raises(InputError) as error:
        load(tmp_path, content)
    assert text in str(error.value)


def test_sensors_and_topics_that_are_not_there_are_named(tmp_path: Path) -> None:
    rig = load(tmp_path, small())
    with pytest.raises(InputError, match=r"expected a rig with CAM_FRONT, which the detector needs, got TOP, FRONT"):
        rig.check_sensors(["TOP", "CAM_FRONT"])
    present = rig.topics(["TOP", "FRONT"])
    rig.check_topics(present, ["TOP", "FRONT"], "a bag")
    renamed = {topic.replace("image", "images"): kind for topic, kind in present.items()}
    with pytest.raises(InputError, match="a bag: expected a topic /image, got 5 others; did you mean /images"):
        rig.check_topics(renamed, ["TOP", "FRONT"], "a bag")
    compressed = present | {"/image": "sensor_msgs/msg/CompressedImage"}
    with pytest.raises(InputError, match=r"topic /image: expected sensor_msgs/msg/Image, got .*CompressedImage"):
        rig.check_topics(compressed, ["TOP", "FRONT"], "a bag")


def test_poses_of_tf_may_need_its_static_part_even_with_a_calibration(tmp_path: Path) -> None:
    calibration().save(tmp_path / "calibration.yaml")
    content = small() | {"poses": {"kind": "tf"}, "calibration": "calibration.yaml"}
    rig = load(tmp_path, content)
    assert "/tf_static" in rig.topics(["TOP"])
    rig.check_topics({"/tf": "tf2_msgs/msg/TFMessage", "/points": "sensor_msgs/msg/PointCloud2"}, ["TOP"], "a bag")
