"""What annotators would say of a keyframe: which objects, how many LiDAR points each has, how much of it is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.transform import Transform
from perception.simulation.agents import Agent
from perception.simulation.camera import Shot
from perception.simulation.stage import Stage, caster_of

REACH_M = 60.0  # from the car
MOST_RAYS = 18  # an object's picture is probed on a grid of at most this many pixels a side
VISIBLE_SHARE = 1 / 36_000  # of an image's pixels: what shows less of itself isn't seen
LEVELS = ((0.4, "1"), (0.6, "2"), (0.8, "3"), (1.01, "4"))  # nuScenes' visibility tokens by the share that is seen


@dataclass(frozen=True)
class Label:
    """One object in one keyframe."""

    agent: Agent
    city_from_box: Transform
    lidar_points: int
    visibility: str  # nuScenes' token, "1" to "4"
    attribute: str


def city_from_box(agent: Agent, time: float) -> Transform:
    """Where an agent's box is: x forward, z up, origin in its middle."""
    x, y, heading = agent.pose(time)
    cos, sin = np.cos(heading), np.sin(heading)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return Transform(rotation, (x, y, agent.ground(time) + agent.model.size[2] / 2))


def annotate(stage: Stage, time: float, points_city: np.ndarray, shots: Sequence[Shot]) -> list[Label]:
    """The objects that a keyframe's cloud or one of its images shows."""
    here, labels = stage.ego.poses(time)[:2], []
    for agent in stage.agents:
        if np.hypot(*(agent.pose(time)[:2] - here)) > REACH_M:
            continue
        pose = city_from_box(agent, time)
        count = int(inside(pose, agent.model.size, points_city).sum())
        pixels, share = _seen(agent, shots)
        if count or pixels >= VISIBLE_SHARE * shots[0].owners.size:
            level = next(token for limit, token in LEVELS if share < limit)
            labels.append(Label(agent, pose, count, level, agent.attribute(time)))
    return labels


def inside(city_from_box: Transform, size: tuple[float, float, float], points_city: np.ndarray) -> np.ndarray:
    """Which points (N, 3) lie in a box of this length, width and height."""
    x, y, _ = city_from_box.translation
    near = (np.abs(points_city[:, 0] - x) < max(size)) & (np.abs(points_city[:, 1] - y) < max(size))
    within = np.zeros(len(points_city), bool)
    local = city_from_box.inverse().apply(points_city[near])
    within[near] = (np.abs(local) <= np.array(size) / 2).all(axis=1)
    return within


def _seen(agent: Agent, shots: Sequence[Shot]) -> tuple[float, float]:
    """About how many pixels show an agent, and which share that is of those that would if nothing else were there."""
    alone, visible = 0.0, 0.0
    for shot in shots:
        probe = _probe(agent, shot)
        if probe is None:
            continue
        u, v, area = probe
        directions = shot.city_from_camera.rotate(shot.lens.directions(u.astype(float), v.astype(float)))
        origins = np.broadcast_to(shot.city_from_camera.translation, directions.shape)
        caster = caster_of([agent], shot.time, [agent.pose(shot.time)])
        hits = caster.first_hits(np.concatenate([origins, directions], axis=1).astype(np.float32))
        alone += area * np.isfinite(hits.distances).sum()
        visible += area * (shot.owners[v, u] == agent.number).sum()
    return visible, min(visible / alone, 1.0) if alone else 0.0


def _probe(agent: Agent, shot: Shot) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Pixels u, v (K,) all over the agent's box, and how many pixels each stands for; None where it isn't in view."""
    length, width, height = agent.model.size
    middle = np.array([*agent.pose(shot.time)[:2], agent.ground(shot.time) + height / 2])
    depth = (middle - shot.city_from_camera.translation) @ shot.city_from_camera.rotation[:, 2]
    if depth + math.hypot(length, width, height) / 2 < 0.3:  # behind the camera, as most are
        return None
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    corners = shot.city_from_camera.inverse().apply(
        city_from_box(agent, shot.time).apply(signs * (length, width, height))
    )
    if corners[:, 2].max() < 0.3:
        return None
    flat = corners[:, :2] / np.maximum(corners[:, 2:], 0.3) * shot.lens.focal + (shot.lens.cx, shot.lens.cy)
    last = np.array([shot.lens.width, shot.lens.height]) - 1
    low, high = np.clip(np.floor(flat.min(axis=0)), 0, last), np.clip(np.ceil(flat.max(axis=0)), 0, last)
    if (flat.max(axis=0) < 0).any() or (flat.min(axis=0) > last).any():
        return None
    step = np.maximum(np.ceil((high - low + 1) / MOST_RAYS), 1).astype(int)
    u, v = np.meshgrid(np.arange(low[0], high[0] + 1, step[0]), np.arange(low[1], high[1] + 1, step[1]))
    return u.ravel().astype(int), v.ravel().astype(int), float(step.prod())
