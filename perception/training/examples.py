"""Frames to examples: the network's input tensors, augmented, and the truth that fits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from perception.config import DetectorConfig, GridSettings
from perception.model.batch import Batch
from perception.prepare import normalised, points_in_range, rectified
from perception.training.augment import ImageView, SceneView
from perception.training.depth import depth_target
from perception.training.paste import PasteDatabase
from perception.types import Boxes3D, CameraImage, Frame, PointCloud


@dataclass(frozen=True)
class Example:
    """One or more frames to learn from."""

    batch: Batch
    boxes: tuple[Boxes3D, ...]  # one a frame: what can be seen of the truth, in the (augmented) lidar frame
    tokens: tuple[str, ...]
    depth: Tensor | None  # (N, h, w), see depth_target; None without depth supervision

    def to(self, device: torch.device | str) -> Example:
        """The same with its tensors on another device; truth stays where it is."""
        depth = None if self.depth is None else self.depth.to(device, non_blocking=True)
        return replace(self, batch=self.batch.to(device), depth=depth)

    def pin_memory(self) -> Example:
        """The same with its tensors in memory that a GPU reads by itself; a DataLoader calls this."""
        depth = None if self.depth is None else self.depth.pin_memory()
        return replace(self, batch=self.batch.pin_memory(), depth=depth)


@dataclass(frozen=True)
class ExampleMaker:
    """What is done to every frame; the same generator state makes the same example of it."""

    config: DetectorConfig  # with its training section
    depth_stride: int | None = None  # of the image features whose depths are supervised
    database: PasteDatabase | None = None

    def __call__(
        self,
        frame: Frame,
        rng: np.random.Generator,
        paste: bool = True,
        earlier: Callable[[str], CameraImage | None] | None = None,
    ) -> Example:
        """One frame's example; with `paste` objects of the database are added.

        `earlier` knows what a camera of this name showed at the keyframe before; without it no camera is stale.
        """
        settings, view = self.config.training, SceneView.draw(self.config.training.scene, rng)
        points = np.zeros((0, 5), np.float32) if frame.cloud is None else frame.cloud.points
        boxes = visible_boxes(frame, settings.min_box_points)
        if paste and self.database is not None:
            points, boxes = self.database.paste(points, boxes, settings.paste, rng)
        points = self._capped(points_in_range(PointCloud(view.points(points)), self.config.grid), rng)
        kept_points, cameras = self._dropped_out(frame, points, rng, earlier)
        whole = self._batch(cameras, view, points, rng)
        depth = None
        if self.depth_stride is not None:
            depth = depth_target(whole, self.config.images.size, self.depth_stride)
        batch = replace(whole, clouds=(torch.from_numpy(kept_points),))
        return Example(batch, (inside_grid(view.boxes(boxes), self.config.grid),), (frame.token,), depth)

    def _capped(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        most = self.config.training.max_points
        if most is None or len(points) <= most:
            return points
        return np.delete(points, rng.choice(len(points), len(points) - most, replace=False), axis=0)

    def _dropped_out(
        self,
        frame: Frame,
        points: np.ndarray,
        rng: np.random.Generator,
        earlier: Callable[[str], CameraImage | None] | None,
    ) -> tuple[np.ndarray, list[CameraImage]]:
        """The points that stay, and the cameras that do, in the network's order."""
        dropout = self.config.training.dropout
        keep_cloud, keep_cameras = rng.random() >= dropout.cloud, rng.random() >= dropout.cameras
        names = self.config.images.cameras if self.config.images else ()
        keep = (rng.random(len(names)) >= dropout.camera) & keep_cameras
        kept = [name for name, stays in zip(names, keep, strict=True) if stays and name in frame.cameras]
        images = {name: frame.cameras[name] for name in kept}
        if earlier is not None and dropout.stale_camera:
            stale = [name for name in kept if rng.random() < dropout.stale_camera]
            images |= {name: image for name in stale if (image := earlier(name)) is not None}
        if dropout.stale_cloud and rng.random() < dropout.stale_cloud:
            points = points[points[:, 4] >= rng.uniform(0, dropout.stale_cloud_s)]
        return points if keep_cloud else points[:0], list(images.values())

    def _batch(
        self, cameras: Sequence[CameraImage], scene: SceneView, points: np.ndarray, rng: np.random.Generator
    ) -> Batch:
        images, settings = self.config.images, self.config.training.image
        width, height = images.size if images else (0, 0)
        count, cameras = len(cameras), [rectified(camera) for camera in cameras]
        views = [ImageView.draw(camera.image.shape, images, settings, rng, scene.mirrored) for camera in cameras]
        seen = [normalised(view.apply(c.image), images) for view, c in zip(views, cameras, strict=True)]
        poses = [scene.camera_from_lidar_augmented(camera.camera_from_lidar.matrix) for camera in cameras]
        return Batch(
            size=1,
            clouds=(torch.from_numpy(points),),
            images=torch.from_numpy(np.array(seen, np.float32).reshape(count, 3, height, width)),
            image_frame=torch.zeros(count, dtype=torch.int64),
            camera_from_lidar=torch.from_numpy(np.array(poses).reshape(count, 4, 4)),
            image_from_camera=torch.from_numpy(np.array([c.intrinsics.matrix for c in cameras]).reshape(count, 3, 3)),
            input_from_image=torch.from_numpy(np.array([v.input_from_image for v in views]).reshape(count, 3, 3)),
        )


def visible_boxes(frame: Frame, min_points: int) -> Boxes3D:
    """The frame's truth, less what fewer than `min_points` LiDAR and radar points were seen of."""
    truth = frame.truth
    return truth.boxes.select(truth.lidar_points + truth.radar_points >= min_points)


def inside_grid(boxes: Boxes3D, grid: GridSettings) -> Boxes3D:
    """The boxes whose centres lie on the map, seen from above."""
    lower, upper = np.array(grid.lower[:2]), np.array(grid.upper[:2])
    return boxes.select(((boxes.centers[:, :2] >= lower) & (boxes.centers[:, :2] < upper)).all(axis=1))


def merged(examples: Sequence[Example]) -> Example:
    """Several examples as one, frames in their order."""
    batches = [example.batch for example in examples]
    starts = np.cumsum([0, *(batch.size for batch in batches)])
    image_frames = [batch.image_frame + int(start) for batch, start in zip(batches, starts[:-1], strict=True)]
    tensors = ("images", "camera_from_lidar", "image_from_camera", "input_from_image")
    return Example(
        Batch(
            size=int(starts[-1]),
            clouds=tuple(cloud for batch in batches for cloud in batch.clouds),
            image_frame=torch.cat(image_frames),
            **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in tensors},
        ),
        tuple(boxes for example in examples for boxes in example.boxes),
        tuple(token for example in examples for token in example.tokens),
        None if examples[0].depth is None else torch.cat([example.depth for example in examples]),
    )
