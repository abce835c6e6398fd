"""Random geometry with a fixed seed, for tests that state a property over many cases."""

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.camera import Intrinsics
from calibration.transform import Transform

COEFFICIENTS = {
    "pinhole": (),
    "plumb_bob": (-0.31, 0.12, 0.0011, -0.0007, -0.021),
    "rational": (0.42, -0.13, 0.0007, -0.0009, 0.031, 0.71, -0.11, 0.013),
    "equidistant": (0.031, -0.012, 0.0041, -0.0009),
}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_transform(rng: np.random.Generator) -> Transform:
    return Transform(Rotation.random(random_state=int(rng.integers(2**31))).as_matrix(), rng.normal(0, 20, 3))


def camera(kind: str = "pinhole", rng: np.random.Generator | None = None) -> Intrinsics:
    """One of the lens kinds, with coefficients jittered by a few percent when there is a generator."""
    rng = rng or generator()
    coefficients = tuple(value * rng.uniform(0.95, 1.05) for value in COEFFICIENTS[kind])
    model = "plumb_bob" if kind == "rational" else kind
    focal = 420.0 if kind == "equidistant" else 1180.0
    fx, fy = focal * rng.uniform(0.95, 1.05), focal * rng.uniform(0.95, 1.05)
    return Intrinsics(1600, 900, fx, fy, 800 + rng.normal(0, 20), 450 + rng.normal(0, 20), model, coefficients)


def points_in_view(rng: np.random.Generator, count: int = 200) -> np.ndarray:
    """Points (count, 3) up to 40 degrees off the axis, 1 to 80 m deep."""
    depth = rng.uniform(1, 80, (count, 1))
    angle, radius = rng.uniform(-np.pi, np.pi, count), np.tan(rng.uniform(0, np.radians(40), count))
    return np.c_[radius * np.cos(angle), radius * np.sin(angle), np.ones(count)] * depth
