"""The cameras that see the street: flat faces in sunlight, their shadows on the ground, and haze."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from calibration.camera import Intrinsics
from calibration.transform import Transform
from made_up.shapes import Face, Solid
from made_up.street import Street
from perception.nuscenes import IMAGE_SIZE

SIZE = (800, 450)  # [px] of an image; it is drawn at twice the size, so that its edges are smooth
SUN = np.array([-0.48, 0.36, 0.8])  # unit vector towards it
SUNLIGHT, SKYLIGHT = np.array([0.46, 0.42, 0.36]), np.array([0.73, 0.76, 0.81])  # warm, and bluish
ZENITH, HAZE = np.array([120, 156, 196.0]), np.array([206, 214, 220.0])
HAZE_REACH = 190.0  # [m] where it has taken all but 1/e of a colour
NEAR = 0.1  # [m] in front of the camera: what is nearer is cut off


def photograph(
    made_up: Street,
    position_ego: tuple[float, float, float],  # [m]
    direction_deg: float,  # to the left of forward
    focal_length: float,  # [px] of an image of nuScenes' size
) -> tuple[np.ndarray, Intrinsics, Transform]:
    """The street as one level camera sees it: image (450, 800, 3) uint8 RGB, its intrinsics, camera_from_ego."""
    direction, down = np.radians(direction_deg), np.array([0, 0, -1.0])
    forward = np.array([np.cos(direction), np.sin(direction), 0])
    ego_from_camera = Transform(np.stack([np.cross(down, forward), down, forward], axis=1), np.array(position_ego))
    intrinsics = Intrinsics(*IMAGE_SIZE, focal_length, focal_length, cx=805, cy=470)
    view = View.of_sky(intrinsics, ego_from_camera.inverse())
    for face in made_up.ground:
        view.draw(face, layered=True)
    view.cast_shadows(made_up.solids)
    for face in [*made_up.decals, *(face for solid in made_up.solids for face in solid)]:
        view.draw(face)
    image = cv2.resize(view.developed(), SIZE, interpolation=cv2.INTER_AREA)
    return image, intrinsics.resized(*SIZE), view.camera_from_ego


@dataclass(frozen=True)
class View:
    """An image in the making; its arrays change as more is drawn."""

    image: np.ndarray  # (H, W, 3) float32 RGB, 0-255
    nearness: np.ndarray  # (H, W) float32, 1 / depth [1/m]: over a flat face it is linear in the image; 0 in the sky
    intrinsics: Intrinsics
    camera_from_ego: Transform

    @staticmethod
    def of_sky(intrinsics: Intrinsics, camera_from_ego: Transform) -> View:
        """Nothing but sky: haze at the horizon, blue above."""
        elevation = np.clip((intrinsics.cy - np.arange(intrinsics.height)) / intrinsics.fy, 0, None)
        rows = HAZE + (1 - np.exp(-3.5 * elevation))[:, None] * (ZENITH - HAZE)
        image = np.repeat(rows[:, None], intrinsics.width, axis=1).astype(np.float32)
        return View(image, np.zeros(image.shape[:2], np.float32), intrinsics, camera_from_ego)

    def draw(self, face: Face, layered: bool = False) -> None:
        """Draw a face where nothing nearer hides it or, layered, over everything."""
        normal, corners = self.camera_from_ego.rotate(face.normal), self.camera_from_ego.apply(face.corners)
        offset = normal @ corners[0]
        if offset >= 0:  # seen from behind
            return
        window, covered = self._rasterised(corners)
        rows, columns = np.mgrid[window]
        u, v = (columns - self.intrinsics.cx) / self.intrinsics.fx, (rows - self.intrinsics.cy) / self.intrinsics.fy
        nearness = (normal[0] * u + normal[1] * v + normal[2]) / offset
        seen = covered & (layered | (nearness > self.nearness[window]))
        open_sky = 0.75 + 0.125 * (1 + face.normal[2])
        self.image[window][seen] = (SKYLIGHT * open_sky + SUNLIGHT * max(face.normal @ SUN, 0)) * face.colour
        self.nearness[window][seen] = nearness[seen]

    def cast_shadows(self, solids: list[Solid]) -> None:
        """Darken all that is drawn so far where a solid stands between the ground there and the sun."""
        shadow = np.zeros(self.nearness.shape, bool)
        for solid in solids:
            corners = np.concatenate([face.corners for face in solid])
            fallen = corners - SUN * (corners[:, 2:] / SUN[2])
            outline = cv2.convexHull(fallen[:, :2].astype(np.float32))[:, 0]
            window, covered = self._rasterised(self.camera_from_ego.apply(np.c_[outline, np.zeros(len(outline))]))
            shadow[window] |= covered
        self.image[shadow] *= SKYLIGHT / (SKYLIGHT + SUNLIGHT * SUN[2])

    def developed(self) -> np.ndarray:
        """The image (H, W, 3) uint8, hazy in the distance."""
        clear = np.exp(-1 / (HAZE_REACH * np.maximum(self.nearness, 1e-6)))[..., None]
        hazy = np.where(self.nearness[..., None] > 0, self.image * clear + HAZE * (1 - clear), self.image)
        return hazy.clip(0, 255).astype(np.uint8)

    def _rasterised(self, polygon: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
        """The window around a convex polygon (K, 3) in the camera frame, and which of its pixels that covers."""
        polygon = _in_sight(polygon, self.intrinsics)
        if len(polygon) < 3:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
        pixels, size = self.intrinsics.project(polygon), np.array([self.intrinsics.width, self.intrinsics.height])
        low = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, size - 1)
        high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, low + 1, size)
        covered = np.zeros(high[::-1] - low[::-1], np.uint8)
        cv2.fillConvexPoly(covered, np.round((pixels - low) * 16).astype(np.int32), 1, cv2.LINE_8, shift=4)
        return (slice(low[1], high[1]), slice(low[0], high[0])), covered.astype(bool)


def _in_sight(polygon: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """What of a convex polygon (K, 3) in the camera frame the image can show, cut at one side after the other.

    Sutherland and Hodgman, "Reentrant polygon clipping" (1974).
    """
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    left, right = (fx, 0, cx + 1), (-fx, 0, intrinsics.width - cx)
    top, bottom = (0, fy, cy + 1), (0, -fy, intrinsics.height - cy)
    for normal, shift in (((0, 0, 1), -NEAR), (left, 0), (right, 0), (top, 0), (bottom, 0)):
        inside = polygon @ normal + shift  # where positive
        if (inside < 0).all():
            return polygon[:0]
        nexts = zip(np.roll(polygon, -1, axis=0), np.roll(inside, -1), strict=True)
        kept = []
        for corner, here, (following, there) in zip(polygon, inside, nexts, strict=True):
            kept += [corner] if here >= 0 else []
            kept += [corner + here / (here - there) * (following - corner)] if (here >= 0) != (there >= 0) else []
        polygon = np.array(kept)
    return polygon
