"""Air that takes light and adds its own, seen by cameras and by a LiDAR."""

from __future__ import annotations

import numpy as np

# A LiDAR of automotive grade just sees a tenth of reflectance at 100 m: its threshold, as reflectance / (pi m2).
THRESHOLD = 0.1 / np.pi / 100.0**2
FULL_INTENSITY = 100.0  # nuScenes' intensity of a white diffuse surface; more is a retroreflector
FLICKER = 0.25  # standard deviation of the threshold's logarithm


def seen_through(light: np.ndarray, depth: np.ndarray, extinction: float, airlight: np.ndarray) -> np.ndarray:
    """Linear light (H, W, 3) at distances (H, W) [m] through air of this extinction [1/m].

    Koschmieder's law: what comes is attenuated by Beer and Lambert, the rest is the air's own light (3,).
    """
    passed = np.exp(-extinction * depth)[..., None]
    return light * passed + airlight * (1 - passed)


def echo(intensity: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Power of hard targets' returns in clear air, as reflectance / (pi m2); what was seen was above the threshold."""
    reflectance = np.maximum(intensity, 1) / FULL_INTENSITY
    return np.maximum(reflectance / np.pi / np.maximum(distances, 0.5) ** 2, THRESHOLD)


def is_lost(power: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which returns (N,) no longer count."""
    return power < THRESHOLD * np.exp(rng.normal(0, FLICKER, len(power)))
