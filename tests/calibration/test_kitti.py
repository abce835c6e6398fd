"""A KITTI calibration file becomes a rig, and real labels and points project where the benchmark says they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import InputError
from calibration.formats.kitti import rig_from_kitti
from tests.data import ROOT, needs

KITTI = ROOT / "data" / "kitti" / "training"
SIZE = (1242, 375)
CALIB = """\
P0: 700 0 600 0 0 700 180 0 0 0 1 0
P1: 700 0 600 -378 0 700 180 0 0 0 1 0
P2: 700 0 600 45 0 700 180 -0.35 0 0 1 0.005
P3: 700 0 600 -336 0 700 180 2.3 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
Tr_imu_to_velo: 1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.8

"""


def test_projection_matrices_are_those_of_the_file(tmp_path):
    rig = _rig(CALIB, tmp_path)
    rng = np.random.default_rng(0)
    points_velodyne = np.c_[rng.uniform(5, 60, 50), rng.uniform(-5, 5, 50), rng.uniform(-2, 1, 50)]
    camera0_from_velodyne = np.array([[0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])
    homogeneous = np.c_[points_velodyne, np.ones(50)] @ camera0_from_velodyne.T
    for number, line in enumerate(CALIB.splitlines()[:4]):
        P = np.array(line.split()[1:], float).reshape(3, 4)
        expected = homogeneous @ P.T
        name = f"image_{number}"
        got = rig[name].intrinsics.project(rig.transform(name, "velodyne").apply(points_velodyne))
        np.testing.assert_allclose(got, expected[:, :2] / expected[:, 2:], atol=1e-9)


def test_the_ego_frame_is_the_imu_s(tmp_path):
    rig = _rig(CALIB, tmp_path)
    np.testing.assert_allclose(rig["velodyne"].ego_from_sensor.translation, [0.81, -0.32, 0.8], atol=1e-12)
    # From P2: the left colour camera sits (45 - 600 * 0.005) / 700 = 6 cm left of camera 0, a little up and back.
    image_2 = rig["image_2"].ego_from_sensor.translation
    np.testing.assert_allclose(image_2, [0.81 + 0.27 - 0.005, -0.32 + 0.06, 0.8 - 0.08 - 1.25 / 700], atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("P2: 700 0", "P2: 700", "P2: expected 12 numbers, got 11"),
        ("P2: 700", "P2: seven", "P2: expected numbers, got seven"),
        ("P2: 700", "P2: nan", "P2: expected finite numbers, got nan"),
        ("P2: 700", "P2: 0", "P2: expected a matrix that isn't singular"),
        ("P2:", "Q2:", "P2: expected a line with this key, got keys P0, P1, Q2"),
        ("P2:", "P2", "line 3: expected KEY: numbers"),
        ("R0_rect: 1", "R0_rect: -1", "R0_rect: expected a rotation matrix"),
        ("Tr_velo_to_cam: 0", "Tr_velo_to_cam: 1", "Tr_velo_to_cam: expected a rotation matrix"),
        (CALIB, "", "P0: expected a line with this key, got keys none"),
    ],
)
def test_malformed_files_are_named_with_their_key(old, new, message, tmp_path):
    with pytest.raises(InputError) as caught:
        _rig(CALIB.replace(old, new, 1), tmp_path)
    assert f"{tmp_path / 'calib.txt'}" in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: expected a readable file"):
        rig_from_kitti(tmp_path / "none.txt", SIZE)


@needs(KITTI)
def test_real_3d_labels_project_onto_their_2d_boxes():
    errors = []
    for frame in _frames():
        rig, size = _real_rig(frame)
        for kind, box_px, corners_rectified in _labels(frame):
            if kind == "Pedestrian":  # their 2D boxes follow arms and legs
                continue
            # P0 has no offset: the rectified frame is the camera frame of image_0.
            corners = rig.transform("image_2", "image_0").apply(corners_rectified)
            pixels = rig["image_2"].intrinsics.project(corners).clip(0, np.array(size) - 1)
            errors.append(np.r_[pixels.min(axis=0), pixels.max(axis=0)] - box_px)
    errors = np.abs(errors)
    assert len(errors) >= 10
    assert np.median(errors) < 0.5
    assert errors.max() < 3


@needs(KITTI)
def test_real_points_on_a_labelled_object_land_in_its_2d_box():
    objects = 0
    for frame in _frames():
        rig, _ = _real_rig(frame)
        points = np.fromfile(KITTI / "velodyne" / f"{frame}.bin", np.float32).reshape(-1, 4)[:, :3]
        points_rectified = rig.transform("image_0", "velodyne").apply(points)
        pixels = rig["image_2"].intrinsics.project(rig.transform("image_2", "velodyne").apply(points))
        for _, (left, top, right, bottom), corners_rectified in _labels(frame):
            on_object = pixels[_inside(corners_rectified, points_rectified)]
            if len(on_object) < 20:
                continue
            objects += 1
            assert ((on_object > (left - 3, top - 3)) & (on_object < (right + 3, bottom + 3))).all(axis=1).mean() > 0.98
            # Surfaces face the camera, so the points spread over much of the box.
            assert np.ptp(on_object[:, 0]) > 0.5 * (right - left)
    assert objects >= 5


@needs(KITTI)
def test_the_real_cloud_covers_the_lower_half_of_the_picture():
    rig, (width, height) = _real_rig("000000")
    points = np.fromfile(KITTI / "velodyne" / "000000.bin", np.float32).reshape(-1, 4)[:, :3]
    intrinsics = rig["image_2"].intrinsics
    pixels = intrinsics.project(rig.transform("image_2", "velodyne").apply(points))
    rows, columns = pixels[intrinsics.in_image(pixels)].T[::-1]
    cells = np.zeros((4, 8), bool)
    cells[(rows * 4 / height).astype(int).clip(0, 3), (columns * 8 / width).astype(int).clip(0, 7)] = True
    assert cells[2:].all()


def _rig(text: str, folder: Path):
    path = folder / "calib.txt"
    path.write_text(text)
    return rig_from_kitti(path, SIZE)


def _frames() -> list[str]:
    return sorted(path.stem for path in (KITTI / "calib").glob("*.txt"))


def _real_rig(frame: str):
    size = cv2.imread(str(KITTI / "image_2" / f"{frame}.png")).shape[1::-1]
    return rig_from_kitti(KITTI / "calib" / f"{frame}.txt", size), size


def _labels(frame: str):
    """Of whole, visible objects: kind, 2D box left top right bottom [px], 3D corners (8, 3) in the rectified frame."""
    for line in (KITTI / "label_2" / f"{frame}.txt").read_text().splitlines():
        kind, truncated, occluded, _, *numbers = line.split()
        if kind == "DontCare" or float(truncated) > 0 or int(occluded) > 0:
            continue
        left, top, right, bottom, height, width, length, x, y, z, yaw = map(float, numbers[:11])
        # The box stands on (x, y, z); yaw turns about the camera's y axis, which points down.
        signs = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-1, 0) for k in (-0.5, 0.5)])
        rotation = cv2.Rodrigues(np.array([0, yaw, 0]))[0]
        yield kind, np.array([left, top, right, bottom]), (signs * (length, height, width)) @ rotation.T + (x, y, z)


def _inside(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points lie in the box: between the corner's two faces along each of its three edges."""
    origin, edges = corners[0], corners[[4, 2, 1]] - corners[0]
    along = (points - origin) @ edges.T / (edges**2).sum(axis=1)
    return ((along >= 0) & (along <= 1)).all(axis=1)
