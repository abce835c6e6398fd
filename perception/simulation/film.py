"""From light to an image: exposure, glare, drops on the lens, tone curve, the sensor's noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from perception.simulation.conditions import Conditions

MIDDLE_GREY = 0.20


def develop(linear: np.ndarray, conditions: Conditions, rng: np.random.Generator) -> np.ndarray:
    """Linear light (H, W, 3) -> what the camera stores, (H, W, 3) uint8 RGB."""
    import cv2

    height, width = linear.shape[:2]
    light = linear * _exposure(linear, conditions)
    light *= _vignette(height, width)
    sigma = max(width / 160, 1.0)
    light += 0.10 * cv2.GaussianBlur(np.clip(light - 1.2, 0, 6), (0, 0), sigma)
    light = cv2.GaussianBlur(light, (0, 0), 0.42)
    if conditions.rain > 0:
        light = _through_drops(_streaked(light, conditions, rng), rng)
    light *= rng.normal(1.0, 0.015, 3).astype(np.float32)  # white balance is never quite right
    light += _noise(light, conditions, rng)
    shown = _tone(np.maximum(light, 0, out=light))
    shown *= 255
    shown += 0.5
    return shown.astype(np.uint8)


def _noise(light: np.ndarray, conditions: Conditions, rng: np.random.Generator) -> np.ndarray:
    """More of it where there is more light, and a little in the dark."""
    spread = np.maximum(light, 0)
    spread *= 4e-5
    spread += 2e-5
    np.sqrt(spread, out=spread)
    spread *= conditions.noise
    spread *= rng.standard_normal(light.shape, np.float32)
    return spread


def _exposure(linear: np.ndarray, conditions: Conditions) -> float:
    """What brings the picture's geometric mean to a middle grey; at night a camera stays below that."""
    brightness = (linear[..., 0] + linear[..., 1] + linear[..., 2]) / np.float32(3)
    usual = float(np.exp(np.log(brightness + 1e-3).mean()))
    night = 0.55 if conditions.dark > 0.5 else 1.0
    return float(np.clip(MIDDLE_GREY / usual, 0.25, 3.0)) * night


@lru_cache(maxsize=1)
def _vignette(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - 0.14 * (x**2 + 0.4 * y**2))[..., None].astype(np.float32)


def _tone(light: np.ndarray) -> np.ndarray:
    """The ACES curve as fitted by Narkowicz (2016), then sRGB's gamma."""
    light = light * 0.85
    below = 2.43 * light
    below += 0.59
    below *= light
    below += 0.14
    curve = 2.51 * light
    curve += 0.03
    curve *= light
    curve /= below
    return np.power(np.clip(curve, 0, 1, out=curve), 1 / 2.2, out=curve)


def _streaked(light: np.ndarray, conditions: Conditions, rng: np.random.Generator) -> np.ndarray:
    """Falling drops, brighter than what is behind them."""
    import cv2

    height, width = light.shape[:2]
    streaks = np.zeros((height, width), np.float32)
    for x, y, length in rng.uniform((0, -20, 0.02), (width, height, 0.07), (int(width * 0.22 * conditions.rain), 3)):
        end = (round(x + 0.08 * length * height), round(y + length * height))
        cv2.line(streaks, (round(x), round(y)), end, float(rng.uniform(0.02, 0.07)), 1, cv2.LINE_AA)
    return light + cv2.GaussianBlur(streaks, (0, 0), 0.7)[..., None] * (0.4 + light.mean())


def _through_drops(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Drops on the lens: round patches in which the picture is blurred and a bit brighter."""
    import cv2

    height, width = light.shape[:2]
    blurred, mask = cv2.GaussianBlur(light, (0, 0), max(width / 70, 1)), np.zeros((height, width), np.float32)
    for x, y, radius in rng.uniform((0, 0, 0.004), (width, height, 0.018), (rng.integers(2, 12), 3)):
        cv2.circle(mask, (round(x), round(y)), max(round(radius * width), 1), 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), max(width / 300, 0.6))[..., None]
    return light * (1 - 0.85 * mask) + 0.88 * mask * blurred
