"""Drops and flakes that fall between the sensors and what they look at.

On images: particles in the first metres, drawn out by the exposure. In clouds: particles in a beam's first metres, that
return a part of its light; the strongest return counts (Hahner et al., "LiDAR Snowfall Simulation for Robust 3D Object
Detection", CVPR 2022; for rain Kilic et al., "Lidar Light Scattering Augmentation (LISA)", 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from calibration.camera import Intrinsics
from perception.robustness.physics.air import THRESHOLD, echo, is_lost
from perception.robustness.physics.pulses import Pulses

BEAM_RADIUS_M, BEAM_SPREAD = 0.005, 0.0015  # of a beam at the sensor, and how much wider it gets a metre
OVERLAP_M = (1.0, 10.0)  # where the receiver begins to see the beam, and where it sees all of it (Hahner et al., 2021)
FIRST_METRES = 8.0  # beyond it a particle fills too little of the beam to be a return
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Particles:
    """What falls."""

    number: float  # 1/m3
    diameter: float  # m, its mean; exponentially distributed
    reflectance: float  # 0-1
    extinction: float  # 1/m, of all of them


def overlap(distances: np.ndarray) -> np.ndarray:
    """How much of the beam the receiver sees there, 0-1."""
    near, far = OVERLAP_M
    return np.clip((distances - near) / (far - near), 0, 1)


def fallen_through(pulses: Pulses, particles: Particles, darkened: np.ndarray, rng: np.random.Generator) -> Pulses:
    """The pulses that come back from targets or, before them, from particles.

    `darkened` (N,) is what is left of the targets' reflectance, such as that of wet asphalt.
    """
    distances = pulses.distances
    target = echo(pulses.intensity, distances) * darkened * np.exp(-2 * particles.extinction * distances)
    strongest, nearest = _particle_echoes(len(distances), particles, rng)
    nearest = np.where(nearest < distances, nearest, 0)
    from_particle = (nearest > 0) & (strongest > target)
    lost = is_lost(np.where(from_particle, strongest, target), rng)
    faint = np.minimum(rng.exponential(3.0, len(distances)), 20)
    intensity = np.where(from_particle, faint, pulses.intensity * darkened)
    moved = pulses.at_distances(np.where(from_particle, nearest, distances))
    return Pulses(moved.local, intensity.astype(np.float32), pulses.sweep, pulses.lidar_from_sweep, pulses.ages).select(
        ~lost
    )


def _particle_echoes(count: int, particles: Particles, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each beam the power of the strongest return of a particle, and its distance; zeros for none.

    Only particles are drawn that are large enough to be a return, of an exponential distribution's tail.
    """
    grid = np.linspace(OVERLAP_M[0] + 0.1, FIRST_METRES, 200)
    area = np.pi * (BEAM_RADIUS_M + BEAM_SPREAD * grid) ** 2
    volume = np.concatenate([[0], np.cumsum((area[1:] + area[:-1]) / 2 * np.diff(grid))])
    least = np.sqrt(THRESHOLD / 2 / _particle_power(grid, 1.0, particles.reflectance).max())
    number = particles.number * np.exp(-least / particles.diameter)
    inside = rng.poisson(number * volume[-1], count)
    beam = np.repeat(np.arange(count), inside)
    distances = np.interp(rng.random(len(beam)) * volume[-1], volume, grid)
    sizes = least + rng.exponential(particles.diameter, len(beam))
    power = _particle_power(distances, sizes, particles.reflectance)
    order = np.lexsort((power, beam))
    last = np.flatnonzero(np.diff(beam[order], append=count))  # the strongest of each beam
    strongest, nearest = np.zeros(count), np.zeros(count)
    strongest[beam[order[last]]] = power[order[last]]
    nearest[beam[order[last]]] = distances[order[last]]
    return strongest, nearest


def _particle_power(distances: np.ndarray, sizes: np.ndarray | float, reflectance: float) -> np.ndarray:
    """Return of a particle that fills a part of the beam, as reflectance / (pi m2); sizes are diameters [m]."""
    filled = sizes**2 / 4 / (BEAM_RADIUS_M + BEAM_SPREAD * distances) ** 2
    return overlap(distances) * filled * reflectance / np.pi / distances**2


def streaks(
    intrinsics: Intrinsics,
    count: int,  # in an image that sees as much as nuScenes' front camera
    near_far_m: tuple[float, float],
    diameter_m: float,  # the mean one
    velocity: tuple[float, float, float],  # m/s in the camera frame
    exposure_s: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """How much of each pixel particles cover during the exposure (H, W) float32, 0-1.

    A particle of diameter D at depth z draws a line f D / z wide; along it, a pixel is covered for as long as the
    particle takes to pass (Garg and Nayar, "Vision and Rain", IJCV 2007).
    """
    width, height, focal = intrinsics.width, intrinsics.height, intrinsics.fx
    count = round(count * (width / focal) * (height / intrinsics.fy) / (1.26 * 0.71))
    near, far = near_far_m
    depths = np.cbrt(rng.uniform(near**3, far**3, count))
    starts = rng.uniform((-0.1 * width, -0.15 * height), (1.1 * width, 1.1 * height), (count, 2))
    sizes = np.clip(rng.exponential(diameter_m, count), 0.3 * diameter_m, 5 * diameter_m)
    speeds = np.array(velocity) * rng.normal(1, 0.12, (count, 3))
    at_start = np.column_stack([(starts - (intrinsics.cx, intrinsics.cy)) / focal * depths[:, None], depths])
    at_end = at_start + speeds * exposure_s
    at_end[:, 2] = np.maximum(at_end[:, 2], 0.3)
    ends = at_end[:, :2] / at_end[:, 2:] * focal + (intrinsics.cx, intrinsics.cy)
    lengths = np.linalg.norm(ends - starts, axis=1)
    thick = focal * sizes / depths
    cover = np.minimum(thick, 1) * np.minimum(thick / np.maximum(lengths, thick), 1)
    canvas = np.zeros((height, width), np.uint8)  # OpenCV smooths lines in bytes only
    order = np.argsort(cover)  # the most opaque ones last
    fixed = np.round(np.stack([starts, ends], axis=1)[order] * (1 << SUBPIXEL_BITS)).astype(int).tolist()
    bright = np.round(255 * cover[order]).tolist()
    wide = np.maximum(np.round(thick[order]), 1).astype(int).tolist()
    for (start, end), level, thickness in zip(fixed, bright, wide, strict=True):
        cv2.line(canvas, start, end, level, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255
