"""From sensor data to tensors: what the network sees lies where the transforms say."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.config import GridSettings, ImageSettings
from perception.prepare import input_from_image, network_image, points_in_range, prepare, rectified, resized_window
from perception.types import CameraImage, PointCloud
from tests.tiny import CAMERAS, tiny_config, tiny_frame

PUBLISHED = ImageSettings(cameras=CAMERAS, resized_width=768, size=(704, 256))
SIZES = [(1600, 900), (800, 450), (1920, 1080), (640, 480), (1600, 400), (401, 301)]
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
DISTORTED = Intrinsics(320, 180, 260.0, 262.0, 161.0, 88.0, "plumb_bob", (-0.31, 0.12, 0.001, -0.0007, -0.02))


def picture_of_spot(size: tuple[int, int], pixel: np.ndarray, radius: float = 3.0) -> np.ndarray:
    """A soft white spot on black, centred between pixels where need be."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    spot = np.exp(-((u - pixel[0]) ** 2 + (v - pixel[1]) ** 2) / (2 * radius**2))
    return np.repeat((255 * spot).astype(np.uint8)[:, :, None], 3, axis=2)


def spot_in(picture: np.ndarray) -> np.ndarray:
    """Centre of gravity (u, v) of what isn't black."""
    weight = picture[..., 0].astype(float)
    v, u = np.indices(weight.shape)
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def camera_image(image: np.ndarray, intrinsics: Intrinsics) -> CameraImage:
    return CameraImage(image, 0, intrinsics, Transform.identity())


# Images


def test_a_nuscenes_image_is_scaled_and_cut_as_published():
    image = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    scaled = np.asarray(Image.fromarray(image).resize((768, 432), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resized_window(image, PUBLISHED), scaled[176:432, 32:736])
    np.testing.assert_allclose(input_from_image(image, PUBLISHED), [[0.48, 0, -32], [0, 0.48, -176], [0, 0, 1]])


@sizes
@pytest.mark.parametrize("place", [(0.5, 0.75), (0.3, 0.9), (0.75, 0.6)], ids=str)
def test_what_is_seen_moves_as_the_pixel_transform_says(size, place):
    pixel = np.array(size) * place
    window = resized_window(picture_of_spot(size, pixel, radius=size[0] / 160), PUBLISHED)
    assert window.shape == (256, 704, 3)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    expected = (input_from_image(image, PUBLISHED) @ (*pixel, 1))[:2]
    # Exact resampling moves pixel centres by (scale - 1) / 2 more, which the published transform leaves out, and the
    # scaled height is cut to whole pixels.
    half_pixel, cut = (768 / size[0] - 1) / 2, (size[1] * 768 / size[0]) % 1
    np.testing.assert_allclose(spot_in(window), expected + half_pixel, atol=0.1 + cut)


@sizes
def test_the_window_is_centred_at_the_bottom(size):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    scale, left, top = 768 / size[0], 32, int(size[1] * 768 / size[0]) - 256
    np.testing.assert_allclose(input_from_image(image, PUBLISHED), [[scale, 0, -left], [0, scale, -top], [0, 0, 1]])


def test_what_an_image_does_not_cover_is_black():
    window = resized_window(np.full((400, 1600, 3), 200, np.uint8), PUBLISHED)  # 192 rows after scaling, 256 wanted
    assert not window[:64].any()
    assert (window[64:] == 200).all()
    narrow = ImageSettings(cameras=CAMERAS, resized_width=600, size=(704, 256))
    window = resized_window(np.full((450, 800, 3), 200, np.uint8), narrow)
    assert (window[:, :600] == 200).all()
    assert not window[:, 600:].any()


def test_values_are_normalised_colour_by_colour():
    image = np.zeros((90, 160, 3), np.uint8)
    image[:] = (10, 20, 30)
    settings = ImageSettings(cameras=CAMERAS, resized_width=80, size=(64, 32), mean=(10, 10, 10), std=(1, 2, 4))
    normalised = network_image(image, settings)
    assert normalised.dtype == np.float32
    assert normalised.flags.c_contiguous
    np.testing.assert_array_equal(normalised, np.broadcast_to(np.float32([0, 5, 5])[:, None, None], (3, 32, 64)))


# Lenses


def test_a_pinhole_image_stays_as_it_is():
    camera = camera_image(np.zeros((90, 160, 3), np.uint8), Intrinsics(160, 90, 100, 100, 80, 45))
    assert rectified(camera) is camera


@pytest.mark.parametrize("point", [(0.0, 0.0, 8.0), (3.0, 1.2, 8.0), (-3.5, -1.5, 8.0), (-3.0, 1.5, 8.0)], ids=str)
def test_a_distorted_camera_sees_as_a_pinhole_camera_in_its_place(point):
    seen = picture_of_spot((320, 180), DISTORTED.project(point))
    camera = rectified(camera_image(seen, DISTORTED))
    assert camera.intrinsics == Intrinsics(320, 180, 260.0, 262.0, 161.0, 88.0)
    np.testing.assert_allclose(spot_in(camera.image), camera.intrinsics.project(point), atol=0.3)


def test_the_network_gets_the_rectified_image_and_its_matrix():
    config = tiny_config()
    image = np.random.default_rng(0).integers(0, 256, (180, 320, 3), np.uint8)
    bent, straight = camera_image(image, DISTORTED), rectified(camera_image(image, DISTORTED))
    batches = []
    for camera in (bent, straight):
        frame = dataclasses.replace(tiny_frame(), cameras={"CAM_FRONT": camera})
        batches.append(prepare([frame], config))
    assert torch.equal(batches[0].images, batches[1].images)
    np.testing.assert_array_equal(batches[0].image_from_camera[0], straight.intrinsics.matrix)
    assert np.abs(straight.image.astype(int) - image).max() > 50


# Points


GRID = GridSettings(lower=(-54.0, -54.0, -5.0), upper=(54.0, 54.0, 3.0), voxel=(0.075, 0.075, 0.2))


def test_only_points_strictly_inside_the_range_count():
    inside = [(0, 0, 0), (53.99, -53.99, 2.99), (-53.99, 53.99, -4.99)]
    outside = [(54, 0, 0), (-54, 0, 0), (0, 54, 0), (0, -54, 0), (0, 0, 3), (0, 0, -5), (99, 0, 0), (0, 0, -99)]
    not_numbers = [(np.nan, 0, 0), (0, np.inf, 0), (0, 0, -np.inf)]
    points = np.array([(*xyz, i, 0.1) for i, xyz in enumerate(outside + inside + not_numbers)], np.float32)
    kept = points_in_range(PointCloud(points), GRID)
    np.testing.assert_array_equal(kept, points[len(outside) : len(outside) + len(inside)])


def test_no_cloud_has_no_points():
    assert points_in_range(None, GRID).shape == (0, 5)
    assert points_in_range(PointCloud(np.zeros((0, 5), np.float32)), GRID).shape == (0, 5)
    assert points_in_range(None, GRID).dtype == np.float32


# Batches


def test_a_batch_holds_the_sensors_there_are_in_the_configurations_order():
    config = tiny_config()
    frames = [
        tiny_frame(0, cameras=("CAM_BACK", "CAM_FRONT")),
        tiny_frame(1, cameras=(), points=None),
        tiny_frame(2, cameras=("CAM_FRONT_LEFT",), points=7),
    ]
    batch = prepare(frames, config)
    cameras = [frames[0].cameras["CAM_FRONT"], frames[0].cameras["CAM_BACK"], frames[2].cameras["CAM_FRONT_LEFT"]]
    assert batch.size == 3
    assert batch.image_frame.tolist() == [0, 0, 2]
    for row, camera in enumerate(cameras):
        np.testing.assert_array_equal(batch.images[row], network_image(camera.image, config.images))
        np.testing.assert_array_equal(batch.camera_from_lidar[row], camera.camera_from_lidar.matrix)
        np.testing.assert_array_equal(batch.image_from_camera[row], camera.intrinsics.matrix)
        np.testing.assert_array_equal(batch.input_from_image[row], input_from_image(camera.image, config.images))
    for cloud, frame in zip(batch.clouds, frames, strict=True):
        np.testing.assert_array_equal(cloud, points_in_range(frame.cloud, config.grid))
    transforms = (batch.camera_from_lidar, batch.image_from_camera, batch.input_from_image)
    assert {matrices.dtype for matrices in transforms} == {torch.float64}


@pytest.mark.parametrize(("cameras", "lidar"), [(True, True), (True, False), (False, True)])
def test_without_any_sensor_shapes_stay(cameras, lidar):
    config = tiny_config(cameras, lidar)
    batch = prepare([tiny_frame(0, cameras=(), points=None)] * 2, config)
    width, height = config.images.size if cameras else (0, 0)
    assert batch.images.shape == (0, 3, height, width)
    assert [tuple(cloud.shape) for cloud in batch.clouds] == [(0, 5), (0, 5)]
    shapes = {tuple(matrices.shape) for matrices in (batch.camera_from_lidar, batch.image_from_camera)}
    assert shapes == {(0, 4, 4), (0, 3, 3)}
    assert batch.image_frame.dtype == torch.int64


def test_cameras_that_the_configuration_does_not_use_are_left_out():
    frame = tiny_frame()
    extra = dataclasses.replace(frame, cameras={"CAM_ROOF": frame.cameras["CAM_FRONT"], **frame.cameras})
    assert torch.equal(prepare([extra], tiny_config()).images, prepare([frame], tiny_config()).images)
    assert len(prepare([frame], tiny_config(cameras=False)).images) == 0


def test_cameras_of_different_sizes_share_a_batch():
    small, large = tiny_frame(0, size=(160, 90)), tiny_frame(1, size=(400, 300))
    batch = prepare([small, large], tiny_config())
    assert batch.images.shape == (12, 3, 32, 88)
    assert batch.input_from_image[0, 0, 0] == pytest.approx(96 / 160)
    assert batch.input_from_image[6, 0, 0] == pytest.approx(96 / 400)


def test_a_batch_shares_no_memory_that_could_change_the_frame():
    frame = tiny_frame(0, cameras=("CAM_FRONT",))
    before = frame.cloud.points.copy(), frame.cameras["CAM_FRONT"].image.copy()
    batch = prepare([frame], tiny_config())
    batch.clouds[0].zero_()
    batch.images.zero_()
    np.testing.assert_array_equal(frame.cloud.points, before[0])
    np.testing.assert_array_equal(frame.cameras["CAM_FRONT"].image, before[1])
