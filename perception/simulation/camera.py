"""Cameras: rays through pixels, light on what they meet, more rays where neighbours differ, then the film."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.transform import Transform
from perception.simulation.agents import Role
from perception.simulation.film import develop
from perception.simulation.rig import Lens, ego_from_camera, ego_pose, lens, pixel_directions
from perception.simulation.shading import (
    Buffer,
    Light,
    edges,
    empty_buffer,
    facing,
    facing_normals,
    leaving_rays,
    light_of,
    shade,
    smoothed_openness,
    take_nearer,
)
from perception.simulation.sight import concerned, nearest_movers
from perception.simulation.stage import Built, Stage

AMBIENT_M, AMBIENT_RAYS, AMBIENT_UNTIL_M = 2.2, 2, 45.0  # how far ambient shade looks, with how many rays, up to where
AMBIENT_TILE = 5  # neighbours that look different ways; averaged over one tile, all ways are looked
EDGE = 0.04  # difference to a neighbour, as shown, from which a pixel gets more rays
MORE_RAYS = ((-0.25, -0.3), (0.3, -0.2), (0.05, 0.33))  # px from the pixel's centre


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
    movers = stage.built(concerned(stage, time, city_from_camera, optics, AMBIENT_M), time)
    eye = _Eye(stage, movers, city_from_camera, optics, _light(stage, time, city_from_camera))
    directions, buffer = eye.look(pixel_directions(optics), np.arange(optics.height * optics.width))
    openness = eye.openness(directions, buffer)
    linear = eye.light(directions, buffer, openness).reshape(optics.height, optics.width, 3)
    _refine(eye, linear, openness)
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
        self._nearest = nearest_movers(movers.bounds, city_from_camera, optics)

    def look(self, directions_camera: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, Buffer]:
        """Rays in directions (N, 3), each through one of the pixels (N,) -> the same in the city, what they meet."""
        rays = np.empty((len(pixels), 6), np.float32)
        rays[:, :3], rays[:, 3:] = self._origin, self._pose.rotate(directions_camera)
        directions, buffer = rays[:, 3:], empty_buffer(len(rays))
        hits = self._stage.static.caster.first_hits(rays)
        take_nearer(buffer, np.arange(len(rays)), *hits[:3], self._stage.static.surfaces)
        rows = np.flatnonzero(buffer.distances > self._nearest[pixels])  # the rest can't meet anyone who moves
        take_nearer(buffer, rows, *self._movers.caster.first_hits(rays[rows])[:3], self._movers.surfaces)
        facing_normals(buffer, directions)
        return directions, buffer

    def look_beside(self, pixels: np.ndarray, du: float, dv: float) -> tuple[np.ndarray, Buffer]:
        """The same, past the centres of pixels (N,)."""
        v, u = np.divmod(pixels, self._optics.width)
        return self.look(self._optics.directions(u + du, v + dv), pixels)

    def openness(self, directions: np.ndarray, buffer: Buffer) -> np.ndarray:
        """How open each pixel (N,) is to the sky within a few metres: crevices and the ground under cars are dark."""
        height, width = self._optics.height, self._optics.width
        grid = np.arange(height * width).reshape(height, width)[::2, ::2]
        rows = grid.ravel()
        near = rows[buffer.distances[rows] < AMBIENT_UNTIL_M]
        blocked = np.zeros(len(near), np.float32)
        tile = (near // width // 2 % AMBIENT_TILE) * AMBIENT_TILE + near % width // 2 % AMBIENT_TILE
        for ray in range(AMBIENT_RAYS):
            # Added to the normal, points all over a sphere follow the cosine law.
            rays = leaving_rays(self._origin, directions, buffer, near, 1.02, _SPHERE, tile * AMBIENT_RAYS + ray)
            blocked += self._blocked(rays, AMBIENT_M)
        coarse = np.ones(height * width, np.float32)
        coarse[near] = 1 - blocked / AMBIENT_RAYS
        coarse = coarse.reshape(height, width)[::2, ::2]
        coarse = smoothed_openness(
            coarse,
            buffer.distances.reshape(height, width)[::2, ::2],
            buffer.normals.reshape(height, width, 3)[::2, ::2],
            AMBIENT_TILE // 2,
            AMBIENT_UNTIL_M,
        )
        return _enlarged(coarse, (height, width)).ravel()

    def light(self, directions: np.ndarray, buffer: Buffer, openness: np.ndarray) -> np.ndarray:
        """Linear colour (N, 3) float32 of rays that were looked along."""
        sunlit = np.zeros(len(directions), np.float32)
        if max(self._light.sun) > 0:
            sun = self._light.sun_direction.astype(np.float32)
            lit = facing(sun, buffer)
            towards = leaving_rays(self._origin, directions, buffer, lit, 0.0, sun[None], np.zeros(len(lit), np.int64))
            sunlit[lit] = ~self._blocked(towards, np.inf)
        out = np.empty((len(directions), 3), np.float32)
        shade(self._origin, directions, buffer, sunlit, openness, 1 / self._optics.focal, self._light, out)
        return out

    def _blocked(self, rays: np.ndarray, farthest: float) -> np.ndarray:
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


def _median(values: np.ndarray) -> np.float32:
    """Of evenly many numbers: quicker than np.median, and the same."""
    half = values.size // 2
    parted = np.partition(values, half, axis=None)
    return np.mean([parted[:half].max(), parted[half]])


def _refine(eye: _Eye, linear: np.ndarray, openness: np.ndarray) -> None:
    """Average more rays into the pixels that differ from a neighbour."""
    middle = np.float32(0.5 * _median(linear))
    rows = np.flatnonzero(edges(linear, middle, np.float32(EDGE)))
    flat = linear.reshape(-1, 3)
    total = flat[rows].copy()
    for du, dv in MORE_RAYS:
        directions, buffer = eye.look_beside(rows, du, dv)
        total += np.minimum(eye.light(directions, buffer, openness[rows]), 12.0)
    flat[rows] = total / (1 + len(MORE_RAYS))
