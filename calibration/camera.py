"""A camera's intrinsics: pixels from points in its frame (x right, y down, z forward) and rays from pixels.

Pixel coordinates are OpenCV's: u right, v down, whole numbers at pixel centres, so an image covers -0.5 to W - 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, replace
from functools import lru_cache
from numbers import Integral

import cv2
import numpy as np

from calibration.errors import InputError
from calibration.lens import LENSES, lens
from calibration.spelling import did_you_mean


@dataclass(frozen=True)
class Intrinsics:
    """How one camera at one image size maps rays to pixels.

    Models: "pinhole"; "plumb_bob" with k1 k2 p1 p2 k3 [k4 k5 k6]; "equidistant" (fisheye) with k1 k2 k3 k4, all in
    OpenCV's order and meaning. Raises InputError for sizes and focal lengths that aren't positive, non-finite
    numbers, unknown models and the wrong number of coefficients.
    """

    width: int  # [px]
    height: int  # [px]
    fx: float  # [px]
    fy: float  # [px]
    cx: float  # [px]
    cy: float  # [px]
    model: str = "pinhole"
    coefficients: tuple[float, ...] = ()
    what: InitVar[str] = "intrinsics"  # how errors call them

    def __post_init__(self, what: str) -> None:
        clean = {name: _size(getattr(self, name), f"{what} {name}") for name in ("width", "height")}
        clean |= {name: _finite(getattr(self, name), f"{what} {name}") for name in ("fx", "fy", "cx", "cy")}
        clean["coefficients"] = tuple(_finite(value, f"{what} coefficients") for value in self.coefficients)
        for name, value in clean.items():
            object.__setattr__(self, name, value)
        if not (self.fx > 0 and self.fy > 0):
            expected = "a matrix that isn't singular, with fx > 0 and fy > 0"
            raise InputError(what, expected, f"fx {self.fx:g}, fy {self.fy:g}")
        _check_model(self.model, len(self.coefficients), what)

    @staticmethod
    def from_matrix(
        matrix: np.ndarray | Sequence,  # (3, 3), or (4, 4) with nothing in the last row and column
        width: int,
        height: int,
        model: str = "pinhole",
        coefficients: Sequence[float] = (),
        what: str = "intrinsics",
    ) -> Intrinsics:
        """From a camera matrix; raises InputError if it has skew, another last row, or no inverse."""
        try:
            matrix = np.asarray(matrix, np.float64)
        except (TypeError, ValueError):
            raise InputError(what, "a camera matrix (3, 3)", f"{matrix!r:.80}") from None
        if matrix.shape == (4, 4) and np.array_equal(matrix[3], (0, 0, 0, 1)) and not matrix[:3, 3].any():
            matrix = matrix[:3, :3]
        if matrix.shape != (3, 3):
            raise InputError(what, "a camera matrix (3, 3)", f"shape {matrix.shape}")
        if not np.array_equal(matrix[2], (0, 0, 1)):
            raise InputError(what, "a last row 0 0 1", " ".join(f"{x:g}" for x in matrix[2]))
        if matrix[0, 1] or matrix[1, 0]:
            raise InputError(what, "no skew", f"{matrix[0, 1]:g}, {matrix[1, 0]:g}", "resample the images without skew")
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        return Intrinsics(width, height, fx, fy, cx, cy, model, tuple(coefficients), what)

    @property
    def matrix(self) -> np.ndarray:
        """The camera matrix (3, 3) float64."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def project(self, points_camera: np.ndarray) -> np.ndarray:
        """Points (..., 3) [m] in the camera frame -> pixels (..., 2) float64.

        NaN for what the lens can't image: points behind the camera (a fisheye may see some) and points so far off
        the axis that the distortion polynomial would fold them back into the picture.
        """
        points = _last_axis(points_camera, 3, "points to project")
        return lens(self.model, self.coefficients).image_from_rays(points) * (self.fx, self.fy) + (self.cx, self.cy)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) -> rays (..., 3), unit vectors in the camera frame, NaN where no ray meets the pixel.

        Unit vectors for every model, since a fisheye's rays may point sideways or backwards, where z = 1 has no
        meaning. The distortion is inverted by Newton's method to 1e-12 of the focal length.
        """
        pixels = _last_axis(pixels, 2, "pixels to unproject")
        return lens(self.model, self.coefficients).rays_from_image((pixels - (self.cx, self.cy)) / (self.fx, self.fy))

    def in_image(self, pixels: np.ndarray) -> np.ndarray:
        """Which pixels (..., 2) lie in the image: -0.5 <= u < width - 0.5, v likewise -> (...) bool; NaN doesn't."""
        pixels = _last_axis(pixels, 2, "pixels")
        return ((pixels >= -0.5) & (pixels < (self.width - 0.5, self.height - 0.5))).all(axis=-1)

    def resized(self, width: int, height: int) -> Intrinsics:
        """Of the same image resampled to another size; edges stay edges, so pixel centres move by half a pixel."""
        width, height = _size(width, "resized width"), _size(height, "resized height")
        sx, sy = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return replace(self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=cx, cy=cy)

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Of the window whose first pixel is (left, top); the window may reach beyond the image."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def undistort(self, image: np.ndarray, target: Intrinsics | None = None) -> tuple[np.ndarray, Intrinsics]:
        """The image (H, W) or (H, W, C) as `target` would have taken it from the same place, and `target`.

        Without a target it is the pinhole camera of the same size, focal lengths and centre: the scale on the axis
        stays, and of a fisheye's picture the outer part is lost. Pixels that this camera doesn't see are black.
        """
        if image.shape[:2] != (self.height, self.width):
            got = "x".join(map(str, image.shape[1::-1]))
            raise InputError("image to undistort", f"{self.width}x{self.height} as in its intrinsics", got)
        target = target or replace(self, model="pinhole", coefficients=())
        if target == self:
            return image, target
        return cv2.remap(image, *_undistortion_maps(self, target), cv2.INTER_LINEAR), target


@lru_cache(maxsize=16)  # two rigs of eight cameras; about 9 MB for a 1600 x 900 image
def _undistortion_maps(source: Intrinsics, target: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Where each target pixel comes from, in the fixed-point form in which cv2.remap is fastest."""
    grid = np.stack(np.meshgrid(np.arange(target.width), np.arange(target.height)), axis=-1)
    pixels = source.project(target.unproject(grid))
    pixels[~source.in_image(pixels)] = -2  # far enough outside that interpolation gives black
    return cv2.convertMaps(pixels.astype(np.float32), None, cv2.CV_16SC2)


def _check_model(model: str, count: int, what: str) -> None:
    if not isinstance(model, str) or model not in LENSES:
        raise InputError(f"{what} model", " | ".join(LENSES), repr(model), did_you_mean(model, LENSES))
    counts = LENSES[model].coefficient_counts
    if count not in counts:
        raise InputError(f"{what} {model} distortion", f"{' or '.join(map(str, counts))} coefficients", f"{count}")


def _size(value: int, what: str) -> int:
    if not isinstance(value, Integral) or value <= 0:
        raise InputError(what, "a whole number of pixels > 0", f"{value!r}")
    return int(value)


def _finite(value: float, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(what, "a number", repr(value)) from None
    if not np.isfinite(number):
        raise InputError(what, "a finite number", f"{number}")
    return number


def _last_axis(values: np.ndarray, size: int, what: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or array.shape[-1] != size:
        raise InputError(what, f"shape (..., {size})", f"{array.shape}")
    return array
