"""LIDAR_TOP: 32 beams that turn once in 50 ms while the car and everyone else moves.

Each column of 32 beams has its own car pose; agents move on from slice to slice of the turn. As in nuScenes, a cloud
is given in the sensor's frame at the sweep's end with the car's own motion undone, so what stands still is sharp and
what moves is where it was when it was hit. A pulse returns if enough of its light comes back: reflectance times the
cosine of incidence over the distance squared, less what haze takes, against a threshold that flickers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from calibration.transform import Transform
from perception.simulation.agents import Agent
from perception.simulation.conditions import Conditions
from perception.simulation.looks import lidar_responses
from perception.simulation.raycast import Hits
from perception.simulation.rig import COLUMNS, EGO_FROM_LIDAR, ELEVATIONS_DEG, RINGS, SWEEP_US, azimuth_deg, ego_poses
from perception.simulation.stage import Stage, caster_of

SLICES = 6
RANGE_M = 105.0
THRESHOLD = 0.9e-5  # of light, for a pulse to count; a white wall reaches the range, asphalt 30 m
FLICKER = 0.45  # standard deviation of the threshold's logarithm
NOISE_M = 0.015
AGENT_REACH_M = 110.0
BALL_MARGIN_M = 0.9  # for limbs that swing out of a box, and for how far the car goes in a slice


def sweep(stage: Stage, end: float, rng: np.random.Generator) -> np.ndarray:
    """The cloud of the turn that ends at a time [s] -> (N, 5) float32 x, y, z, intensity 0-255, ring, as fired."""
    rays, city_from_lidar = _rays(stage, end)
    hits, kinds, colours = _nearest(stage, rays, end)
    directions = rays[:, 3:]
    incidence = np.abs((hits.normals * directions).sum(axis=1)) / np.maximum(np.linalg.norm(hits.normals, axis=1), 1e-9)
    returned, reflectance = _returned(hits.distances, incidence, kinds, colours, stage.conditions, rng)
    distances = hits.distances + rng.normal(0, NOISE_M, len(rays)).astype(np.float32)
    intensity = np.clip(reflectance * incidence**0.5 * 110, 0, 255)
    returned, distances, intensity = _in_the_air(returned, distances, intensity, stage.conditions, rng)
    points_city = rays[:, :3] + directions * distances[:, None]
    rings = np.tile(np.arange(RINGS), COLUMNS)
    cloud = np.column_stack(
        [city_from_lidar.inverse().apply(points_city[returned]), np.floor(intensity[returned]), rings[returned]]
    )
    return cloud.astype(np.float32)


def column_times(end: float) -> np.ndarray:
    """When each column of the turn that ends at `end` fires [s]."""
    return end - SWEEP_US / 1e6 * (1 - np.arange(COLUMNS) / COLUMNS)


@cache
def beams() -> np.ndarray:
    """Unit directions (columns, rings, 3) in the lidar's frame."""
    azimuths = np.radians(azimuth_deg(np.arange(COLUMNS)))[:, None]
    elevations = np.radians(ELEVATIONS_DEG)[None]
    flat = np.cos(elevations)
    return np.stack(np.broadcast_arrays(flat * np.cos(azimuths), flat * np.sin(azimuths), np.sin(elevations)), axis=-1)


def _rays(stage: Stage, end: float) -> tuple[np.ndarray, Transform]:
    """Rays (columns x rings, 6) in the city, and `city_from_lidar` at the end."""
    rotations, translations = ego_poses(stage.ego, np.r_[column_times(end), end])
    turned = rotations @ EGO_FROM_LIDAR.rotation
    origins = rotations @ EGO_FROM_LIDAR.translation + translations
    directions = np.einsum("cij,crj->cri", turned[:-1], beams())
    rays = np.concatenate([np.broadcast_to(origins[:-1, None], directions.shape), directions], axis=2)
    return np.ascontiguousarray(rays.reshape(-1, 6), np.float32), Transform(turned[-1], origins[-1])


def _nearest(stage: Stage, rays: np.ndarray, end: float) -> tuple[Hits, np.ndarray, np.ndarray]:
    """The nearer of what stands and what moves, and its kind and colour."""
    hits = stage.static.caster.first_hits(rays)
    rows = np.where(np.isfinite(hits.distances), hits.triangles, 0)
    kinds, colours = stage.static.surfaces.kinds[rows], stage.static.surfaces.colours[rows]
    hits = Hits(*(array.copy() for array in hits))
    slices = np.array_split(np.arange(COLUMNS), SLICES)
    times = np.array([column_times(end)[columns].mean() for columns in slices])
    poses = np.array([agent.motion.poses(times) for agent in stage.moving]).reshape(-1, SLICES, 3)
    for number, columns in enumerate(slices):
        part = slice(columns[0] * RINGS, (columns[-1] + 1) * RINGS)
        time, here = float(times[number]), _swept_over(stage.moving, poses[:, number], rays[part])
        agents = [stage.moving[k] for k in here]
        may_meet = _may_meet(rays[part], hits.distances[part], agents, poses[here, number], time)
        agents, here = [agents[k] for k in np.flatnonzero(may_meet.any(axis=0))], here[may_meet.any(axis=0)]
        if agents:
            rows = part.start + np.flatnonzero(may_meet.any(axis=1))
            found = caster_of(agents, time, poses[here, number]).first_hits(rays[rows])
            _take_nearer(hits, kinds, colours, rows, found, agents)
    return hits, kinds, colours


def _may_meet(
    rays: np.ndarray, distances: np.ndarray, agents: Sequence[Agent], poses: np.ndarray, time: float
) -> np.ndarray:
    """Which rays (K, 6) may meet which agents before they go these distances -> (K, M) bool: a ball holds each agent.

    Most agents are behind houses, and most rays miss all: neither needs the ray caster.
    """
    heights = [agent.ground(time) + agent.model.size[2] / 2 for agent in agents]
    middles = np.column_stack([poses[:, :2], heights]) - rays[len(rays) // 2, :3]
    radii = np.array([math.hypot(*agent.model.size) / 2 + BALL_MARGIN_M for agent in agents])
    along = rays[:, 3:] @ middles.T.astype(np.float32)
    aside = (middles**2).sum(axis=1) - along**2
    return (aside < radii**2) & (along > -radii) & (along - radii < distances[:, None])


def _take_nearer(
    hits: Hits, kinds: np.ndarray, colours: np.ndarray, rows: np.ndarray, found: Hits, agents: Sequence[Agent]
) -> None:
    nearer = np.flatnonzero(found.distances < hits.distances[rows])
    rows, triangles = rows[nearer], found.triangles[nearer]
    hits.distances[rows], hits.normals[rows] = found.distances[nearer], found.normals[nearer]
    kinds[rows] = np.concatenate([agent.model.mesh.kinds for agent in agents])[triangles]
    colours[rows] = np.concatenate([agent.model.mesh.colours for agent in agents])[triangles]


def _swept_over(agents: Sequence[Agent], poses: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Rows of those agents whom a slice of the turn can hit, from their poses (M, 3)."""
    origin, middle = rays[0, :2], rays[len(rays) // 2, 3:5]
    half_slice = np.pi / SLICES + 0.03
    radii = np.array([math.hypot(*agent.model.size[:2]) / 2 for agent in agents])
    offsets = poses[:, :2] - origin
    distances = np.maximum(np.hypot(offsets[:, 0], offsets[:, 1]), 1e-6)
    apart = np.arccos(np.clip(offsets @ middle / (distances * math.hypot(*middle)), -1, 1))
    ahead = apart < half_slice + np.arcsin(np.minimum(radii / distances, 1))
    return np.flatnonzero((distances < radii + 1) | (ahead & (distances < AGENT_REACH_M)))


def _returned(
    distances: np.ndarray,
    incidence: np.ndarray,
    kinds: np.ndarray,
    colours: np.ndarray,
    conditions: Conditions,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Which pulses come back, and the reflectance that each met."""
    base, by_colour, gloss, wet, through = lidar_responses()[kinds].T
    reflectance = (base + by_colour * colours.mean(axis=1)) * (1 - conditions.wet * (1 - wet))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        light = reflectance * incidence**gloss * np.exp(-2 * conditions.lidar_haze * distances) / distances**2
    threshold = THRESHOLD * np.exp(rng.normal(0, FLICKER, len(distances)))
    passed = rng.random(len(distances)) < through
    stray = rng.random(len(distances)) < 0.01
    return (light > threshold) & (distances < RANGE_M) & (distances > 0.9) & ~passed & ~stray, reflectance


def _in_the_air(
    returned: np.ndarray, distances: np.ndarray, intensity: np.ndarray, conditions: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rain and fog send some pulses back before they reach anything."""
    depth = rng.exponential(5.0, len(distances)).astype(np.float32) + 1.2
    share = 2.5 * conditions.lidar_haze
    early = (rng.random(len(distances)) < share) & (depth < distances)
    distances = np.where(early, depth, distances)
    return returned | early, distances, np.where(early, rng.integers(0, 4, len(distances)), intensity)
