"""Triangles that carry their material, and the solids everything is built from.

Solids stand in their own frame: x forward, y left, z up. Textures are laid on in metres, along the two axes that a
triangle faces least, so that what is built upright is textured upright.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from perception.simulation.looks import Kind, Look

LIMBS = 4  # of a figure that walks
CREASE_COSINE = np.float32(np.cos(np.radians(40)))  # edges sharper than twice this angle stay sharp


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a look each."""

    vertices: np.ndarray  # (V, 3) float32 [m]
    triangles: np.ndarray  # (T, 3) int32
    normals: np.ndarray  # (T, 3, 3) float32, unit, one a corner
    uvs: np.ndarray  # (T, 3, 2) float32 [m]
    kinds: np.ndarray  # (T,) uint8
    colours: np.ndarray  # (T, 3) float32, linear albedo
    styles: np.ndarray  # (T,) float32
    limbs: np.ndarray  # (V,) int8: 0 for the body, else which limb swings the vertex

    def __len__(self) -> int:
        return len(self.triangles)

    def moved(self, x: float = 0, y: float = 0, z: float = 0, yaw: float = 0, scale: float = 1) -> Mesh:
        """The same, scaled, turned about z, then shifted [m, rad]."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        return self.turned(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), (x, y, z), scale)

    def pitched(self, angle: float, pivot: Sequence[float] = (0, 0, 0)) -> Mesh:
        """The same, turned about the y axis through `pivot`: positive tips the front down [rad]."""
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        return self.turned(rotation, np.asarray(pivot) - rotation @ np.asarray(pivot, float))

    def rolled(self, angle: float, pivot: Sequence[float] = (0, 0, 0)) -> Mesh:
        """The same, turned about the x axis through `pivot`: positive tips to the right [rad]."""
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        return self.turned(rotation, np.asarray(pivot) - rotation @ np.asarray(pivot, float))

    def turned(self, rotation: np.ndarray, shift: Sequence[float], scale: float = 1) -> Mesh:
        """The same under any rotation (3, 3), then shifted."""
        rotation = np.asarray(rotation, np.float32)
        vertices = (self.vertices * np.float32(scale)) @ rotation.T + np.asarray(shift, np.float32)
        return replace(self, vertices=vertices, normals=self.normals @ rotation.T, uvs=self.uvs * np.float32(scale))

    def swinging(self, limb: int) -> Mesh:
        """The same, as one limb of a figure."""
        return replace(self, limbs=np.full(len(self.vertices), limb, np.int8))

    @cached_property
    def limb_rows(self) -> list[np.ndarray]:
        """Which vertices the body has, then each limb, by the limbs' numbers."""
        return [np.flatnonzero(self.limbs == limb) for limb in range(LIMBS + 1)]

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Its lowest and highest x, y, z."""
        return self.vertices.min(axis=0), self.vertices.max(axis=0)


def make_mesh(vertices: np.ndarray, triangles: np.ndarray, look: Look | Sequence[Look], smooth: bool = False) -> Mesh:
    """A mesh from corners and their indices; of one look, or of several that take equally many triangles in turn."""
    vertices = np.asarray(vertices, np.float32).reshape(-1, 3)
    triangles = np.asarray(triangles, np.int32).reshape(-1, 3)
    looks = [look] if isinstance(look, Look) else look
    times = len(triangles) // max(len(looks), 1)
    corners = vertices[triangles]
    (ax, ay, az), (bx, by, bz) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    crosses = np.stack([x, y, z], axis=1)
    flat = crosses / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)[:, None]
    normals = np.repeat(flat[:, None], 3, axis=1)
    return Mesh(
        vertices,
        triangles,
        _smoothed(normals, triangles, crosses, len(vertices)) if smooth else normals,
        _laid_out(corners, flat),
        np.repeat(np.array([entry.kind for entry in looks], np.uint8), times),
        np.repeat(np.array([entry.colour for entry in looks], np.float32).reshape(-1, 3), times, axis=0),
        np.repeat(np.array([entry.style for entry in looks], np.float32), times),
        np.zeros(len(vertices), np.int8),
    )


def _smoothed(normals: np.ndarray, triangles: np.ndarray, crosses: np.ndarray, count: int) -> np.ndarray:
    """A corner's normal is its vertex's mean, unless the edge there is sharp."""
    sums = np.zeros((count, 3))
    np.add.at(sums, triangles.ravel(), np.repeat(crosses, 3, axis=0))
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    means = means[triangles]
    round_there = (means * normals).sum(axis=2, keepdims=True) > CREASE_COSINE
    return np.where(round_there, means, normals).astype(np.float32)


def _laid_out(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    facing = np.abs(normals).argmax(axis=1)
    axes = np.array([[1, 2], [0, 2], [0, 1]])[facing]
    rows = np.arange(len(corners))[:, None, None]
    return corners[rows, np.arange(3)[:, None], axes[:, None, :]]


def merged(meshes: Iterable[Mesh]) -> Mesh:
    """Many meshes as one."""
    meshes = list(meshes)
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    shifted = [mesh.triangles + np.int32(offset) for mesh, offset in zip(meshes, offsets, strict=True)]
    names = ("vertices", "normals", "uvs", "kinds", "colours", "styles", "limbs")
    arrays = {name: np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in names}
    return Mesh(triangles=np.concatenate(shifted), **arrays)


def box(
    size: Sequence[float], center: Sequence[float], look: Look, top: Sequence[float] = (1, 1), lean: float = 0
) -> Mesh:
    """A box [m] whose upper face is `top` times as long and wide as the lower, and shifted forward by `lean`."""
    length, width, height = size
    lower = _BOX_CORNERS * (length, width, -height)
    upper = _BOX_CORNERS * (length * top[0], width * top[1], height) + (lean, 0, 0)
    return make_mesh(np.concatenate([lower, upper]) + np.asarray(center), _BOX_TRIANGLES, look)


_BOX_CORNERS = np.array([(0.5, 0.5, 0.5), (-0.5, 0.5, 0.5), (-0.5, -0.5, 0.5), (0.5, -0.5, 0.5)])
_BOX_TRIANGLES = np.array([
    (0, 4, 5), (0, 5, 1), (1, 5, 6), (1, 6, 2), (2, 6, 7), (2, 7, 3),
    (3, 7, 4), (3, 4, 0), (4, 7, 6), (4, 6, 5), (0, 1, 2), (0, 2, 3),
], np.int32)  # fmt: skip


def quad(corners: Sequence[Sequence[float]], look: Look) -> Mesh:
    """A flat piece with four corners, counter-clockwise as seen from its front."""
    return make_mesh(corners, [(0, 1, 2), (0, 2, 3)], look)


def tube(profile: Sequence[tuple[float, float]], look: Look | Sequence[Look], sides: int = 10) -> Mesh:
    """A solid of revolution about z from (radius, height) pairs, lowest first; one look, or one a ring."""
    angles = 2 * np.pi * np.arange(sides) / sides
    cos, sin = np.cos(angles), np.sin(angles)
    rings = [_ring(r * cos, r * sin, z) for r, z in profile]
    looks = [look] * (len(rings) - 1) if isinstance(look, Look) else list(look)
    return merged([_shell(rings, looks), _cap(rings[0], looks[0], up=False), _cap(rings[-1], looks[-1], up=True)])


def cylinder(
    radius: float, length: float, center: Sequence[float], look: Look, axis: str = "z", sides: int = 12
) -> Mesh:
    """A cylinder along an axis, x, y or z."""
    reach = np.zeros(3)
    reach["xyz".index(axis)] = length / 2
    return rod(np.asarray(center) - reach, np.asarray(center) + reach, radius, look, sides)


def rod(start: Sequence[float], end: Sequence[float], radius: float, look: Look, sides: int = 6) -> Mesh:
    """A cylinder from one point to another."""
    start, axis = np.asarray(start, float), np.subtract(end, start)
    length = float(np.sqrt(axis @ axis))
    x, y, z = axis / length
    aside = np.array([y, -x, 0]) / np.hypot(x, y) if abs(z) < 0.9 else np.array([z, 0, -x]) / np.hypot(x, z)
    third = np.array([y * aside[2] - z * aside[1], z * aside[0] - x * aside[2], x * aside[1] - y * aside[0]])
    rotation = np.stack([aside, third, (x, y, z)], axis=1).astype(np.float32)
    unit = _unit_tube(sides)
    vertices = (unit.vertices * np.float32([radius, radius, length])) @ rotation.T + start.astype(np.float32)
    normals, count = unit.normals @ rotation.T, len(unit.triangles)
    return Mesh(
        vertices,
        unit.triangles,
        normals,
        _laid_out(vertices[unit.triangles], normals[:, 0]),
        np.full(count, look.kind, np.uint8),
        np.full((count, 3), look.colour, np.float32),
        np.full(count, look.style, np.float32),
        unit.limbs,
    )


@cache
def _unit_tube(sides: int) -> Mesh:
    return tube([(1, 0), (1, 1)], Look(Kind.PLAIN, (0, 0, 0)), sides)


def ball(radii: Sequence[float], center: Sequence[float], look: Look, sides: int = 10, rings: int = 7) -> Mesh:
    """An ellipsoid."""
    unit = _unit_ball(sides, rings)
    stretched = unit.vertices * np.asarray(radii, np.float32) + np.asarray(center, np.float32)
    return make_mesh(stretched, unit.triangles, look, smooth=True)


@cache
def _unit_ball(sides: int, rings: int) -> Mesh:
    polar = np.linspace(-np.pi / 2, np.pi / 2, rings)
    profile = [(float(np.cos(a)) + 1e-4, float(np.sin(a))) for a in polar]
    return tube(profile, Look(Kind.PLAIN, (0, 0, 0)), sides)


def loft(sections: Sequence[np.ndarray], look: Look | Sequence[Look]) -> Mesh:
    """A skin over closed outlines (K, 3) of equally many points, with both ends closed.

    Outlines run counter-clockwise seen from the end they lead to. One look, or one a step between outlines.
    """
    looks = [look] * (len(sections) - 1) if isinstance(look, Look) else list(look)
    caps = [_cap(sections[0], looks[0], up=False), _cap(sections[-1], looks[-1], up=True)]
    return merged([_shell(sections, looks), *caps])


def prism(outline: Sequence[tuple[float, float]], width: float, look: Look, y: float = 0.0) -> Mesh:
    """A convex outline (x, z), counter-clockwise with x to the right and z up, given a width along y."""
    outline = np.asarray(outline, float)
    sections = [np.c_[outline[:, 0], np.full(len(outline), y + side * width / 2), outline[:, 1]] for side in (1, -1)]
    return loft(sections, look)


def slab(outline: np.ndarray, bottom: float, top: float, side: Look, upper: Look) -> Mesh:
    """A convex outline (K, 2), counter-clockwise from above, raised from `bottom` to `top`."""
    rings = [_ring(outline[:, 0], outline[:, 1], z) for z in (bottom, top)]
    return merged([_shell(rings, [side]), _cap(rings[1], upper, up=True)])


def _shell(rings: Sequence[np.ndarray], looks: Sequence[Look]) -> Mesh:
    triangles = _between_rings(len(rings[0]), len(rings) - 1)
    return make_mesh(np.concatenate(rings), triangles, looks, smooth=True)


@cache
def _between_rings(count: int, steps: int) -> np.ndarray:
    here = np.arange(count, dtype=np.int32)
    after = (here + 1) % count
    one = np.concatenate([np.c_[here, after, after + count], np.c_[here, after + count, here + count]])
    return np.concatenate([one + np.int32(step * count) for step in range(steps)])


def _cap(ring: np.ndarray, look: Look, up: bool) -> Mesh:
    return make_mesh(np.concatenate([ring, ring.mean(axis=0, keepdims=True)]), _fan(len(ring), up), look)


@cache
def _fan(count: int, up: bool) -> np.ndarray:
    """Triangles between a ring's corners and its middle, which comes last."""
    here = np.arange(count, dtype=np.int32)
    fan = np.c_[np.full(count, count, np.int32), here, (here + 1) % count]
    return fan if up else np.ascontiguousarray(fan[:, ::-1])


def _ring(x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
    ring = np.empty((len(x), 3))
    ring[:, 0], ring[:, 1], ring[:, 2] = x, y, z
    return ring
