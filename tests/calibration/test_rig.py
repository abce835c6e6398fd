"""A rig file says what the rig is, to the last digit, and every mistake in it is named."""

import numpy as np
import pytest
import yaml

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from calibration.transform import Transform
from tests.calibration.samples import camera, generator, random_transform

GOOD = """
sensors:
  CAM_FRONT:
    kind: camera
    ego_from_sensor: {translation: [1.7, 0.0, 1.5], quaternion: [0.5, -0.5, 0.5, -0.5]}
    intrinsics: {width: 1600, height: 900, fx: 1266.4, fy: 1266.4, cx: 816.3, cy: 491.5}
  LIDAR_TOP:
    kind: lidar
    ego_from_sensor: {matrix: [[0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.84], [0, 0, 0, 1]]}
"""


@pytest.fixture
def rig() -> Rig:
    rng = generator()
    rough = Transform.from_matrix(random_transform(rng).matrix.astype(np.float32))
    sensors = [
        Sensor("CAM_FRONT", "camera", random_transform(rng), camera("rational")),
        Sensor("CAM_BACK", "camera", rough, camera("pinhole")),
        Sensor("LIDAR_TOP", "lidar", rough),
        Sensor("RADAR_FRONT", "radar", random_transform(rng)),
    ]
    return Rig({sensor.name: sensor for sensor in sensors})


def test_saving_and_loading_gives_the_same_numbers(rig, tmp_path):
    path = tmp_path / "rig.yaml"
    rig.save(path)
    again = Rig.load(path)
    assert list(again.sensors) == list(rig.sensors)
    for name, sensor in rig.sensors.items():
        assert again[name].kind == sensor.kind
        assert again[name].intrinsics == sensor.intrinsics
        np.testing.assert_allclose(
            again[name].ego_from_sensor.matrix, sensor.ego_from_sensor.matrix, rtol=0, atol=1e-12
        )


def test_nothing_but_the_file_is_left_behind(rig, tmp_path):
    rig.save(tmp_path / "rig.yaml")
    rig.save(tmp_path / "rig.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["rig.yaml"]


def test_a_file_can_be_written_by_hand(tmp_path):
    rig = _load(GOOD, tmp_path)
    assert [sensor.name for sensor in rig.cameras] == ["CAM_FRONT"]
    assert [sensor.name for sensor in rig.lidars] == ["LIDAR_TOP"]
    assert rig["CAM_FRONT"].intrinsics == Intrinsics(1600, 900, 1266.4, 1266.4, 816.3, 491.5)
    camera_from_lidar = rig.transform("CAM_FRONT", "LIDAR_TOP")
    # 10 m ahead on the ground: y = 10 - 0.9, z = -1.84 for the lidar; 8.3 m deep and 1.5 m down for the camera.
    np.testing.assert_allclose(camera_from_lidar.apply([0, 9.1, -1.84]), [0, 1.5, 8.3], atol=1e-12)


def test_sensors_reach_each_other_through_the_ego_frame(rig):
    there_and_back = rig.transform("LIDAR_TOP", "CAM_FRONT") @ rig.transform("CAM_FRONT", "LIDAR_TOP")
    np.testing.assert_allclose(there_and_back.matrix, np.eye(4), atol=1e-5)  # LIDAR_TOP carries float32 noise
    expected = np.linalg.inv(rig["CAM_FRONT"].ego_from_sensor.matrix) @ rig["LIDAR_TOP"].ego_from_sensor.matrix
    np.testing.assert_allclose(rig.transform("CAM_FRONT", "LIDAR_TOP").matrix, expected, atol=1e-9)


def test_an_unknown_sensor_is_answered_with_the_nearest_one(rig):
    with pytest.raises(InputError, match="got 'CAM_FRNT'; did you mean CAM_FRONT"):
        rig["CAM_FRNT"]
    with pytest.raises(InputError, match="got 'LIDAR_TOPP'; did you mean LIDAR_TOP"):
        rig.transform("CAM_FRONT", "LIDAR_TOPP")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: lidar",
            "kind: lidra",
            "LIDAR_TOP kind: expected camera | lidar | radar | imu, got 'lidra'; did you mean lidar?",
        ),
        (
            "kind: lidar",
            "knd: lidar",
            "LIDAR_TOP: expected keys ego_from_sensor, intrinsics, kind, got 'knd'; did you mean kind?",
        ),
        ("kind: lidar", "kind: camera", "LIDAR_TOP: expected intrinsics, got none"),
        ("kind: camera", "kind: radar", "CAM_FRONT: expected no intrinsics for a radar, got some"),
        ("    kind: lidar\n", "", "LIDAR_TOP: expected the key kind, got only ego_from_sensor"),
        ("fx: 1266.4", "fx: 0", "CAM_FRONT intrinsics: expected a matrix that isn't singular"),
        ("fx: 1266.4", "f: 1266.4", "CAM_FRONT intrinsics: expected keys"),
        ("fx: 1266.4, ", "", "CAM_FRONT intrinsics: expected the key fx"),
        ("cy: 491.5", "cy: 491.5, coefficients: 0.1", "CAM_FRONT intrinsics coefficients: expected a list"),
        ("cy: 491.5", "cy: 4915.0", "CAM_FRONT: expected a principal point in the 1600x900 image, got 816.3 4915"),
        ("translation: [1.7, 0.0, 1.5], ", "", "CAM_FRONT ego_from_sensor: expected the key translation"),
        ("quaternion: [0.5, -0.5, 0.5, -0.5]", "quaternion: [0, 0, 0, 0]", "CAM_FRONT ego_from_sensor quaternion"),
        ("translation: [1.7, 0.0, 1.5]", "translation: [1.7, .nan, 1.5]", "CAM_FRONT ego_from_sensor translation"),
        ("translation: [1.7, 0.0, 1.5]", "translation: [1700, 0, 1500]", "1700 0 1500; give it in metres"),
        ("[0, 0, 1, 1.84]", "[0, 0, -1, 1.84]", "LIDAR_TOP ego_from_sensor matrix: expected a rotation matrix"),
        (", [0, 0, 0, 1]", "", "LIDAR_TOP ego_from_sensor matrix: expected four rows"),
        ("[0, 0, 0, 1]", "[0, 0, 1]", "LIDAR_TOP ego_from_sensor matrix: expected numbers of shape"),
        ("LIDAR_TOP", "CAM_FRONT", "expected valid YAML, got CAM_FRONT given twice in line 7"),
        ("LIDAR_TOP:", "LIDAR_TOP", "expected valid YAML, got"),
        ("sensors:", "sensor:", "expected keys sensors, got 'sensor'; did you mean sensors?"),
    ],
)
def test_every_mistake_in_a_file_is_named(old, new, message, tmp_path):
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        _load(GOOD.replace(old, new, 1), tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "rig.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "sensors: {}", "sensors: 3", "sensors: {CAM: 3}", "\0", "sensors: {? [a] : 1}"]
)
def test_files_that_are_no_rig_are_refused(text, tmp_path):
    with pytest.raises(InputError, match=r"rig\.yaml"):
        _load(text, tmp_path)


def test_files_that_can_not_be_read_or_written_are_named(rig, tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: expected a readable file, got No such file"):
        Rig.load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"sensors: {K\xe4fer: 1}")
    with pytest.raises(InputError, match=r"latin\.yaml: expected UTF-8"):
        Rig.load(tmp_path / "latin.yaml")
    with pytest.raises(InputError, match="expected a place to write to"):
        rig.save(tmp_path / "no_folder" / "rig.yaml")


def test_sensors_must_be_what_they_say():
    with pytest.raises(InputError, match="sensor A kind"):
        Sensor("A", "sonar", Transform.identity())
    with pytest.raises(InputError, match="sensor A: expected intrinsics, got none"):
        Sensor("A", "camera", Transform.identity())
    with pytest.raises(InputError, match="sensor A ego_from_sensor: expected a Transform"):
        Sensor("A", "lidar", None)
    with pytest.raises(InputError, match="the sensor B under its own name"):
        Rig({"B": Sensor("A", "lidar", Transform.identity())})


def test_merged_blocks_are_plain_yaml(tmp_path):
    shared = yaml.safe_load(GOOD)["sensors"]["LIDAR_TOP"]
    text = GOOD + "  LIDAR_REAR:\n    <<: &top\n      kind: lidar\n"
    text += f"    ego_from_sensor: {shared['ego_from_sensor']}\n"
    assert len(_load(text, tmp_path).lidars) == 2


def _load(text: str, folder) -> Rig:
    path = folder / "rig.yaml"
    path.write_text(text)
    return Rig.load(path)
