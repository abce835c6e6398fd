"""Trucks, buses, trailers and building machines."""

from __future__ import annotations

import numpy as np

from perception.simulation.geometry import Mesh, box, cylinder, merged, prism, rod
from perception.simulation.looks import (
    BLUE,
    DARK_STEEL,
    GREEN,
    GREY,
    HEADLIGHT,
    ORANGE,
    PLATE,
    RED,
    STEEL,
    TAILLIGHT,
    TRIM,
    WHITE,
    WINDOW,
    YELLOW,
    Kind,
    Look,
    from_srgb,
)
from perception.simulation.meshes.cars import delivery_van, paint, pickup, wheels
from perception.simulation.meshes.model import Model, model


def truck(rng: np.random.Generator) -> Model:
    """A lorry with a box, a tipper or a flat bed; sometimes a van or a pickup."""
    kind = rng.random()
    if kind < 0.2:
        return pickup(rng)
    if kind < 0.45:
        return delivery_van(rng)
    length, width = rng.uniform(6.5, 9.8), rng.uniform(2.3, 2.55)
    cab_height, cab_length = rng.uniform(2.4, 3.0), rng.uniform(1.7, 2.1)
    parts = [_cab(length / 2, cab_length, width, cab_height, paint(rng)), _chassis(length, width)]
    parts += [wheels(length, width, 0.48, (0.14, 0.70, 0.84) if length > 8 else (0.16, 0.78))]
    parts += [_load(rng, length - cab_length - 0.25, width, cab_height).moved(-(cab_length + 0.25) / 2)]
    return model("vehicle.truck", parts)


def trailer(rng: np.random.Generator) -> Model:
    """A trailer without its tractor, on its legs: no cab, no headlights."""
    length, width, height = rng.uniform(7.0, 13.0), rng.uniform(2.4, 2.6), rng.uniform(3.3, 4.0)
    parts = [_cargo_box(rng, length, width, 1.15, height), _chassis(length, width)]
    parts += [wheels(length, width - 0.1, 0.5, (0.72, 0.81, 0.90))]
    parts += [rod((0.28 * length, y, 0.0), (0.28 * length, y, 1.15), 0.09, DARK_STEEL) for y in (-0.8, 0.8)]
    return model("vehicle.trailer", parts)


def bus(rng: np.random.Generator) -> Model:
    """A city bus: one glass band all around, doors on the right, a lit destination sign in front."""
    length, width, height = rng.uniform(10.0, 13.0), rng.uniform(2.5, 2.65), rng.uniform(3.0, 3.5)
    colour = Look(Kind.PAINT, [WHITE, RED, BLUE, GREEN, YELLOW, from_srgb(60, 160, 150)][rng.integers(6)])
    stripe = Look(Kind.PAINT, [WHITE, GREY, ORANGE, BLUE][rng.integers(4)])
    parts = [box((length, width, height - 0.35), (0, 0, (height + 0.35) / 2), colour, (0.985, 0.96))]
    parts += [box((length - 0.7, width * 0.995, 1.0), (0, 0, 0.61 * height), WINDOW)]
    parts += [
        box((0.10, width, 0.9), (x, 0, 0.61 * height), colour)
        for x in np.arange(-length / 2 + 1.6, length / 2 - 1, 1.5)
    ]
    parts += [box((length + 0.01, width + 0.02, 0.22), (0, 0, 0.33 * height), stripe)]
    parts += [box((0.08, width * 0.9, 1.35), (length / 2 - 0.01, 0, 0.56 * height), WINDOW)]
    parts += [box((0.08, width * 0.8, 0.8), (-length / 2 + 0.02, 0, 0.66 * height), WINDOW)]
    parts += [
        box((0.1, width * 0.6, 0.28), (length / 2 - 0.04, 0, 0.89 * height), Look(Kind.LAMP, from_srgb(240, 160, 40)))
    ]
    parts += [box((1.1, 0.06, 2.1), (x * length, -width / 2, 1.45), WINDOW) for x in (0.38, -0.08)]
    parts += [_lamps(length, width, 0.75), wheels(length, width, 0.48, (0.22, 0.76))]
    parts += [box((0.25 * length, 0.7 * width, 0.22), (-0.15 * length, 0, height + 0.05), Look(Kind.PLAIN, GREY))]
    parts += [
        box((0.1, 0.12, 0.35), (length / 2 - 0.02, y, 0.72 * height), TRIM) for y in (-width / 2 - 0.1, width / 2 + 0.1)
    ]
    return model("vehicle.bus.rigid", parts)


def construction_vehicle(rng: np.random.Generator) -> Model:
    """An excavator, a wheel loader or a roller, in yellow or orange: each with a front that can be told."""
    colour = Look(Kind.PAINT, [YELLOW, YELLOW, ORANGE, from_srgb(200, 196, 188)][rng.integers(4)])
    build = (_excavator, _loader, _roller)[rng.integers(3)]
    return model("vehicle.construction", [build(rng, colour)])


def _cab(front: float, length: float, width: float, height: float, colour: Look) -> Mesh:
    x = front - length / 2
    outline = [
        (-length / 2, 0.55),
        (length / 2, 0.55),
        (length / 2, 0.5 * height),
        (0.38 * length, height),
        (-length / 2, height),
    ]
    glass = [
        (0.50 * length, 0.52 * height),
        (0.40 * length, 0.92 * height),
        (0.37 * length, 0.92 * height),
        (0.46 * length, 0.52 * height),
    ]
    parts = [prism(outline, width, colour), prism(glass, width * 0.88, WINDOW).moved(0.03)]
    parts += [
        box((0.55 * length, 0.03, 0.3 * height), (0.05 * length, y, 0.7 * height), WINDOW)
        for y in (-width / 2, width / 2)
    ]
    parts += [box((0.06, 0.7 * width, 0.3), (length / 2, 0, 0.40 * height), TRIM)]
    parts += [box((0.10, 0.3, 0.16), (length / 2 - 0.02, y, 0.72), HEADLIGHT) for y in (-0.38 * width, 0.38 * width)]
    parts += [box((0.04, 0.5, 0.12), (length / 2 + 0.02, 0, 0.62), PLATE)]
    parts += [
        box((0.1, 0.16, 0.45), (0.42 * length, y, 0.72 * height), TRIM) for y in (-width / 2 - 0.12, width / 2 + 0.12)
    ]
    return merged(parts).moved(x)


def _chassis(length: float, width: float) -> Mesh:
    rails = box((length - 0.3, 0.8, 0.3), (0, 0, 0.85), TRIM)
    bumper = box((0.12, width * 0.95, 0.18), (-length / 2 + 0.06, 0, 0.6), DARK_STEEL)
    lamps = [box((0.08, 0.4, 0.16), (-length / 2 + 0.02, y, 0.85), TAILLIGHT) for y in (-0.4 * width, 0.4 * width)]
    guards = [
        box((0.3 * length, 0.05, 0.35), (-0.05 * length, y, 0.65), DARK_STEEL) for y in (-0.48 * width, 0.48 * width)
    ]
    return merged([rails, bumper, *lamps, *guards, box((0.04, 0.5, 0.12), (-length / 2, 0, 0.75), PLATE)])


def _load(rng: np.random.Generator, length: float, width: float, cab_height: float) -> Mesh:
    kind = rng.random()
    if kind < 0.6:
        return _cargo_box(rng, length, width, 1.0, rng.uniform(cab_height, 3.6))
    if kind < 0.8:  # a tipper
        colour = Look(Kind.RIBS, [ORANGE, GREY, BLUE, YELLOW][rng.integers(4)])
        return box((length * 0.94, width * 0.92, 1.2), (0, 0, 1.7), colour, (1.04, 1.06))
    board = Look(Kind.BARK, from_srgb(130, 100, 70))
    crates = [
        box(
            (rng.uniform(0.8, 1.8), rng.uniform(0.8, 2.0), h),
            (x, 0, 1.15 + h / 2),
            Look(Kind.PLAIN, tuple(rng.uniform(0.05, 0.5, 3))),
        )
        for x in np.arange(-length / 2 + 1, length / 2 - 0.8, 2.0)
        for h in [rng.uniform(0.5, 1.4)]
    ]
    return merged(
        [box((length, width, 0.15), (0, 0, 1.08), board), *crates, box((0.1, width, 1.2), (length / 2, 0, 1.7), STEEL)]
    )


def _cargo_box(rng: np.random.Generator, length: float, width: float, bottom: float, top: float) -> Mesh:
    colours = (WHITE, WHITE, GREY, BLUE, RED, GREEN, YELLOW)
    kind = (Kind.PLAIN, Kind.RIBS, Kind.POSTER)[rng.integers(3)]
    look = Look(kind, colours[rng.integers(len(colours))], float(rng.random()))
    body = box((length, width, top - bottom), (0, 0, (top + bottom) / 2), look)
    doors = [box((0.03, 0.04, top - bottom), (-length / 2, y, (top + bottom) / 2), STEEL) for y in (-0.4, 0, 0.4)]
    rims = [box((length + 0.02, width + 0.02, 0.1), (0, 0, z), STEEL) for z in (bottom + 0.05, top - 0.05)]
    return merged([body, *doors, *rims])


def _lamps(length: float, width: float, z: float) -> Mesh:
    parts = []
    for y in (-0.4 * width, 0.4 * width):
        parts += [box((0.08, 0.3, 0.18), (length / 2, y, z), HEADLIGHT)]
        parts += [box((0.08, 0.2, 0.5), (-length / 2, y, z + 0.3), TAILLIGHT)]
    return merged([*parts, box((0.05, 0.5, 0.12), (length / 2 + 0.01, 0, z - 0.2), PLATE)])


def _excavator(rng: np.random.Generator, colour: Look) -> Mesh:
    scale = rng.uniform(0.75, 1.05)
    tracks = []
    for y in (-1.0, 1.0):
        tracks += [box((2.6, 0.5, 0.75), (0, y, 0.4), RUBBER_TRACK, (0.92, 1))]
        tracks += [cylinder(0.38, 0.52, (x, y, 0.4), DARK_STEEL, "y") for x in (-1.35, 1.35)]
    house = [
        box((2.7, 2.3, 1.0), (-0.4, 0, 1.5), colour, (0.96, 0.96)),
        box((1.0, 1.0, 1.5), (0.4, 0.6, 2.5), WINDOW, (0.85, 0.9)),
    ]
    house += [box((1.05, 1.05, 0.08), (0.35, 0.6, 3.25), colour)]
    elbow, tip = (3.0, -0.3, rng.uniform(3.3, 4.2)), (4.2, -0.3, rng.uniform(1.4, 2.2))
    arm = [
        rod((0.8, -0.3, 1.9), elbow, 0.24, colour),
        rod(elbow, tip, 0.17, colour),
        rod((0.9, -0.3, 1.4), (2.4, -0.3, 3.0), 0.07, STEEL),
    ]
    bucket = box((0.7, 0.9, 0.8), (tip[0] - 0.1, -0.3, tip[2] - 0.35), DARK_STEEL, (0.6, 1), -0.15)
    upper = merged([*house, *arm, bucket]).moved(yaw=float(rng.choice([0, 0, 0.5, -0.6])))
    return merged([*tracks, upper]).moved(scale=scale)


def _loader(rng: np.random.Generator, colour: Look) -> Mesh:
    parts = [
        box((3.2, 1.7, 0.9), (-0.9, 0, 1.35), colour, (0.95, 0.9)),
        box((1.3, 1.5, 1.5), (0.1, 0, 2.4), WINDOW, (0.8, 0.9)),
    ]
    parts += [box((1.3, 1.5, 0.1), (0.05, 0, 3.2), colour), box((1.4, 1.2, 0.7), (1.5, 0, 1.1), colour)]
    for x in (-1.6, 1.7):
        parts += [cylinder(0.72, 0.6, (x, y, 0.72), RUBBER_TRACK, "y", 14) for y in (-1.0, 1.0)]
        parts += [cylinder(0.35, 0.64, (x, y, 0.72), colour, "y", 10) for y in (-1.0, 1.0)]
    lift = rng.uniform(0.4, 1.4)
    parts += [rod((1.0, y, 1.7), (3.0, y, 0.2 + lift), 0.12, colour) for y in (-0.5, 0.5)]
    parts += [prism([(2.8, lift), (3.9, lift), (3.5, lift + 0.35), (3.0, lift + 1.0)], 2.5, DARK_STEEL)]
    parts += [box((0.1, 0.3, 0.2), (-2.5, y, 1.4), TAILLIGHT) for y in (-0.6, 0.6)]
    return merged(parts)


def _roller(rng: np.random.Generator, colour: Look) -> Mesh:
    """One steel drum in its frame in front; tyres and the engine under a sloping hood behind."""
    parts = [cylinder(0.62, 1.7, (1.45, 0, 0.62), STEEL, "y", 18)]
    parts += [box((1.7, 0.07, 0.22), (1.05, y, 0.66), colour) for y in (-0.8, 0.8)]
    parts += [cylinder(0.62, 0.42, (-1.45, y, 0.62), RUBBER_TRACK, "y", 16) for y in (-0.6, 0.6)]
    parts += [cylinder(0.3, 0.46, (-1.45, y, 0.62), colour, "y", 10) for y in (-0.6, 0.6)]
    hood = [(-2.05, 0.75), (-0.55, 0.75), (-0.55, 1.75), (-1.1, 1.72), (-2.05, 1.3)]
    parts += [prism(hood, 1.3, colour), box((0.03, 1.0, 0.4), (-2.05, 0, 1.0), TRIM)]
    parts += [box((0.04, 0.3, 0.14), (-2.05, y, 1.24), TAILLIGHT) for y in (-0.5, 0.5)]
    parts += [box((1.3, 1.5, 0.3), (0.1, 0, 0.95), TRIM), box((0.5, 0.55, 0.7), (-0.25, 0, 1.45), TRIM)]
    parts += [box((0.15, 0.5, 0.75), (0.6, 0, 1.45), colour, (0.7, 0.9))]
    parts += [rod((x, y, 1.1), (x, y, 2.75), 0.05, TRIM) for x in (-0.6, 0.7) for y in (-0.65, 0.65)]
    parts += [box((0.08, 0.22, 0.16), (0.78, y, 2.6), HEADLIGHT) for y in (-0.5, 0.5)]
    parts += [box((1.9, 1.6, 0.08), (0.05, 0, 2.8), colour)]
    return merged(parts).moved(scale=rng.uniform(0.85, 1.1))


RUBBER_TRACK = Look(Kind.RUBBER, from_srgb(44, 42, 40))
