"""Augmentation as transforms: what is done to a scene and to an image is drawn once, applied, and carried along."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from perception.config import ImageSettings
from perception.training.settings import ImageAugmentation, SceneAugmentation
from perception.types import Boxes3D


@dataclass(frozen=True)
class SceneView:
    """A scene turned about z, scaled, moved and perhaps mirrored."""

    lidar_augmented_from_lidar: np.ndarray  # (4, 4) float64

    @staticmethod
    def draw(settings: SceneAugmentation, rng: np.random.Generator) -> SceneView:
        """At random; each call takes equally many numbers from `rng`, whatever the settings."""
        angle = np.radians(settings.rotation_deg) * rng.uniform(-1, 1)
        scale = rng.uniform(*settings.scale)
        shift = settings.translation_m * rng.standard_normal(3)
        mirror_x, mirror_y = rng.random(2) < 0.5
        signs = np.array([-1 if mirror_x and settings.flip_x else 1, -1 if mirror_y and settings.flip_y else 1, 1])
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = signs[:, None] * scale * turn, shift
        return SceneView(matrix)

    @property
    def scale(self) -> float:
        return float(np.cbrt(abs(np.linalg.det(self.lidar_augmented_from_lidar[:3, :3]))))

    @property
    def mirrored(self) -> bool:
        """Whether left is right; two mirrors are a half turn."""
        return bool(np.linalg.det(self.lidar_augmented_from_lidar[:3, :3]) < 0)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 5) float32, as of a PointCloud, moved; intensity and age stay."""
        linear, shift = self.lidar_augmented_from_lidar[:3, :3], self.lidar_augmented_from_lidar[:3, 3]
        moved = points.copy()
        moved[:, :3] = points[:, :3] @ linear.T + shift
        return moved

    def boxes(self, boxes: Boxes3D) -> Boxes3D:
        """The boxes, moved with the points in them; sizes and velocities scale."""
        linear, shift = self.lidar_augmented_from_lidar[:3, :3], self.lidar_augmented_from_lidar[:3, 3]
        headings = np.column_stack([np.cos(boxes.yaws), np.sin(boxes.yaws)]) @ linear[:2, :2].T
        return replace(
            boxes,
            centers=boxes.centers @ linear.T + shift,
            sizes=boxes.sizes * self.scale,
            yaws=np.arctan2(headings[:, 1], headings[:, 0]),
            velocities=boxes.velocities @ linear[:2, :2].T,
        )

    def camera_from_lidar_augmented(self, camera_from_lidar: np.ndarray) -> np.ndarray:
        """(4, 4): by it augmented points fall on the image where they fell before."""
        return camera_from_lidar @ np.linalg.inv(self.lidar_augmented_from_lidar)


@dataclass(frozen=True)
class ImageView:
    """An image scaled, then a window of it, perhaps mirrored and turned about its centre."""

    resized: tuple[int, int]  # px, width and height of the scaled image
    scale: float  # of pixel coordinates, as perception.prepare.input_from_image scales them
    window_from_resized: np.ndarray  # (3, 3)
    window: tuple[int, int]  # px, width and height

    @staticmethod
    def draw(
        shape: tuple[int, ...],  # of the image: height, width
        images: ImageSettings,
        settings: ImageAugmentation,
        rng: np.random.Generator,
        scene_mirrored: bool = False,
    ) -> ImageView:
        """At random; each call takes equally many numbers from `rng`, whatever the settings."""
        factor, place, angle, mirror = rng.uniform(*settings.scale), rng.random(), rng.uniform(-1, 1), rng.random()
        width = round(images.resized_width * factor)
        scale = width / shape[1]
        height = int(shape[0] * scale)
        spare = width - images.size[0]  # negative: the window has black beside the image
        left = int(np.floor(place * spare)) if settings.shift else max(0, spare) // 2
        cut = np.array([[1, 0, -left], [0, 1, -(height - images.size[1])], [0, 0, 1.0]])
        centre = (np.array(images.size) - 1) / 2
        turned = _turn_about(centre, np.radians(settings.rotation_deg) * angle) @ cut
        flips = {"never": False, "random": mirror < 0.5, "with_scene": scene_mirrored}[settings.flip]
        mirrored = np.array([[-1, 0, images.size[0] - 1], [0, 1, 0], [0, 0, 1.0]]) if flips else np.eye(3)
        return ImageView((width, height), scale, mirrored @ turned, images.size)

    @property
    def input_from_image(self) -> np.ndarray:
        """(3, 3): the pixel transform that `apply` applies."""
        return self.window_from_resized @ np.diag([self.scale, self.scale, 1])

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Image (H, W, 3) uint8 -> the window, (h, w, 3) uint8: scaled as in inference; what is outside is black."""
        resized = np.asarray(Image.fromarray(image).resize(self.resized, Image.Resampling.BICUBIC))
        return cv2.warpAffine(resized, self.window_from_resized[:2], self.window, flags=cv2.INTER_LINEAR)


def _turn_about(centre: np.ndarray, angle: float) -> np.ndarray:
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:2, 2] = centre - turn[:2, :2] @ centre
    return turn
