"""Lens models: where a ray meets the image plane at focal length one, and back.

Each model has `image_from_rays`: directions (..., 3) of any length, camera frame -> normalised image coordinates
(..., 2), and its inverse `rays_from_image`, with unit vectors. Where the model says nothing (behind the camera, or
so far out that its polynomial stops growing and the picture would fold back onto itself) both give NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import Polynomial

NEWTON_STEPS = 30
CLOSE = 1e-9  # after a step this small the next would be below the float's resolution


class Pinhole:
    """No distortion: x / z, y / z."""

    coefficient_counts = (0,)

    def __init__(self, coefficients: tuple[float, ...] = ()) -> None:
        pass

    def image_from_rays(self, rays: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # a point beside the camera's centre is as good as infinitely far out
            return rays[..., :2] / np.where(rays[..., 2:] > 0, rays[..., 2:], np.nan)

    def rays_from_image(self, xy: np.ndarray) -> np.ndarray:
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


class PlumbBob:
    """Radial and tangential distortion as in OpenCV: k1 k2 p1 p2 k3, and k4 k5 k6 of the rational model.

    Brown, "Decentering distortion of lenses" (1966). With s = x^2 + y^2 and d = (p2, p1) it reads
    `xy N(s) / D(s) + 2 xy (xy . d) + s d`. It holds up to the radius where the radial part stops growing.
    """

    coefficient_counts = (5, 8)

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, 0.0, 0.0, 0.0)[:8]
        n, d, s = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6]), Polynomial([0, 1])
        self.numerator, self.denominator = n, d
        self.gain_slope = n.deriv() * d - n * d.deriv()  # d(N/D)/ds, times D^2
        self.decentring = np.array([p2, p1])
        growth = n * d + 2 * s * self.gain_slope  # d(r N/D)/dr, times D^2
        self.max_radius = np.sqrt(min(_first_positive_root(growth), _first_positive_root(d)))

    def image_from_rays(self, rays: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            straight = Pinhole().image_from_rays(rays)
            return np.where(self._folded(straight), np.nan, self._distort(straight))

    def rays_from_image(self, xy: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            radius = np.linalg.norm(xy, axis=-1, keepdims=True)
            straight = np.where(radius > 0, xy * (_invert(self._radial, radius, self.max_radius) / radius), xy)
            for _ in range(NEWTON_STEPS):  # radially it is nearly right: what is left is the small tangential part
                step = _solve_2x2(self._jacobian(straight), self._distort(straight) - xy)
                straight = straight - step
                if not (np.abs(step) > CLOSE).any():
                    break
            missed = ~(np.abs(self._distort(straight) - xy) < 1e-12 * (1 + np.abs(xy))).all(axis=-1, keepdims=True)
            return Pinhole().rays_from_image(np.where(missed | self._folded(straight), np.nan, straight))

    def _folded(self, xy: np.ndarray) -> np.ndarray:
        """Where the picture is turned inside out (..., 1): outside the radius, or where the tangential part does it."""
        (a, b), (c, d) = np.moveaxis(self._jacobian(xy), (-2, -1), (0, 1))
        return ~((a * d > b * c) & ((xy**2).sum(axis=-1) <= self.max_radius**2))[..., None]

    def _radial(self, radius: np.ndarray) -> np.ndarray:
        return radius * self.numerator(radius**2) / self.denominator(radius**2)

    def _distort(self, xy: np.ndarray) -> np.ndarray:
        s = (xy**2).sum(axis=-1, keepdims=True)
        gain = self.numerator(s) / self.denominator(s) + 2 * (xy @ self.decentring)[..., None]
        return gain * xy + s * self.decentring

    def _jacobian(self, xy: np.ndarray) -> np.ndarray:
        """Derivative of `_distort`: (..., 2, 2), rows are outputs."""
        s = (xy**2).sum(axis=-1)
        gain = self.numerator(s) / self.denominator(s) + 2 * xy @ self.decentring
        slope = (2 * self.gain_slope(s) / self.denominator(s) ** 2)[..., None] * xy + 2 * self.decentring
        outer = xy[..., :, None] * slope[..., None, :] + 2 * self.decentring[:, None] * xy[..., None, :]
        return gain[..., None, None] * np.eye(2) + outer


class Equidistant:
    """Fisheye: the radius in the image is theta (1 + k1 theta^2 + ... + k4 theta^8), theta the angle off the axis.

    Kannala and Brandt, "A generic camera model and calibration method" (2006), with OpenCV's four coefficients. It
    may see behind itself: theta goes up to pi, or to where the polynomial stops growing.
    """

    coefficient_counts = (4,)

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        k1, k2, k3, k4 = coefficients
        self.radius = Polynomial([0, 1, 0, k1, 0, k2, 0, k3, 0, k4])
        self.slope = self.radius.deriv()
        self.max_angle = min(np.pi, np.sqrt(_first_positive_root(Polynomial([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4]))))

    def image_from_rays(self, rays: np.ndarray) -> np.ndarray:
        sine, cosine = np.linalg.norm(rays[..., :2], axis=-1, keepdims=True), rays[..., 2:]
        angle = np.arctan2(sine, cosine)
        # Straight backwards, and at the centre itself, there is no direction to go.
        known = (angle <= self.max_angle) & ((sine > 0) | (cosine > 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            direction = np.where(sine > 0, rays[..., :2] / sine, 0)
        return np.where(known, self.radius(angle) * direction, np.nan)

    def rays_from_image(self, xy: np.ndarray) -> np.ndarray:
        radius = np.linalg.norm(xy, axis=-1, keepdims=True)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            angle = _invert(self.radius, radius, self.max_angle)
            for _ in range(NEWTON_STEPS):
                step = (self.radius(angle) - radius) / self.slope(angle)
                angle = angle - step
                if not (np.abs(step) > CLOSE).any():
                    break
            found = (np.abs(self.radius(angle) - radius) < 1e-12 * (1 + radius)) & (angle <= self.max_angle)
            sideways = np.where(radius > 0, np.sin(angle) * xy / radius, 0)
        return np.where(found, np.concatenate([sideways, np.cos(angle)], axis=-1), np.nan)


Lens = Pinhole | PlumbBob | Equidistant
LENSES: dict[str, type[Lens]] = {"pinhole": Pinhole, "plumb_bob": PlumbBob, "equidistant": Equidistant}


@lru_cache(maxsize=64)
def lens(model: str, coefficients: tuple[float, ...]) -> Lens:
    """The lens of this model and these coefficients."""
    return LENSES[model](coefficients)


def _first_positive_root(polynomial: Polynomial) -> float:
    """The smallest positive real root of a polynomial whose constant term is 1; infinity where there is none."""
    inverses = np.roots(polynomial.coef)  # read backwards: dividing by the 1 is safe, by the last coefficient isn't
    inverses = inverses.real[(np.abs(inverses.imag) < 1e-9 * np.abs(inverses)) & (inverses.real > 0)]
    return 1 / float(inverses.max()) if len(inverses) else np.inf


def _invert(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, limit: float) -> np.ndarray:
    """Roughly where on [0, limit] a growing `function` takes these values >= 0, from a table: a start for Newton."""
    top = np.max(values, initial=0, where=np.isfinite(values))
    end = 1.0
    while end < min(limit, 1e6) and function(end) < top:
        end *= 2
    table = np.expm1(np.linspace(0, np.log1p(min(end, limit)), 2048, endpoint=False))  # the end may be a pole
    return np.interp(values, function(table), table)


def _solve_2x2(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cramer's rule for (..., 2, 2) and (..., 2); singular ones give non-finite numbers instead of an exception."""
    (a, b), (c, d) = np.moveaxis(matrices, (-2, -1), (0, 1))
    x, y = np.moveaxis(vectors, -1, 0)
    return np.stack([d * x - b * y, a * y - c * x], axis=-1) / (a * d - b * c)[..., None]
