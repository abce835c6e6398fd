"""Lift-splat puts what a pixel sees at a depth into the BEV cell where geometry says it is."""

import numpy as np
import pytest
import torch

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import Transform
from perception.model.batch import Batch
from perception.model.lift_splat import LiftSplat, LiftSplatSettings
from perception.model.view_transforms.depth_lss import depth_images
from tests.tiny import CAMERAS, camera_from_lidar

IMAGE_SIZE, STRIDE = (88, 32), 8  # px, width and height of the network's input
INTRINSICS = Intrinsics(160, 90, 96.0, 92.0, 81.0, 44.0)
INPUT_FROM_IMAGE = np.array([[0.6, 0, -4.0], [0, 0.6, -22.0], [0, 0, 1]])
SETTINGS = LiftSplatSettings(
    out_channels=2, depth=(1.0, 41.0, 2.0), lower=(-40.0, -30.0, -10.0), upper=(40.0, 30.0, 10.0), cell=2.0
)


def batch_of(
    frames: list[int],  # of each image
    transforms: list[np.ndarray],  # camera_from_lidar (4, 4) of each image
    clouds: list[np.ndarray] | None = None,  # (M, >= 3) of each frame
    size: int | None = None,
) -> Batch:
    count, size = len(frames), size or max(frames) + 1
    clouds = clouds or [np.zeros((0, 5))] * size
    return Batch(
        size=size,
        clouds=tuple(torch.from_numpy(cloud).float() for cloud in clouds),
        images=torch.zeros(count, 3, IMAGE_SIZE[1], IMAGE_SIZE[0]),
        image_frame=torch.tensor(frames, dtype=torch.int64),
        camera_from_lidar=torch.from_numpy(np.array(transforms, np.float64).reshape(-1, 4, 4)),
        image_from_camera=torch.from_numpy(np.array([INTRINSICS.matrix] * count).reshape(-1, 3, 3)),
        input_from_image=torch.from_numpy(np.array([INPUT_FROM_IMAGE] * count).reshape(-1, 3, 3)),
    )


def tilted_camera(rng: np.random.Generator) -> Transform:
    """Anywhere near the LiDAR, looking anywhere near the horizon."""
    turn = Transform.from_quaternion((1, *rng.normal(0, 0.05, 3)), rng.normal(0, 1, 3))
    return turn @ camera_from_lidar(CAMERAS[rng.integers(len(CAMERAS))])


def splat_one(transform: LiftSplat, batch: Batch, image: int, pixel: tuple[int, int], depth_bin: int) -> torch.Tensor:
    """The map of one feature vector (1, 2) at one pixel (row, column) and depth."""
    depth = torch.zeros(len(batch.images), len(transform.depths), IMAGE_SIZE[1] // STRIDE, IMAGE_SIZE[0] // STRIDE)
    features = torch.zeros(len(batch.images), 2, *depth.shape[2:])
    row, column = pixel
    depth[image, depth_bin, row, column] = 1
    features[image, :, row, column] = torch.tensor([1.0, 2.0])
    return transform.splat(depth, features, batch)


def point_of(pixel: tuple[int, int], depth: float) -> np.ndarray:
    """Where in the camera frame a feature (row, column) lies at a depth, in double precision."""
    width, height = IMAGE_SIZE
    u = pixel[1] * (width - 1) / (width // STRIDE - 1)
    v = pixel[0] * (height - 1) / (height // STRIDE - 1)
    in_image = np.linalg.solve(INPUT_FROM_IMAGE, (u, v, 1))[:2]
    ray = INTRINSICS.unproject(in_image)
    return ray / ray[2] * depth


def place_of(point_lidar: np.ndarray) -> np.ndarray:
    """In cells along x and y, and in the one bin of the height."""
    return (point_lidar - SETTINGS.lower) / (SETTINGS.cell, SETTINGS.cell, 20)


@pytest.mark.parametrize("seed", range(30))
def test_one_pixel_at_one_depth_lands_in_the_cell_that_geometry_predicts(seed):
    rng = np.random.default_rng(seed)
    cameras = [tilted_camera(rng) for _ in range(3)]
    batch = batch_of([0, 0, 1], [camera.matrix for camera in cameras])
    transform = LiftSplat(SETTINGS.model_copy(update={"downsample": False}), STRIDE, IMAGE_SIZE)
    image, pixel, depth_bin = rng.integers(3), (int(rng.integers(4)), int(rng.integers(11))), int(rng.integers(20))
    place = place_of(cameras[image].inverse().apply(point_of(pixel, 1 + 2 * depth_bin)))
    assert np.abs(place - np.round(place)).min() > 1e-4  # no case is decided by rounding
    expected = torch.zeros(2, 2, 40, 30)
    if (place > -1).all() and (place < (40, 30, 1)).all():  # see below for -1 to 0
        x, y, _ = place.astype(int)
        expected[batch.image_frame[image], :, x, y] = torch.tensor([1.0, 2.0])
    assert torch.equal(splat_one(transform, batch, image, pixel, depth_bin), expected)


def test_augmentation_of_the_points_is_part_of_the_transform():
    """Mirrored, scaled and turned: the map is that of the augmented LiDAR frame."""
    rng = np.random.default_rng(0)
    camera = tilted_camera(rng)
    augmented_from_lidar = np.diag([-1.1, 1.1, 1.1, 1]) @ Transform.from_quaternion((0.9, 0, 0, 0.3)).matrix
    batch = batch_of([0], [camera.matrix @ np.linalg.inv(augmented_from_lidar)])
    transform = LiftSplat(SETTINGS.model_copy(update={"downsample": False}), STRIDE, IMAGE_SIZE)
    pixel, depth_bin = (1, 8), 5
    point_lidar = camera.inverse().apply(point_of(pixel, 1 + 2 * depth_bin))
    x, y, _ = place_of((augmented_from_lidar @ (*point_lidar, 1))[:3]).astype(int)
    assert torch.nonzero(splat_one(transform, batch, 0, pixel, depth_bin)[0, 0]).tolist() == [[x, y]]


@pytest.mark.parametrize(("shift", "cell"), [(-0.5, 0), (0.5, 0), (-1.5, None), (39.5, 39), (40.5, None)])
def test_one_cell_below_the_lower_edge_counts_too_as_the_public_weights_saw_it(shift, cell):
    lidar_from_camera = np.eye(4)
    lidar_from_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along x
    middle = point_of((2, 5), 1.0)
    lidar_from_camera[0, 3] = SETTINGS.lower[0] + shift * SETTINGS.cell - 1.0
    lidar_from_camera[1:3, 3] = middle[:2] + 0.1  # y and z near 0
    transform = LiftSplat(SETTINGS.model_copy(update={"downsample": False}), STRIDE, IMAGE_SIZE)
    bev = splat_one(transform, batch_of([0], [np.linalg.inv(lidar_from_camera)]), 0, (2, 5), 0)
    rows = torch.nonzero(bev[0, 0])[:, 0].tolist()
    assert rows == ([] if cell is None else [cell])


def test_downsampling_halves_the_map_and_keeps_the_area():
    fine, coarse = (
        LiftSplat(SETTINGS.model_copy(update={"downsample": value}), STRIDE, IMAGE_SIZE).grid for value in (False, True)
    )
    assert (fine.size_x, fine.size_y, fine.cell) == (40, 30, 2.0)
    assert (coarse.size_x, coarse.size_y, coarse.cell) == (20, 15, 4.0)
    assert (coarse.lower_x, coarse.lower_y) == (fine.lower_x, fine.lower_y) == (-40.0, -30.0)


def test_an_image_size_that_features_can_not_have_is_refused():
    with pytest.raises(InputError, match=r"images\.size: expected multiples of 8, .* got 88x30"):
        LiftSplat(SETTINGS, STRIDE, (88, 30))


# Depth images: the LiDAR's points as a camera would see them.


def points_seen(rng: np.random.Generator, camera: Transform, count: int) -> np.ndarray:
    """Points (count, 5) all around the camera, behind it too."""
    points_camera = rng.normal(0, 20, (count, 3))
    return np.c_[camera.inverse().apply(points_camera), rng.uniform(0, 255, count), np.zeros(count)]


@pytest.mark.parametrize("seed", range(5))
def test_a_depth_image_holds_each_pixels_last_point(seed):
    rng = np.random.default_rng(seed)
    cameras = [tilted_camera(rng) for _ in range(3)]
    clouds = [points_seen(rng, cameras[0], 9000), points_seen(rng, cameras[2], 6000)]
    frames = [0, 0, 1]
    found = depth_images(batch_of(frames, [camera.matrix for camera in cameras], clouds), IMAGE_SIZE)
    assert found.shape == (3, 1, IMAGE_SIZE[1], IMAGE_SIZE[0])
    for image, camera, frame in zip(found[:, 0], cameras, frames, strict=True):
        expected, near_an_edge = depth_image_plainly(clouds[frame], camera)
        agree = np.isclose(image.numpy(), expected, rtol=1e-4, atol=1e-4)
        assert (agree | near_an_edge).all()
        assert (expected > 0).sum() > 100
        assert near_an_edge.mean() < 0.02


def depth_image_plainly(points: np.ndarray, camera: Transform) -> tuple[np.ndarray, np.ndarray]:
    """The definition in double precision, and the pixels beside which a point lies that rounding may move."""
    width, height = IMAGE_SIZE
    image, near_an_edge = np.zeros((height, width)), np.zeros((height, width), bool)
    points_camera = camera.apply(points[:, :3])
    with np.errstate(invalid="ignore"):
        pixels = INTRINSICS.project(points_camera) @ INPUT_FROM_IMAGE[:2, :2].T + INPUT_FROM_IMAGE[:2, 2]
    for (u, v), depth in zip(pixels, points_camera[:, 2], strict=True):
        if depth > 0 and 0 <= u < width and 0 <= v < height:
            image[int(v), int(u)] = depth
        if (
            depth > 0
            and -1 < u < width + 1
            and -1 < v < height + 1
            and min(abs(u - round(u)), abs(v - round(v))) < 2e-4
        ):
            around = slice(max(0, round(v) - 1), round(v) + 2), slice(max(0, round(u) - 1), round(u) + 2)
            near_an_edge[around] = True
    return image, near_an_edge


def test_the_last_of_many_points_on_a_pixel_stays():
    camera = camera_from_lidar("CAM_FRONT")
    depths = np.random.default_rng(0).permutation(np.arange(5.0, 40.0))
    on_one_ray = camera.inverse().apply(point_of((1, 3), 1.0) * depths[:, None])
    image = depth_images(batch_of([0], [camera.matrix], [np.c_[on_one_ray, np.zeros((35, 2))]]), IMAGE_SIZE)
    assert image[image > 0].tolist() == pytest.approx([depths[-1]], rel=1e-5)


def test_points_behind_the_camera_are_not_seen():
    camera = camera_from_lidar("CAM_FRONT")
    ahead = point_of((1, 3), 10.0)
    behind, plane = camera.inverse().apply(-ahead), camera.inverse().apply(ahead * (1, 1, 0))
    cloud = np.c_[np.stack([behind, plane]), np.zeros((2, 2))]
    assert not depth_images(batch_of([0], [camera.matrix], [cloud]), IMAGE_SIZE).any()


def test_without_points_or_without_images_depth_images_are_empty():
    assert not depth_images(batch_of([0], [camera_from_lidar("CAM_BACK").matrix]), IMAGE_SIZE).any()
    assert depth_images(batch_of([], [], size=2), IMAGE_SIZE).shape == (0, 1, IMAGE_SIZE[1], IMAGE_SIZE[0])
