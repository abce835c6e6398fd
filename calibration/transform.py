"""Rigid transforms and poses over time.

Every transform is named `destination_from_source`, so that chains cancel:
`camera_from_lidar = camera_from_ego @ ego_from_lidar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import InputError

# Files carry rotations as float32 or as rounded decimals: what they lose must not make them unreadable.
ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Transform:
    """A rigid motion: `p_destination = rotation @ p_source + translation`.

    The numbers are kept as given, in float64: a rotation read from a float32 file stays off by about 1e-7 and is not
    quietly re-orthonormalised, so that results can be compared number by number with other software. `inverse` is
    the transpose, exact to the same amount. Raises InputError for wrong shapes, non-finite numbers, and anything that
    isn't a right-handed rotation; `what` is how the error calls the transform.
    """

    rotation: np.ndarray  # (3, 3) float64, read-only
    translation: np.ndarray  # (3,) float64 [m], read-only
    what: InitVar[str] = "transform"

    def __post_init__(self, what: str) -> None:
        rotation = _array(self.rotation, f"{what} rotation", (3, 3))
        _check_rotation(rotation, what)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", _array(self.translation, f"{what} translation", (3,)))

    @staticmethod
    def identity() -> Transform:
        """The transform that changes nothing."""
        return Transform(np.eye(3), np.zeros(3))

    @staticmethod
    def from_matrix(matrix: np.ndarray | Sequence, what: str = "transform") -> Transform:
        """From a homogeneous matrix (4, 4), or a rotation matrix (3, 3) alone."""
        matrix = _array(matrix, what, (4, 4), (3, 3))
        if matrix.shape == (3, 3):
            return Transform(matrix, np.zeros(3), what)
        if np.abs(matrix[3] - (0, 0, 0, 1)).max() > ORTHONORMAL_TOLERANCE:
            raise InputError(what, "a last row 0 0 0 1", " ".join(f"{x:g}" for x in matrix[3]))
        return Transform(matrix[:3, :3], matrix[:3, 3], what)

    @staticmethod
    def from_quaternion(
        quaternion_wxyz: np.ndarray | Sequence[float],
        translation: np.ndarray | Sequence[float] = (0, 0, 0),
        what: str = "transform",
    ) -> Transform:
        """From a quaternion w, x, y, z of any length but zero, and a translation [m]."""
        quaternion = _array(quaternion_wxyz, f"{what} quaternion", (4,))
        if not np.linalg.norm(quaternion) > 1e-12:
            raise InputError(f"{what} quaternion", "w x y z, not all zero", " ".join(f"{x:g}" for x in quaternion))
        return Transform(Rotation.from_quat(np.roll(quaternion, -1)).as_matrix(), translation, what)

    @property
    def matrix(self) -> np.ndarray:
        """The homogeneous matrix (4, 4), float64."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.translation
        return matrix

    @property
    def quaternion(self) -> np.ndarray:
        """The rotation as a unit quaternion w, x, y, z (4,) with w >= 0, float64."""
        quaternion = np.roll(Rotation.from_matrix(self.rotation).as_quat(), 1)
        return -quaternion if quaternion[0] < 0 else quaternion

    def inverse(self) -> Transform:
        """`source_from_destination`."""
        return Transform._derived(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: Transform) -> Transform:
        """`c_from_b @ b_from_a` is `c_from_a`; points move with `apply`, directions with `rotate`."""
        if not isinstance(other, Transform):
            raise InputError("right of @", "a Transform", type(other).__name__, "move points with apply")
        translation = self.rotation @ other.translation + self.translation
        return Transform._derived(self.rotation @ other.rotation, translation)

    @staticmethod
    def _derived(rotation: np.ndarray, translation: np.ndarray) -> Transform:
        """Of transforms that were checked: two of them at the edge of the tolerance still compose."""
        transform = object.__new__(Transform)
        for name, array in (("rotation", rotation), ("translation", translation)):
            array.setflags(write=False)
            object.__setattr__(transform, name, array)
        return transform

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Move points (..., 3) [m] from the source to the destination frame -> (..., 3) float64."""
        return self.rotate(points) + self.translation

    def rotate(self, vectors: np.ndarray) -> np.ndarray:
        """Turn directions or velocities (..., 3) into the destination frame, without the shift -> (..., 3) float64."""
        vectors = np.asarray(vectors, np.float64)
        if vectors.ndim == 0 or vectors.shape[-1] != 3:
            raise InputError("points to transform", "shape (..., 3)", f"{vectors.shape}")
        return vectors @ self.rotation.T

    def apply_boxes(
        self,
        centers: np.ndarray,  # (N, 3) [m]
        yaws: np.ndarray,  # (N,) [rad], about +z from +x
        velocities: np.ndarray,  # (N, 2) [m/s], NaN where unknown
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Move upright boxes to the destination frame -> centers (N, 3), yaws (N,) in [-pi, pi], velocities (N, 2).

        A box stays upright: of its heading and its velocity what remains in the destination's x-y plane is kept, which
        is all of it between frames whose z axes agree. Unknown velocities stay NaN.
        """
        yaws, velocities = np.asarray(yaws, np.float64), np.asarray(velocities, np.float64)
        headings = self.rotate(np.stack([np.cos(yaws), np.sin(yaws), np.zeros_like(yaws)], axis=-1))
        flat = np.concatenate([velocities, np.zeros((len(velocities), 1))], axis=-1)
        return self.apply(centers), np.arctan2(headings[:, 1], headings[:, 0]), self.rotate(flat)[:, :2]


def interpolate(earlier: Transform, later: Transform, fraction: float) -> Transform:
    """The pose at `fraction` of the way from `earlier` (0) to `later` (1); beyond that range at the same velocity.

    The translation is linear, the rotation turns the shorter way at constant rate (Shoemake, "Animating rotation with
    quaternion curves", 1985). At 0 and 1 it returns the very poses.
    """
    if fraction in (0, 1):
        return later if fraction else earlier
    turn = Rotation.from_matrix(earlier.rotation.T @ later.rotation).as_rotvec()
    rotation = earlier.rotation @ Rotation.from_rotvec(fraction * turn).as_matrix()
    return Transform._derived(rotation, earlier.translation + fraction * (later.translation - earlier.translation))


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """Poses of one frame in another, over time. Raises InputError unless the stamps increase strictly."""

    stamps_ns: np.ndarray  # (K,) int64, strictly increasing, read-only
    poses: tuple[Transform, ...]  # K of them, at least one

    def __post_init__(self) -> None:
        stamps_ns, poses = np.array(self.stamps_ns), tuple(self.poses)
        if stamps_ns.ndim != 1 or not len(stamps_ns) or stamps_ns.dtype.kind not in "iu":
            raise InputError("pose stamps", "(K,) integer nanoseconds, K > 0", f"{stamps_ns.shape} {stamps_ns.dtype}")
        if len(stamps_ns) != len(poses):
            raise InputError("poses", f"one a stamp, {len(stamps_ns)}", f"{len(poses)}")
        stamps_ns = stamps_ns.astype(np.int64)
        backwards = np.flatnonzero(np.diff(stamps_ns) <= 0)
        if len(backwards):
            before, after = stamps_ns[backwards[0] : backwards[0] + 2]
            raise InputError("pose stamps", "strictly increasing", f"{after} ns after {before} ns")
        stamps_ns.setflags(write=False)
        object.__setattr__(self, "stamps_ns", stamps_ns)
        object.__setattr__(self, "poses", poses)

    def at(self, stamp_ns: int, max_extrapolation_ns: int = 0) -> Transform:
        """The pose at one instant, interpolated between its neighbours.

        Up to `max_extrapolation_ns` outside the track the motion goes on at the velocity of the nearest two poses.
        Raises InputError beyond that, and for any other instant than its own when the track holds one pose only.
        """
        self._check_reach(stamp_ns, max_extrapolation_ns)
        if len(self.poses) == 1:
            return self.poses[0]
        later = int(np.clip(np.searchsorted(self.stamps_ns, stamp_ns), 1, len(self.poses) - 1))
        # Differences of whole numbers first: stamps since 1970 don't fit a float.
        start_ns, end_ns = int(self.stamps_ns[later - 1]), int(self.stamps_ns[later])
        fraction = (int(stamp_ns) - start_ns) / (end_ns - start_ns)
        return interpolate(self.poses[later - 1], self.poses[later], fraction)

    def _check_reach(self, stamp_ns: int, max_extrapolation_ns: int) -> None:
        first_ns, last_ns = int(self.stamps_ns[0]), int(self.stamps_ns[-1])
        outside_ns = max(first_ns - int(stamp_ns), int(stamp_ns) - last_ns, 0)
        if outside_ns > max_extrapolation_ns:
            expected = f"{first_ns} to {last_ns} ns, at most {max_extrapolation_ns / 1e6:g} ms outside"
            raise InputError("pose stamp", expected, f"{stamp_ns} ns, {outside_ns / 1e6:g} ms outside")
        if outside_ns and len(self.poses) == 1:
            raise InputError("pose track", "at least two poses to extrapolate from", "one")


def _array(values: np.ndarray | Sequence, what: str, *shapes: tuple[int, ...]) -> np.ndarray:
    """A read-only float64 copy, of one of these shapes and finite."""
    expected = " or ".join(map(str, shapes))
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(what, f"numbers of shape {expected}", f"{values!r:.80}") from None
    if array.shape not in shapes:
        raise InputError(what, f"shape {expected}", f"{array.shape}")
    if not np.isfinite(array).all():
        raise InputError(what, "finite numbers", f"{array[~np.isfinite(array)][0]}")
    array.setflags(write=False)
    return array


def _check_rotation(rotation: np.ndarray, what: str) -> None:
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    determinant = np.linalg.det(rotation)
    if error > ORTHONORMAL_TOLERANCE or determinant < 0:
        expected = "a rotation matrix (R R^T = I, det +1)"
        raise InputError(what, expected, f"det {determinant:.3f}, |R R^T - I| {error:.2g}")
