"""Flat-faced convex solids, of which everything in the street is made. Lengths in metres, z up from the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.transform import Transform

RGB = tuple[int, int, int]
Span = tuple[float, float]
Size = tuple[float, float, float]  # length, width, height [m]

WHITE, RED, ORANGE = (232, 232, 228), (206, 56, 46), (236, 112, 40)
GLASS, DARK, STEEL, LAMP = (58, 72, 88), (50, 52, 58), (132, 136, 142), (246, 240, 214)


@dataclass(frozen=True)
class Face:
    """A flat convex polygon of one colour."""

    corners: np.ndarray  # (K, 3) [m], counter-clockwise seen from outside
    colour: RGB

    @property
    def normal(self) -> np.ndarray:
        """The unit vector (3,) that points outwards."""
        a, b, c = self.corners[:3]
        normal = np.cross(b - a, c - a)
        return normal / np.linalg.norm(normal)

    def moved(self, target_from_source: Transform) -> Face:
        """The same face elsewhere."""
        return replace(self, corners=target_from_source.apply(self.corners))

    def turned_away_from(self, point: np.ndarray) -> Face:
        """The same face, its outside where the point (3,) isn't."""
        inwards = self.normal @ (self.corners[0] - point) < 0
        return replace(self, corners=self.corners[::-1]) if inwards else self


Solid = tuple[Face, ...]  # closed and convex


def between(lower: np.ndarray, upper: np.ndarray, colour: RGB, top: RGB | None = None) -> Solid:
    """The solid between two rings (K, 3) whose edges are parallel, pair by pair."""
    nexts = [np.roll(ring, -1, axis=0) for ring in (lower, upper)]
    sides = np.stack([lower, nexts[0], nexts[1], upper], axis=1)
    centre = np.concatenate([lower, upper]).mean(axis=0)
    faces = [Face(lower, colour), Face(upper, top or colour), *(Face(side, colour) for side in sides)]
    return tuple(face.turned_away_from(centre) for face in faces)


def block(x: Span, y: Span, z: Span, colour: RGB, top: RGB | None = None, lean: Size = (0, 0, 0)) -> Solid:
    """A block whose front, rear and both sides lean inwards by so many metres from bottom to top."""
    front, rear, side = lean
    lower = [(x[0], y[0], z[0]), (x[1], y[0], z[0]), (x[1], y[1], z[0]), (x[0], y[1], z[0])]
    inset = np.array([(rear, side), (-front, side), (-front, -side), (rear, -side)])
    upper = np.c_[np.array(lower)[:, :2] + inset, np.full(4, z[1])]
    return between(np.array(lower, float), upper, colour, top)


def slab(profile_xz: list[Span], y: Span, colour: RGB) -> Solid:
    """A convex outline in the x-z plane, extruded sideways."""
    x, z = np.array(profile_xz, float).T
    return between(np.c_[x, np.full(len(x), y[0]), z], np.c_[x, np.full(len(x), y[1]), z], colour)


def beam(start: Span, end: Span, thickness: float, y: Span, colour: RGB) -> Solid:
    """A straight bar between two points (x, z)."""
    along = np.subtract(end, start) / np.linalg.norm(np.subtract(end, start))
    across = np.array([-along[1], along[0]]) * thickness / 2
    return slab([start + across, start - across, end - across, end + across], y, colour)


def drum(x: float, y: float, z: Span, radii: Span, colour: RGB, sides: int = 8) -> Solid:
    """An upright drum or cone with its radius at the bottom and at the top."""
    angles = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    circle = np.c_[np.cos(angles), np.sin(angles), np.zeros(sides)]
    lower, upper = (np.array([x, y, height]) + radius * circle for height, radius in zip(z, radii, strict=True))
    return between(lower, upper, colour)
