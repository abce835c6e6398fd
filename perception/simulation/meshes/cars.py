"""Cars, pickups and vans: a lofted body, a glass house on it, wheels, lamps that tell front from back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.simulation.geometry import Mesh, box, cylinder, loft, merged, rod
from perception.simulation.looks import (
    DARK_STEEL,
    HEADLIGHT,
    PLATE,
    RUBBER,
    STEEL,
    TAILLIGHT,
    TRIM,
    WINDOW,
    Kind,
    Look,
    from_srgb,
)
from perception.simulation.meshes.model import Model, model

PAINTS = (  # how often, and which colour: dark ones are common, and return little to a LiDAR
    (0.24, from_srgb(22, 22, 25)),
    (0.14, from_srgb(58, 60, 64)),
    (0.16, from_srgb(226, 227, 226)),
    (0.14, from_srgb(160, 163, 168)),
    (0.09, from_srgb(26, 40, 82)),
    (0.08, from_srgb(140, 20, 24)),
    (0.04, from_srgb(36, 70, 50)),
    (0.04, from_srgb(196, 160, 40)),
    (0.04, from_srgb(96, 74, 58)),
    (0.03, from_srgb(60, 120, 170)),
)


@dataclass(frozen=True)
class Shape:
    """Proportions of a kind of car; x runs from the front bumper (0) to the rear (1)."""

    length: tuple[float, float]  # m, from and to
    width: tuple[float, float]
    height: tuple[float, float]
    bonnet: float  # height of the bonnet as a share of the car's
    belt: float  # height where the windows begin
    cowl: float  # where the windscreen begins at the belt
    roof: tuple[float, float]  # where the roof begins and ends
    tail: float  # where the rear window ends at the belt; behind it lies the boot
    boot: float  # height of the boot's lid


SHAPES = {
    "sedan": Shape((4.4, 5.0), (1.78, 1.92), (1.40, 1.50), 0.60, 0.64, 0.27, (0.43, 0.70), 0.86, 0.66),
    "hatch": Shape((3.6, 4.3), (1.66, 1.82), (1.44, 1.58), 0.60, 0.63, 0.24, (0.41, 0.86), 0.97, 0.62),
    "estate": Shape((4.5, 4.9), (1.78, 1.90), (1.45, 1.55), 0.59, 0.63, 0.26, (0.42, 0.90), 0.98, 0.62),
    "suv": Shape((4.3, 5.0), (1.82, 2.02), (1.62, 1.86), 0.60, 0.62, 0.25, (0.40, 0.88), 0.97, 0.61),
    "minivan": Shape((4.6, 5.2), (1.85, 2.02), (1.72, 1.98), 0.54, 0.57, 0.15, (0.34, 0.93), 0.99, 0.56),
}


def paint(rng: np.random.Generator) -> Look:
    """A car's colour."""
    shares = np.array([share for share, _ in PAINTS])
    colour = np.array(PAINTS[rng.choice(len(PAINTS), p=shares / shares.sum())][1])
    return Look(Kind.PAINT, tuple(np.clip(colour * rng.uniform(0.8, 1.2), 0, 1)), float(rng.random()))


def car(rng: np.random.Generator) -> Model:
    """A passenger car of any shape."""
    name = str(rng.choice(list(SHAPES), p=[0.32, 0.24, 0.10, 0.26, 0.08]))
    shape, colour = SHAPES[name], paint(rng)
    length, width, height = (rng.uniform(*span) for span in (shape.length, shape.width, shape.height))
    if rng.random() < 0.06:
        colour = Look(Kind.PAINT, from_srgb(222, 170, 20), colour.style)
    parts = [_body(shape, length, width, height, colour), _house(shape, length, width, height, colour)]
    parts += [wheels(length, width, 0.19 * height + 0.05, (0.19, 0.80)), _face(length, width, height, shape)]
    if colour.colour == from_srgb(222, 170, 20):  # a taxi
        parts.append(
            box((0.28, 0.7, 0.14), (length * 0.02, 0, height + 0.06), Look(Kind.LAMP, from_srgb(240, 230, 170)))
        )
    elif name in ("suv", "estate") and rng.random() < 0.5:
        parts += [
            rod((-0.3 * length, y, height + 0.03), (0.05 * length, y, height + 0.03), 0.025, TRIM) for y in (-0.6, 0.6)
        ]
    return model("vehicle.car", parts)


def pickup(rng: np.random.Generator) -> Model:
    """A pickup, which nuScenes counts as a truck."""
    length, width, height = rng.uniform(5.1, 5.9), rng.uniform(1.88, 2.05), rng.uniform(1.75, 1.95)
    shape = Shape((0, 0), (0, 0), (0, 0), 0.60, 0.62, 0.27, (0.38, 0.56), 0.62, 0.60)
    colour = paint(rng)
    parts = [_body(shape, length, width, height, colour), _house(shape, length, width, height, colour)]
    parts += [wheels(length, width, 0.21 * height, (0.18, 0.79)), _face(length, width, height, shape)]
    bed = box((0.34 * length, width - 0.25, 0.02), (-0.32 * length, 0, 0.605 * height), TRIM)
    sides = [
        box((0.36 * length, 0.08, 0.14), (-0.31 * length, y, 0.63 * height), colour) for y in _both(width / 2 - 0.06)
    ]
    parts += [bed, *sides, box((0.06, width - 0.1, 0.14), (-0.49 * length, 0, 0.63 * height), colour)]
    return model("vehicle.truck", parts)


def delivery_van(rng: np.random.Generator) -> Model:
    """A box-bodied van; without windows behind the doors it counts as a truck."""
    length, width, height = rng.uniform(5.2, 6.4), rng.uniform(1.98, 2.12), rng.uniform(2.3, 2.75)
    shape = Shape((0, 0), (0, 0), (0, 0), 0.42, 0.46, 0.10, (0.25, 0.99), 0.999, 0.45)
    colour = paint(rng) if rng.random() < 0.4 else Look(Kind.PAINT, from_srgb(230, 231, 230))
    parts = [_body(shape, length, width, height, colour), _house(shape, length, width, height, colour)]
    blind = box(
        (0.62 * length, width * 0.975, 0.52 * height), (-0.185 * length, 0, 0.72 * height), colour, (0.99, 0.93)
    )
    poster = Look(Kind.POSTER, colour.colour, float(rng.random()))
    signs = [
        box((0.4 * length, 0.02, 0.32 * height), (-0.18 * length, y, 0.66 * height), poster)
        for y in _both(width * 0.485)
    ]
    parts += [blind, *(signs if rng.random() < 0.6 else [])]
    parts += [wheels(length, width, 0.35, (0.16, 0.80)), _face(length, width, height, shape)]
    return model("vehicle.truck", parts)


def wheels(length: float, width: float, radius: float, axles: Sequence[float]) -> Mesh:
    """Wheels in dark arches at shares of the length from the front."""
    hub = STEEL
    parts = []
    for x in (length * (0.5 - axle) for axle in axles):
        parts.append(cylinder(radius * 1.16, width - 0.04, (x, 0, radius * 1.06), TRIM, "y", 14))
        for y in _both(width / 2 - 0.11):
            parts.append(cylinder(radius, 0.24, (x, y, radius), RUBBER, "y", 14))
            parts.append(cylinder(radius * 0.6, 0.26, (x, y, radius), hub, "y", 8))
    return merged(parts)


def _both(y: float) -> tuple[float, float]:
    return (y, -y)


def _body(shape: Shape, length: float, width: float, height: float, colour: Look) -> Mesh:
    """The lower body, lofted from bumper to bumper."""
    stations = (  # share of the length, of the width, bottom and top as shares of the height
        (0.000, 0.80, 0.26, 0.42),
        (0.012, 0.90, 0.17, 0.47),
        (0.050, 0.97, 0.14, shape.bonnet * 0.90),
        (shape.cowl * 0.8, 1.0, 0.13, shape.bonnet),
        (shape.cowl, 1.0, 0.13, shape.belt),
        (shape.tail, 1.0, 0.13, shape.belt),
        (min(shape.tail + 0.03, 0.985), 0.99, 0.14, shape.boot),
        (0.988, 0.95, 0.18, shape.boot * 0.97),
        (1.000, 0.88, 0.24, shape.boot * 0.88),
    )
    rings = []
    for along, share, low, top in stations:
        half, bottom, upper = width / 2 * share, low * height, top * height
        side = [(0.94, bottom), (1.0, bottom + 0.3 * (upper - bottom)), (0.985, upper - 0.08), (0.88, upper)]
        left = [(y * half, z) for y, z in side]
        ring = left + [(-y, z) for y, z in reversed(left)]
        rings.append(np.array([((0.5 - along) * length, y, z) for y, z in ring]))
    return loft(rings, colour)


def _house(shape: Shape, length: float, width: float, height: float, colour: Look) -> Mesh:
    """Windows, pillars and roof."""
    belt, half_low, half_high = shape.belt * height - 0.03, 0.44 * width, 0.365 * width
    if shape.roof[1] > 0.95:
        half_high = 0.43 * width
    low = [(0.5 - shape.cowl) * length, (0.5 - shape.tail) * length]
    high = [(0.5 - shape.roof[0]) * length, (0.5 - shape.roof[1]) * length]
    rings = [
        np.array([(front, half, z), (back, half, z), (back, -half, z), (front, -half, z)])
        for (front, back), half, z in ((low, half_low, belt), (high, half_high, height - 0.05))
    ]
    lid = [rings[1] + (0, 0, -0.01), rings[1] * (1, 0.93, 1) + (0, 0, 0.05)]
    pillars = [rod(rings[0][k], rings[1][k], 0.035, colour, 5) for k in range(4)]
    for share in (0.45, 0.8):
        ends = [ring[0] * (1 - share) + ring[1] * share for ring in rings]
        pillars += [rod(ends[0] * (1, side, 1), ends[1] * (1, side, 1), 0.04, colour, 5) for side in (1, -1)]
    rails = [rod(rings[1][a], rings[1][b], 0.045, colour, 5) for a, b in ((0, 1), (2, 3))]
    mirror_x = (0.5 - shape.cowl - 0.05) * length
    mirrors = [box((0.12, 0.2, 0.13), (mirror_x, y, belt + 0.1), colour) for y in _both(0.53 * width)]
    return merged([loft(rings, WINDOW), loft(lid, colour), *pillars, *rails, *mirrors])


def _face(length: float, width: float, height: float, shape: Shape) -> Mesh:
    """Headlights and grille in front, tail lights behind, a plate on both ends."""
    front, back = length / 2, -length / 2
    low, high = 0.45 * shape.bonnet / 0.6 * height, shape.boot * 0.84 * height
    parts = []
    for y in _both(0.36 * width):
        parts.append(box((0.10, 0.34, 0.13), (front - 0.055, y, low), HEADLIGHT, (1, 0.8)))
        parts.append(box((0.08, 0.30, 0.17), (back + 0.05, y * 1.08, high), TAILLIGHT))
    parts.append(box((0.06, 0.42 * width, 0.16), (front - 0.02, 0, low - 0.02), TRIM))
    parts.append(box((0.06, 0.74 * width, 0.12), (front - 0.015, 0, 0.25 * height), TRIM))
    parts.append(box((0.05, 0.80 * width, 0.13), (back + 0.02, 0, 0.26 * height), DARK_STEEL))
    parts.append(box((0.03, 0.50, 0.11), (front + 0.005, 0, 0.31 * height), PLATE))
    parts.append(box((0.03, 0.50, 0.11), (back, 0, high * 0.82), PLATE))
    return merged(parts)
