"""The seams: what sources hand to timing, timing to the detector, and the detector to outputs.

All are frozen: a step makes a new one and never changes what it was given. Arrays are NumPy; torch stays inside the
model. Frame names are those of the README's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import Transform

POINT_COLUMNS = ("x", "y", "z", "intensity", "age")


@dataclass(frozen=True)
class CameraImage:
    """One decoded image and where it was taken from."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    stamp_ns: int  # middle of the exposure
    intrinsics: Intrinsics  # of this very image: its width and height are W and H
    camera_from_lidar: Transform  # lidar frame at the Frame's time -> camera frame at stamp_ns, ego motion included

    def __post_init__(self) -> None:
        check_array("image", self.image, "(H, W, 3)", np.uint8)
        height, width = self.image.shape[:2]
        expected = (self.intrinsics.width, self.intrinsics.height)
        if (width, height) != expected:
            raise InputError(
                "image size",
                f"{expected[0]}x{expected[1]} as in its intrinsics",
                f"{width}x{height}",
                "resize the intrinsics with the image",
            )


@dataclass(frozen=True)
class PointCloud:
    """LiDAR points in the lidar frame at the Frame's time."""

    points: np.ndarray  # (N, 5) float32: x, y, z [m], intensity [0-255], age [s >= 0 before the Frame's time]
    times_ns: np.ndarray | None = None  # (N,) int64, each point's own time, while the cloud isn't deskewed yet
    dropped: int = 0  # points a reader threw away because they weren't finite

    def __post_init__(self) -> None:
        check_array("points", self.points, "(N, 5)", np.float32)


@dataclass(frozen=True)
class EgoPose:
    """Where the ego frame was at one instant."""

    stamp_ns: int
    world_from_ego: Transform


@dataclass(frozen=True)
class Measurement:
    """One thing one sensor said: what the synchroniser consumes."""

    sensor: str
    stamp_ns: int
    payload: Any  # CameraImage, PointCloud or EgoPose, or what stands for one that isn't read yet


BOX_COLUMNS = ("centers", "sizes", "yaws", "velocities", "scores", "labels")  # every box has a row of each


@dataclass(frozen=True)
class Boxes3D:
    """Oriented boxes: gravity-centred, size along their own axes, yaw about +z counted from +x."""

    centers: np.ndarray  # (N, 3) float [m]
    sizes: np.ndarray  # (N, 3) float, length (along the heading), width, height [m]
    yaws: np.ndarray  # (N,) float [rad]
    velocities: np.ndarray  # (N, 2) float, vx and vy in the box's frame [m/s]; NaN where unknown
    scores: np.ndarray  # (N,) float, 0-1; 1 for truth
    labels: np.ndarray  # (N,) int64, index into class_names
    class_names: tuple[str, ...]
    frame: str = "lidar"
    # By who says so, how much speaks for the front being where the yaw has it, and not at the other end: (N,) logits.
    fronts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.centers)
        shapes = {"centers": (count, 3), "sizes": (count, 3), "yaws": (count,), "velocities": (count, 2)}
        shapes |= {"scores": (count,), "labels": (count,)}
        arrays = {name: (getattr(self, name), shape) for name, shape in shapes.items()}
        arrays |= {f"fronts[{name!r}]": (logits, (count,)) for name, logits in self.fronts.items()}
        for name, (array, shape) in arrays.items():
            got = np.shape(array)
            if got != shape:
                raise InputError(f"boxes.{name}", f"shape {shape}", f"{got}")

    def __len__(self) -> int:
        return len(self.centers)

    @staticmethod
    def empty(class_names: tuple[str, ...], frame: str = "lidar") -> Boxes3D:
        """No box at all."""
        return Boxes3D(
            np.zeros((0, 3), np.float32),
            np.zeros((0, 3), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            class_names,
            frame,
        )

    def select(self, rows: np.ndarray) -> Boxes3D:
        """The boxes a boolean mask or an index array picks, in its order."""
        fronts = {name: logits[rows] for name, logits in self.fronts.items()}
        return replace(self, fronts=fronts, **{name: getattr(self, name)[rows] for name in BOX_COLUMNS})

    @staticmethod
    def joined(parts: Sequence[Boxes3D]) -> Boxes3D:
        """The boxes of all parts, one at least, in one frame and of the same classes, one part after the other."""
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in BOX_COLUMNS}
        speaking = dict.fromkeys(name for part in parts for name in part.fronts)
        fronts = {name: np.concatenate([part.front(name) for part in parts]) for name in speaking}
        return replace(parts[0], fronts=fronts, **arrays)

    def front(self, name: str) -> np.ndarray:
        """What one says of the fronts (N,): a logit, positive where the heading is right; zeros of who says nothing."""
        return self.fronts.get(name, np.zeros(len(self), np.float32))

    def with_front(self, name: str, logits: np.ndarray) -> Boxes3D:
        """The same boxes, of whose fronts one more has said something (N,)."""
        return replace(self, fronts={**self.fronts, name: logits})

    def headed(self, yaws: np.ndarray) -> Boxes3D:
        """The same boxes with other headings (N,) [rad]; what is said of an end of a box is still said of that end."""
        sides = np.where(np.cos(yaws - self.yaws) < 0, -1, 1).astype(np.float32)
        fronts = {name: logits * sides for name, logits in self.fronts.items()}
        return replace(self, yaws=yaws, fronts=fronts)

    def transformed(self, target_from_source: Transform, frame: str) -> Boxes3D:
        """The same boxes in another frame; the heading is what remains of it in the target's x-y plane."""
        centers, yaws, velocities = target_from_source.apply_boxes(self.centers, self.yaws, self.velocities)
        return replace(self, centers=centers, yaws=yaws, velocities=velocities, frame=frame)

    def corners(self) -> np.ndarray:
        """Corners (N, 8, 3) [m]: the four at the bottom counter-clockwise from front left, then the four above."""
        signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
        signs = np.concatenate([np.c_[signs, [-0.5] * 4], np.c_[signs, [0.5] * 4]])  # (8, 3)
        local = signs[None] * np.asarray(self.sizes, np.float64)[:, None, :]
        cos, sin = np.cos(self.yaws)[:, None], np.sin(self.yaws)[:, None]
        x = local[..., 0] * cos - local[..., 1] * sin
        y = local[..., 0] * sin + local[..., 1] * cos
        return np.stack([x, y, local[..., 2]], axis=-1) + np.asarray(self.centers, np.float64)[:, None, :]

    def contain(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (M, >= 3), in the boxes' frame, lie in each box, faces included -> (N, M) bool."""
        offset = np.asarray(points, np.float64)[None, :, :3] - np.asarray(self.centers, np.float64)[:, None, :]
        cos, sin = np.cos(self.yaws)[:, None], np.sin(self.yaws)[:, None]
        along = offset[..., 0] * cos + offset[..., 1] * sin
        across = offset[..., 1] * cos - offset[..., 0] * sin
        half = np.asarray(self.sizes, np.float64)[:, None, :] / 2
        return (
            (np.abs(along) <= half[..., 0])
            & (np.abs(across) <= half[..., 1])
            & (np.abs(offset[..., 2]) <= half[..., 2])
        )


@dataclass(frozen=True)
class Truth:
    """What annotators say is there, in the lidar frame at the Frame's time."""

    boxes: Boxes3D
    lidar_points: np.ndarray  # (N,) int64, points of the keyframe's cloud in each box
    radar_points: np.ndarray  # (N,) int64
    attributes: tuple[str, ...] = ()  # nuScenes attribute name a box, "" where it has none; () where the file has none
    instances: tuple[str, ...] = ()  # track token a box; () where the file has none


@dataclass(frozen=True)
class Frame:
    """Everything the detector may use for one instant; whatever is missing is absent."""

    stamp_ns: int
    token: str
    cameras: Mapping[str, CameraImage]  # a missing camera is not in here
    cloud: PointCloud | None
    ego_from_lidar: Transform
    world_from_ego: Transform | None = None  # at stamp_ns
    truth: Truth | None = None
    notes: tuple[str, ...] = field(default=())  # what was dropped or missing on the way here, one sentence each


def check_array(what: str, array: np.ndarray, shape: str, dtype: type) -> None:
    """Raise InputError unless `array` has this dtype and a shape like "(N, 5)", where letters stand for any size."""
    sizes = [size.strip() for size in shape.strip("()").split(",") if size.strip()]
    got = getattr(array, "shape", None)
    fits = got is not None and len(got) == len(sizes)
    fits = fits and all(not size.isdigit() or int(size) == n for size, n in zip(sizes, got, strict=True))
    if not fits or array.dtype != dtype:
        found = f"{got} {array.dtype}" if got is not None else type(array).__name__
        raise InputError(what, f"{shape} {np.dtype(dtype).name}", found)
