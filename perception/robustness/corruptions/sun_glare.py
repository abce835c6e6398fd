"""A low sun: it dazzles the cameras that look its way, and the LiDAR's beams that point at it.

Images: stray light falls off with the angle to the sun as in an eye or a lens (CIE's disability glare, Vos, 2003), the
sun itself saturates, reflections between lenses lie on the line through the image's middle, and the exposure is
shorter. Clouds: sunlight raises the noise of the receiver, so weak returns are lost and a few come from nowhere, as in
the strong sunlight of Dong et al. (CVPR 2023).
"""

from __future__ import annotations

import cv2
import numpy as np

from calibration.camera import Intrinsics
from perception.robustness import Draw
from perception.robustness.history import History
from perception.robustness.physics.air import FLICKER, THRESHOLD, echo
from perception.robustness.physics.light import developed, linear, repainted
from perception.robustness.physics.pulses import Pulses, with_pulses
from perception.types import CameraImage, Frame

TITLE = "sun glare"
SENSORS = ("camera", "lidar")
LEVELS = ("hazy sun", "clear sun", "blinding sun")
STRAY = (0.1, 0.25, 0.6)  # light that the sun adds about 8 degrees away from it, in full exposures
EXPOSURE = (0.9, 0.75, 0.6)  # of images with the sun in them
NOISE = (10.0, 40.0, 160.0)  # times the LiDAR's threshold, towards the sun
GHOSTS = (0.02, 0.06, 0.15)  # of the beams towards the sun that return from nowhere
SUN = np.array([1.0, 0.93, 0.78], np.float32)
SUN_DEG = 0.7  # radius of what saturates, with its bloom
BEAM_DEG = 12.0  # how near to the sun a beam's direction is disturbed (standard deviation)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption."""
    rng = draw("sun")
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(6, 16))
    flat = np.cos(elevation)
    sun_ego = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    sun_lidar = frame.ego_from_lidar.inverse().rotate(sun_ego)

    def paint(name: str, camera: CameraImage) -> np.ndarray | None:
        return _dazzled(camera, camera.camera_from_lidar.rotate(sun_lidar), severity)

    def change(pulses: Pulses) -> Pulses:
        return _disturbed(pulses, sun_lidar, severity, draw("lidar"))

    return with_pulses(repainted(frame, paint), history, change)


def _dazzled(camera: CameraImage, sun_camera: np.ndarray, severity: int) -> np.ndarray | None:
    """The image with the sun in this direction; None where it leaves no trace."""
    lens = camera.intrinsics
    step = max(1, lens.width // 400)
    small = lens.resized(max(1, lens.width // step), max(1, lens.height // step))
    grid = np.stack(np.meshgrid(np.arange(small.width), np.arange(small.height)), axis=-1)
    angle = np.degrees(np.arccos(np.clip(np.nan_to_num(small.unproject(grid)) @ sun_camera, -1, 1)))
    in_view = angle.min() < 2.0
    stray = STRAY[severity - 1] * (60 / (angle**2 + 3) + 0.12) * (1.0 if in_view else 0.35)  # a hood helps a little
    stray += 3.0 * np.clip(1.6 - angle / SUN_DEG, 0, 1) * in_view
    if stray.max() < 0.01:
        return None
    if in_view:
        stray += _star(small, sun_camera, severity)
    added = cv2.resize(stray.astype(np.float32), (lens.width, lens.height), interpolation=cv2.INTER_LINEAR)
    light = linear(camera.image) * np.float32(EXPOSURE[severity - 1] if in_view else 1.0)
    light = light + added[..., None] * SUN
    if in_view:
        _add_ghosts(light, lens.project(sun_camera[None])[0], severity)
    return developed(light)


def _star(small: Intrinsics, sun_camera: np.ndarray, severity: int) -> np.ndarray:
    """Rays that the aperture's blades draw around the sun."""
    u, v = small.project(sun_camera[None])[0]
    x, y = np.meshgrid(np.arange(small.width) - u, np.arange(small.height) - v)
    distance = np.hypot(x, y) + 1
    spikes = np.abs(np.cos(3 * np.arctan2(y, x) + 0.4)) ** 60
    return STRAY[severity - 1] * spikes * 12 / distance * np.exp(-distance / (0.12 * small.width))


def _add_ghosts(light: np.ndarray, sun_px: np.ndarray, severity: int) -> None:
    """Reflections between the lenses, faint discs opposite to the sun, into `light`."""
    height, width = light.shape[:2]
    middle = np.array([width / 2, height / 2])
    for place, radius, colour in (
        (0.55, 0.016, (0.5, 1.0, 0.6)),
        (-0.35, 0.03, (0.5, 0.7, 1.0)),
        (-0.7, 0.05, (0.9, 0.6, 1.0)),
        (-1.1, 0.025, (1.0, 0.8, 0.4)),
    ):
        u, v = middle + place * (sun_px - middle)
        disc = np.zeros((height, width), np.uint8)
        cv2.circle(disc, (round(u), round(v)), round(radius * width), 255, -1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(disc, (0, 0), max(width / 400, 0.5)).astype(np.float32)[..., None] / 255
        light += soft * np.float32(colour) * np.float32(0.12 * STRAY[severity - 1])


def _disturbed(pulses: Pulses, sun_lidar: np.ndarray, severity: int, rng: np.random.Generator) -> Pulses:
    distances = pulses.distances
    towards = (pulses.local @ sun_lidar) / np.maximum(distances, 1e-3)
    near = np.exp(-0.5 * (np.degrees(np.arccos(np.clip(towards, -1, 1))) / BEAM_DEG) ** 2)
    threshold = THRESHOLD * (1 + (NOISE[severity - 1] - 1) * near) * np.exp(rng.normal(0, FLICKER, len(distances)))
    threshold = np.where(near > 0.01, threshold, 0)
    nowhere = rng.random(len(distances)) < GHOSTS[severity - 1] * near
    places = rng.uniform(1, 60, len(distances))
    moved = pulses.at_distances(np.where(nowhere, places, distances))
    return moved.select(nowhere | (echo(pulses.intensity, distances) >= threshold))
