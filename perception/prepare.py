"""Frames to a Batch: everything between decoded sensor data and the network's input tensors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image

from perception.config import DetectorConfig, GridSettings, ImageSettings
from perception.model.batch import Batch
from perception.ops.voxelize import points_inside
from perception.types import POINT_COLUMNS, CameraImage, Frame, PointCloud


def prepare(frames: Sequence[Frame], config: DetectorConfig) -> Batch:
    """The tensors of these frames, on the CPU; sensors a frame lacks or the configuration doesn't use are left out.

    Images that only stand in for points are left out where every frame has points.
    """
    clouds = tuple(torch.from_numpy(points_in_range(frame.cloud, config.grid)) for frame in frames)
    names = config.images.cameras if config.images else ()
    if config.cameras_stand_in and all(len(cloud) for cloud in clouds):
        names = ()
    taken = [
        (index, frame.cameras[name]) for index, frame in enumerate(frames) for name in names if name in frame.cameras
    ]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # Pillow and OpenCV let others run meanwhile
        rows = list(threads.map(partial(_prepared, settings=config.images), taken))
    width, height = config.images.size if config.images else (0, 0)
    stacked = np.stack([image for *_, image in rows]) if rows else np.zeros((0, 3, height, width), np.float32)
    return Batch(
        size=len(frames),
        clouds=clouds,
        images=torch.from_numpy(stacked),
        image_frame=torch.tensor([index for index, *_ in rows], dtype=torch.int64),
        camera_from_lidar=_stack([camera.camera_from_lidar.matrix for _, camera, *_ in rows], 4),
        image_from_camera=_stack([camera.intrinsics.matrix for _, camera, *_ in rows], 3),
        input_from_image=_stack([matrix for _, _, matrix, _ in rows], 3),
    )


def _prepared(
    taken: tuple[int, CameraImage], settings: ImageSettings
) -> tuple[int, CameraImage, np.ndarray, np.ndarray]:
    """The frame's index, the camera as a pinhole one, its pixel transform and what the network sees."""
    index, camera = taken[0], rectified(taken[1])
    return index, camera, input_from_image(camera.image, settings), network_image(camera.image, settings)


def points_in_range(cloud: PointCloud | None, grid: GridSettings) -> np.ndarray:
    """The points (N, 5) strictly inside the detection range; none where there is no cloud."""
    if cloud is None:
        return np.zeros((0, len(POINT_COLUMNS)), np.float32)
    return points_inside(torch.from_numpy(cloud.points), grid.lower, grid.upper).numpy()


def rectified(camera: CameraImage) -> CameraImage:
    """The image as a pinhole camera in the same place would have taken it: the network knows no lens distortion."""
    if camera.intrinsics.model == "pinhole":
        return camera
    image, intrinsics = camera.intrinsics.undistort(camera.image)
    return CameraImage(image, camera.stamp_ns, intrinsics, camera.camera_from_lidar)


def network_image(image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Image (H, W, 3) uint8 -> (3, height, width) float32: scaled, cut, normalised; what is outside is black."""
    return normalised(resized_window(image, settings), settings)


def normalised(window: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Window (height, width, 3) uint8 -> (3, height, width) float32."""
    values = np.arange(256, dtype=np.float32)[:, None]
    tables = ((values - np.float32(settings.mean)) / np.float32(settings.std)).T  # (3, 256): looked up, not computed
    return np.stack([table[channel] for table, channel in zip(tables, window.transpose(2, 0, 1), strict=True)])


def resized_window(image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Image (H, W, 3) uint8 -> (height, width, 3) uint8: scaled with Pillow's bicubic filter, then cut."""
    size, left, top = _window(image, settings)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + settings.size[0], top + settings.size[1])))


def input_from_image(image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """The pixel transform (3, 3) that resized_window applies.

    It scales pixel centres about the corner pixel, without the half-pixel shift of exact resampling: so the public
    checkpoints were trained.
    """
    _, left, top = _window(image, settings)
    scale = settings.resized_width / image.shape[1]
    return np.array([[scale, 0, -left], [0, scale, -top], [0, 0, 1.0]])


def _window(image: np.ndarray, settings: ImageSettings) -> tuple[tuple[int, int], int, int]:
    """Scaled size, and the left top corner of the window in it: centred from left to right, at the bottom."""
    height, width = image.shape[:2]
    size = (settings.resized_width, int(height * settings.resized_width / width))
    return size, max(0, size[0] - settings.size[0]) // 2, size[1] - settings.size[1]


def _stack(matrices: list[np.ndarray], side: int) -> torch.Tensor:
    return torch.from_numpy(np.stack(matrices) if matrices else np.zeros((0, side, side)))
