"""Augmentation is carried by transforms: whatever is drawn, everything stays where it belongs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.config import ImageSettings
from perception.prepare import input_from_image, prepare, resized_window
from perception.training.augment import ImageView, SceneView
from perception.training.examples import ExampleMaker
from perception.training.settings import ImageAugmentation, SceneAugmentation, TrainingSettings
from tests.perception.training.scenes import scene
from tests.tiny import CAMERAS, tiny_config

IMAGES = ImageSettings(cameras=CAMERAS, resized_width=384, size=(352, 128))
STILL_IMAGE = ImageAugmentation(scale=(1, 1), rotation_deg=0, flip="never", shift=False)
STILL_SCENE = SceneAugmentation(rotation_deg=0, scale=(1, 1), translation_m=0, flip_x=False, flip_y=False)
STILL = TrainingSettings(image=STILL_IMAGE, scene=STILL_SCENE)
seeds = pytest.mark.parametrize("seed", range(8))


# Scenes


def drawn(seed: int, **settings: object) -> SceneView:
    return SceneView.draw(SceneAugmentation(**settings), np.random.default_rng(seed))


@seeds
def test_boxes_hold_the_points_they_held(seed):
    frame, view = scene(seed), drawn(seed)
    before = frame.truth.boxes.contain(frame.cloud.points)
    after = view.boxes(frame.truth.boxes).contain(view.points(frame.cloud.points))
    assert before.any(axis=1).all()
    assert (before != after).mean() < 1e-4  # float32 points on a face may end on its other side


@seeds
def test_a_moving_box_still_moves_where_it_will_be(seed):
    boxes, view = scene(seed).truth.boxes, drawn(seed)
    later = replace(boxes, centers=boxes.centers + np.column_stack([boxes.velocities, np.zeros(len(boxes))]))
    moved = view.boxes(later).centers[:, :2] - view.boxes(boxes).centers[:, :2]
    np.testing.assert_allclose(view.boxes(boxes).velocities, moved, atol=1e-9)
    assert np.isnan(moved).any()
    assert not np.isnan(moved).all()


def test_each_part_of_a_scene_view_does_what_it_says():
    boxes, still = scene().truth.boxes, STILL_SCENE.model_dump()
    views = (drawn(seed, **still | {"flip_x": True}) for seed in range(20))
    mirrored = next(view for view in views if view.lidar_augmented_from_lidar[0, 0] < 0)
    np.testing.assert_allclose(mirrored.boxes(boxes).centers, boxes.centers * (-1, 1, 1))
    np.testing.assert_allclose(np.cos(mirrored.boxes(boxes).yaws), -np.cos(boxes.yaws))
    np.testing.assert_allclose(np.sin(mirrored.boxes(boxes).yaws), np.sin(boxes.yaws))
    scaled = drawn(1, **still | {"scale": (1.1, 1.1)})
    np.testing.assert_allclose(scaled.boxes(boxes).sizes, boxes.sizes * 1.1)
    turned = drawn(1, **still | {"rotation_deg": 30})
    angle = np.arctan2(*turned.lidar_augmented_from_lidar[[1, 0], 0])
    assert 0 < abs(angle) <= np.radians(30)
    difference = turned.boxes(boxes).yaws - boxes.yaws - angle
    np.testing.assert_allclose(np.cos(difference), 1)
    np.testing.assert_array_equal(drawn(1, **still).lidar_augmented_from_lidar, np.eye(4))


# Images


def gradient_image(width: int, height: int) -> np.ndarray:
    """Red says how far right a pixel is, green how far down, blue that it is of the image at all."""
    v, u = np.indices((height, width))
    return np.stack([255 * u / width, 255 * v / height, np.full_like(u, 255)], axis=-1).astype(np.uint8)


@seeds
def test_the_pixel_transform_says_where_image_content_went(seed):
    image = gradient_image(1600, 900)
    view = ImageView.draw(image.shape, IMAGES, ImageAugmentation(rotation_deg=20), np.random.default_rng(seed))
    window = view.apply(image).astype(float)
    assert window.shape == (128, 352, 3)
    v, u = np.nonzero(window[..., 2] > 254)  # not blended with the black outside
    assert len(u) > 10_000
    inverse = np.linalg.inv(view.input_from_image)
    source = inverse[:2, :2] @ np.stack([u, v]) + inverse[:2, 2:]
    # A step of a colour is 6 px of this image; the convention of prepare.input_from_image is off by less than 2 of it.
    assert np.abs(window[v, u, 0] - 255 * source[0] / 1600).max() < 1.5
    assert np.abs(window[v, u, 1] - 255 * source[1] / 900).max() < 2.5


def test_without_augmentation_the_network_sees_what_it_sees_in_inference():
    image = np.random.default_rng(0).integers(0, 256, (450, 800, 3), np.uint8)
    view = ImageView.draw(image.shape, IMAGES, STILL_IMAGE, np.random.default_rng(0))
    np.testing.assert_array_equal(view.apply(image), resized_window(image, IMAGES))
    np.testing.assert_allclose(view.input_from_image, input_from_image(image, IMAGES))


# Both together


def projected(batch: object, camera: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Input pixels (M, 2) of points in the batch's lidar frame, and their depths."""
    pose, matrix, view = (getattr(batch, name)[camera].numpy() for name in POSES)
    in_camera = points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    in_image = in_camera @ matrix.T
    pixels = in_image / in_image[:, 2:] @ view.T
    return pixels[:, :2], in_camera[:, 2]


POSES = ("camera_from_lidar", "image_from_camera", "input_from_image")


@seeds
def test_augmented_points_stay_on_the_same_image_content(seed):
    frame = scene(seed, size=(320, 180))
    plain = tiny_config().model_copy(update={"training": STILL})
    augmented = tiny_config().model_copy(update={"training": TrainingSettings()})
    cameras = {name: replace(c, image=gradient_image(320, 180)) for name, c in frame.cameras.items()}
    frame = replace(frame, cameras=cameras)
    before = ExampleMaker(plain)(frame, np.random.default_rng(seed)).batch
    after = ExampleMaker(augmented)(frame, np.random.default_rng(seed)).batch
    view = SceneView.draw(SceneAugmentation(), np.random.default_rng(seed))  # the first that is drawn
    points = frame.cloud.points
    compared = 0
    for camera in range(len(CAMERAS)):
        old, depth = projected(before, camera, points)
        new, same_depth = projected(after, camera, view.points(points).astype(np.float64))
        np.testing.assert_allclose(same_depth, depth, atol=1e-4)
        seen = depth > 1
        for pixels in (old, new):
            seen &= ((pixels > 2) & (pixels < (85, 29))).all(axis=1)
        colours = [at(batch.images[camera].numpy(), pixels[seen]) for batch, pixels in ((before, old), (after, new))]
        whole = (colours[0][:, 2] > 2.6) & (colours[1][:, 2] > 2.6)  # beside the image it is black
        np.testing.assert_allclose(colours[0][whole, :2], colours[1][whole, :2], atol=0.2)  # of 4.4: 4 %, 2 px
        compared += whole.sum()
    assert compared > 20


def at(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Colours (M, 3) of an image (3, H, W) at the nearest pixels."""
    u, v = np.rint(pixels).astype(int).T
    return image[:, v, u].T


def test_without_augmentation_an_example_is_what_inference_prepares():
    frame, config = scene(), tiny_config().model_copy(update={"training": STILL})
    example, batch = ExampleMaker(config)(frame, np.random.default_rng(0)), prepare([frame], config)
    np.testing.assert_array_equal(example.batch.images, batch.images)
    np.testing.assert_array_equal(example.batch.clouds[0], batch.clouds[0])
    for name in POSES:
        np.testing.assert_allclose(getattr(example.batch, name), getattr(batch, name))


def test_images_are_mirrored_with_their_scene_if_that_is_asked_for():
    settings = STILL_IMAGE.model_copy(update={"flip": "with_scene"})
    for seed in range(8):
        rng = np.random.default_rng(seed)
        plain, mirrored = (ImageView.draw((225, 400), IMAGES, settings, rng, mirror) for mirror in (False, True))
        assert np.linalg.det(plain.window_from_resized) == pytest.approx(1)
        assert np.linalg.det(mirrored.window_from_resized) == pytest.approx(-1)
    twice = SceneAugmentation(rotation_deg=0, scale=(1, 1), translation_m=0)
    views = [SceneView.draw(twice, np.random.default_rng(seed)) for seed in range(20)]
    signs = [tuple(np.sign(np.diag(view.lidar_augmented_from_lidar)[:2])) for view in views]
    assert set(signs) == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert all(view.mirrored == (a * b < 0) for view, (a, b) in zip(views, signs, strict=True))
