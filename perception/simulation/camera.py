"""Cameras: rays through pixels, light on what they meet, more rays where neighbours differ, then the film."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.transform import Transform
from perception.simulation.agents import Role
from perception.simulation.film import develop
from perception.simulation.looks import Kind
from perception.simulation.rig import Lens, ego_from_camera, ego_pose, lens
from perception.simulation.shading import (
    Buffer,
    Light,
    empty_buffer,
    facing_normals,
    light_of,
    shade,
    smoothed_openness,
    take_nearer,
)
from perception.simulation.stage import Built, Stage

REACH_M = 130.0  # movers farther away aren't drawn
AMBIENT_M, AMBIENT_RAYS, AMBIENT_UNTIL_M = 2.2, 2, 45.0  # how far ambient shade looks, with how many rays, up to where
AMBIENT_TILE = 5  # neighbours that look different ways; averaged over one tile, all ways are looked
EDGE = 0.04  # difference to a neighbour, as shown, from which a pixel gets more rays
MORE_RAYS = ((-0.25, -0.3), (0.3, -0.2), (0.05, 0.33))  # px from the pixel's centre
SKIN_M = 0.004  # how far off a surface the next ray starts


@dataclass(frozen=True, eq=False)
class Shot:
    """An image, and whose surface each pixel shows."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    owners: np.ndarray  # (H, W) int32: an agent's number, 0 for everything else
    time: float  # s
    city_from_camera: Transform
    lens: Lens


def shoot(stage: Stage, camera: str, size: tuple[int, int], time: float, rng: np.random.Generator) -> Shot:
    """What a camera sees at a time [s]."""
    optics = lens(camera, size)
    city_from_camera = ego_pose(stage.ego, time) @ ego_from_camera(camera)
    movers = stage.movers(time, city_from_camera.translation[:2], REACH_M)
    eye = _Eye(stage, movers, city_from_camera, optics, _light(stage, time, city_from_camera))
    v, u = np.mgrid[: optics.height, : optics.width].astype(np.float64)
    directions, buffer = eye.look(u.ravel(), v.ravel())
    openness = eye.openness(directions, buffer)
    linear = eye.light(directions, buffer, openness).reshape(optics.height, optics.width, 3)
    _refine(eye, linear, u, v, openness)
    owners = buffer.owners.reshape(optics.height, optics.width)
    return Shot(develop(linear, stage.conditions, rng), owners, time, city_from_camera, optics)


def _light(stage: Stage, time: float, city_from_camera: Transform) -> Light:
    """Lamps and headlights near the camera, when it is dark."""
    here = city_from_camera.translation
    if stage.conditions.dark < 0.5:
        return light_of(stage.conditions, time, np.zeros((0, 3)), np.zeros((0, 6)))
    lamps = stage.lamps[np.linalg.norm(stage.lamps - here, axis=1).argsort()[:14]]
    drivers = [agent for agent in stage.moving if agent.role in (Role.DRIVES, Role.RIDES)]
    drivers.sort(key=lambda agent: float(np.hypot(*(agent.pose(time)[:2] - here[:2]))))
    beams = [_beam(agent.pose(time), agent.model.size[0] / 2) for agent in drivers[:10]]
    return light_of(stage.conditions, time, lamps, np.array([*beams, _beam(stage.ego.poses(time), 3.0)]))


def _beam(pose: np.ndarray, ahead: float) -> np.ndarray:
    x, y, heading = pose
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([x + ahead * cos, y + ahead * sin, 0.7, 0.995 * cos, 0.995 * sin, -0.05])


class _Eye:
    """One camera at one instant."""

    def __init__(self, stage: Stage, movers: Built, city_from_camera: Transform, optics: Lens, light: Light) -> None:
        self._stage, self._movers, self._pose, self._optics, self._light = (
            stage,
            movers,
            city_from_camera,
            optics,
            light,
        )
        self._origin = city_from_camera.translation.astype(np.float32)

    def look(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Buffer]:
        """Rays through image points (N,) -> their directions (N, 3) in the city, and what they meet."""
        directions = self._pose.rotate(self._optics.directions(u, v)).astype(np.float32)
        rays = np.concatenate([np.broadcast_to(self._origin, directions.shape), directions], axis=1)
        buffer, everything = empty_buffer(len(rays)), np.arange(len(rays))
        for built in (self._stage.static, self._movers):
            hits = built.caster.first_hits(rays)
            take_nearer(buffer, everything, hits.distances, hits.triangles, hits.barycentric, built.surfaces)
        facing_normals(buffer, directions)
        return directions, buffer

    def openness(self, directions: np.ndarray, buffer: Buffer) -> np.ndarray:
        """How open each pixel (N,) is to the sky within a few metres: crevices and the ground under cars are dark."""
        height, width = self._optics.height, self._optics.width
        grid = np.arange(height * width).reshape(height, width)[::2, ::2]
        rows = grid.ravel()
        near = rows[buffer.distances[rows] < AMBIENT_UNTIL_M]
        blocked, points = np.zeros(len(near), np.float32), self._offset(directions, buffer, near)
        tile = (near // width // 2 % AMBIENT_TILE) * AMBIENT_TILE + near % width // 2 % AMBIENT_TILE
        for ray in range(AMBIENT_RAYS):
            # Added to the normal, points all over a sphere follow the cosine law.
            outwards = 1.02 * buffer.normals[near] + _SPHERE[tile * AMBIENT_RAYS + ray]
            blocked += self._blocked(points, outwards, AMBIENT_M)
        coarse = np.ones(height * width, np.float32)
        coarse[near] = 1 - blocked / AMBIENT_RAYS
        coarse = coarse.reshape(height, width)[::2, ::2]
        coarse = smoothed_openness(
            coarse,
            buffer.distances.reshape(height, width)[::2, ::2],
            buffer.normals.reshape(height, width, 3)[::2, ::2],
            AMBIENT_TILE // 2,
        )
        return _enlarged(coarse, (height, width)).ravel()

    def light(self, directions: np.ndarray, buffer: Buffer, openness: np.ndarray) -> np.ndarray:
        """Linear colour (N, 3) float32 of rays that were looked along."""
        sunlit = np.zeros(len(directions), np.float32)
        if max(self._light.sun) > 0:
            sun = self._light.sun_direction.astype(np.float32)
            lit = np.flatnonzero(
                np.isfinite(buffer.distances) & ((buffer.normals @ sun > 0) | (buffer.kinds == Kind.LEAF))
            )
            shadow = self._blocked(self._offset(directions, buffer, lit), np.broadcast_to(sun, (len(lit), 3)), np.inf)
            sunlit[lit] = 1 - shadow
        out = np.empty((len(directions), 3), np.float32)
        shade(self._origin, directions, buffer, sunlit, openness, 1 / self._optics.focal, self._light, out)
        return out

    def _offset(self, directions: np.ndarray, buffer: Buffer, rows: np.ndarray) -> np.ndarray:
        """Points just above what rays met."""
        points = self._origin + directions[rows] * buffer.distances[rows, None]
        return points + buffer.normals[rows] * (SKIN_M + 0.0002 * buffer.distances[rows, None])

    def _blocked(self, points: np.ndarray, directions: np.ndarray, farthest: float) -> np.ndarray:
        rays = np.ascontiguousarray(np.concatenate([points, directions], axis=1), np.float32)
        blocked = self._stage.static.caster.blocked(rays, farthest)
        rest = np.flatnonzero(~blocked)
        blocked[rest] = self._movers.caster.blocked(rays[rest], farthest)
        return blocked


def _sphere(count: int) -> np.ndarray:
    """Points (count, 3) spread evenly over the unit sphere, in an order that has no pattern (Fibonacci lattice)."""
    k = np.random.default_rng(0).permutation(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1).astype(np.float32)


_SPHERE = _sphere(AMBIENT_TILE**2 * AMBIENT_RAYS)


def _enlarged(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _refine(eye: _Eye, linear: np.ndarray, u: np.ndarray, v: np.ndarray, openness: np.ndarray) -> None:
    """Average more rays into the pixels that differ from a neighbour."""
    shown = linear / (linear + 0.5 * np.median(linear) + 1e-6)
    edges = np.zeros(linear.shape[:2], bool)
    for axis in (0, 1):
        differs = np.abs(np.diff(shown, axis=axis)).max(axis=2) > EDGE
        first, second = (
            ((slice(0, -1), slice(None)), (slice(1, None), slice(None)))
            if axis == 0
            else ((slice(None), slice(0, -1)), (slice(None), slice(1, None)))
        )
        edges[first] |= differs
        edges[second] |= differs
    rows = np.flatnonzero(edges.ravel())
    flat = linear.reshape(-1, 3)
    total = flat[rows].copy()
    for du, dv in MORE_RAYS:
        directions, buffer = eye.look(u.ravel()[rows] + du, v.ravel()[rows] + dv)
        total += np.minimum(eye.light(directions, buffer, openness[rows]), 12.0)
    flat[rows] = total / (1 + len(MORE_RAYS))
