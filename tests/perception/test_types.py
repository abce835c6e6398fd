"""The seams: shapes are checked where data enters, and boxes keep their geometry wherever they are moved."""

import dataclasses

import numpy as np
import pytest

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import Transform
from perception.types import Boxes3D, CameraImage, PointCloud, check_array

CLASSES = ("car", "pedestrian")
INTRINSICS = Intrinsics(160, 90, 100, 100, 80, 45)


def random_boxes(seed: int = 0, count: int = 6) -> Boxes3D:
    rng = np.random.default_rng(seed)
    return Boxes3D(
        rng.normal(0, 20, (count, 3)),
        rng.uniform(0.5, 6, (count, 3)),
        rng.uniform(-np.pi, np.pi, count),
        rng.normal(0, 5, (count, 2)),
        rng.random(count),
        rng.integers(0, 2, count),
        CLASSES,
    )


def level_transform(seed: int = 0) -> Transform:
    """Turns about z, and shifts."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi)
    return Transform.from_quaternion((np.cos(angle / 2), 0, 0, np.sin(angle / 2)), rng.normal(0, 30, 3))


# What enters


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 4), np.float32), r"\(4, 4\) float32"),
        (np.zeros((4, 5)), r"\(4, 5\) float64"),
        (np.zeros(5, np.float32), r"\(5,\) float32"),
        ([[0.0] * 5], "list"),
    ],
)
def test_points_are_five_floats_each(array, got):
    with pytest.raises(InputError, match=rf"points: expected \(N, 5\) float32, got {got}"):
        PointCloud(array)


def test_images_are_rgb_bytes():
    for image in (np.zeros((90, 160), np.uint8), np.zeros((90, 160, 4), np.uint8), np.zeros((90, 160, 3))):
        with pytest.raises(InputError, match=r"image: expected \(H, W, 3\) uint8"):
            CameraImage(image, 0, INTRINSICS, Transform.identity())


def test_an_image_has_the_size_of_its_intrinsics():
    with pytest.raises(InputError, match="image size: expected 160x90 as in its intrinsics, got 90x160"):
        CameraImage(np.zeros((160, 90, 3), np.uint8), 0, INTRINSICS, Transform.identity())
    CameraImage(np.zeros((90, 160, 3), np.uint8), 0, INTRINSICS, Transform.identity())


@pytest.mark.parametrize("field", ["centers", "sizes", "yaws", "velocities", "scores", "labels"])
def test_boxes_have_as_many_rows_everywhere(field):
    boxes = random_boxes()
    with pytest.raises(InputError, match=r"boxes\."):
        dataclasses.replace(boxes, **{field: getattr(boxes, field)[:-1]})


def test_what_is_said_of_fronts_has_a_row_a_box():
    with pytest.raises(InputError, match=r"boxes.fronts\['points'\]: expected shape \(6,\), got \(5,\)"):
        dataclasses.replace(random_boxes(), fronts={"points": np.zeros(5)})


def test_letters_of_a_shape_stand_for_any_size():
    check_array("it", np.zeros((0, 7, 3), np.uint8), "(H, W, 3)", np.uint8)
    with pytest.raises(InputError, match="it: expected"):
        check_array("it", np.zeros((0, 7, 4), np.uint8), "(H, W, 3)", np.uint8)


# Boxes


def test_no_boxes():
    boxes = Boxes3D.empty(CLASSES, "ego")
    assert len(boxes) == 0
    assert boxes.frame == "ego"
    assert boxes.class_names == CLASSES
    assert boxes.corners().shape == (0, 8, 3)
    assert boxes.contain(np.zeros((5, 3))).shape == (0, 5)
    assert len(boxes.transformed(level_transform(), "world")) == 0


def test_rows_are_picked_by_mask_or_index():
    boxes = random_boxes()
    for rows in (boxes.scores > 0.5, np.array([3, 0]), []):
        picked = boxes.select(rows)
        expected = np.arange(6)[rows] if len(rows) else np.arange(0)
        assert len(picked) == len(expected)
        for field in ("centers", "sizes", "yaws", "velocities", "scores", "labels"):
            np.testing.assert_array_equal(getattr(picked, field), getattr(boxes, field)[expected])


def test_corners_start_at_the_front_left_and_go_round_counter_clockwise():
    boxes = Boxes3D(
        np.array([[10.0, 0, 1]]),
        np.array([[4.0, 2, 1]]),
        np.array([np.pi / 2]),
        np.zeros((1, 2)),
        np.ones(1),
        np.zeros(1, np.int64),
        CLASSES,
    )
    bottom = [(9, 2), (9, -2), (11, -2), (11, 2)]  # it heads along +y, so that its left is -x
    expected = [(x, y, z) for z in (0.5, 1.5) for x, y in bottom]
    np.testing.assert_allclose(boxes.corners()[0], expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_box_contains_what_is_between_its_faces(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(seed)
    corners = boxes.corners()
    edges = corners[:, [1, 3, 4]] - corners[:, :1]  # three edges from the first corner
    weights = rng.uniform(-0.4, 1.4, (6, 40, 3))
    points = corners[:, :1] + weights @ edges
    expected = ((weights >= 0) & (weights <= 1)).all(axis=-1)
    for row in range(6):
        np.testing.assert_array_equal(boxes.contain(points[row])[row], expected[row])
        assert expected[row].any()


def test_faces_are_part_of_a_box():
    boxes = dataclasses.replace(random_boxes(), yaws=np.zeros(6), centers=np.zeros((6, 3)), sizes=np.full((6, 3), 2.0))
    assert boxes.contain(boxes.corners()[0]).all()


@pytest.mark.parametrize("seed", range(5))
def test_moving_boxes_moves_their_corners(seed):
    boxes, target_from_source = random_boxes(seed), level_transform(seed)
    moved = boxes.transformed(target_from_source, "world")
    assert moved.frame == "world"
    np.testing.assert_allclose(moved.corners(), target_from_source.apply(boxes.corners()), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(moved.velocities, axis=1), np.linalg.norm(boxes.velocities, axis=1))
    back = moved.transformed(target_from_source.inverse(), "lidar")
    np.testing.assert_allclose(back.centers, boxes.centers, atol=1e-9)
    np.testing.assert_allclose(back.velocities, boxes.velocities, atol=1e-9)
    np.testing.assert_array_equal(back.scores, boxes.scores)


def test_seams_are_frozen():
    for seam, field in ((random_boxes(), "scores"), (PointCloud(np.zeros((0, 5), np.float32)), "points")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(seam, field, None)


def test_what_is_said_of_fronts_goes_with_the_boxes():
    said = dataclasses.replace(random_boxes(), fronts={"points": np.arange(6.0)})
    np.testing.assert_array_equal(said.select([4, 1]).fronts["points"], [4, 1])
    np.testing.assert_array_equal(said.transformed(level_transform(), "world").fronts["points"], np.arange(6.0))
    both = Boxes3D.joined([random_boxes(1), said, dataclasses.replace(said, fronts={"cameras": np.ones(6)})])
    np.testing.assert_array_equal(both.fronts["points"], [0] * 6 + [*range(6)] + [0] * 6)
    np.testing.assert_array_equal(both.front("cameras"), [0] * 12 + [1] * 6)
    assert not both.front("nobody").any()


def test_of_boxes_with_other_headings_it_stays_with_the_end_it_was_said_of():
    said = dataclasses.replace(random_boxes(), fronts={"points": np.full(6, 2.0)})
    turns = np.array([0.0, np.pi, 0.3, np.pi - 0.3, -np.pi, 7.0])
    headed = said.headed(said.yaws + turns)
    np.testing.assert_array_equal(headed.fronts["points"], [2, -2, 2, -2, -2, 2])
    np.testing.assert_array_equal(headed.yaws, said.yaws + turns)
    np.testing.assert_array_equal(said.fronts["points"], 2)
