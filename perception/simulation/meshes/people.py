"""Pedestrians, and the riders of cycles: a body whose limbs swing as it walks."""

from __future__ import annotations

import numpy as np

from perception.simulation.geometry import Mesh, ball, box, merged, rod, tube
from perception.simulation.looks import BLACK, DARK, ORANGE, SKIN, YELLOW, Kind, Look, from_srgb
from perception.simulation.meshes.model import Model, model

LEFT_LEG, RIGHT_LEG, LEFT_ARM, RIGHT_ARM = 1, 2, 3, 4
HIP, SHOULDER = 0.52, 0.81  # heights as shares of a person's
STRIDE_M = 1.45  # two steps of an adult

CLOTHES = tuple(
    from_srgb(*rgb)
    for rgb in (
        (30, 32, 38),
        (44, 52, 70),
        (70, 70, 74),
        (120, 116, 110),
        (196, 192, 184),
        (150, 34, 40),
        (40, 84, 60),
        (36, 66, 128),
        (200, 150, 60),
        (92, 62, 46),
        (170, 96, 120),
        (24, 26, 28),
        (80, 130, 160),
    )
)
HAIR = tuple(from_srgb(*rgb) for rgb in ((24, 20, 18), (60, 42, 30), (130, 96, 56), (120, 118, 114), (90, 40, 24)))


def adult(rng: np.random.Generator) -> Model:
    """Someone grown up, with a bag, a backpack or an umbrella at times."""
    height = rng.uniform(1.55, 1.95)
    parts = [_figure(rng, height, _cloth(rng), _cloth(rng))]
    carried = rng.random()
    if carried < 0.2:
        parts.append(box((0.18, 0.32, 0.45), (-0.22, 0, 0.68 * height), _cloth(rng)))
    elif carried < 0.35:
        parts.append(box((0.34, 0.12, 0.3), (0, -0.3, 0.42 * height), _cloth(rng)))
    return model("human.pedestrian.adult", parts, _room(height))


def umbrella_holder(rng: np.random.Generator) -> Model:
    """An adult under an umbrella."""
    height, canopy = rng.uniform(1.55, 1.85), _cloth(rng)
    parts = [
        _figure(rng, height, _cloth(rng), _cloth(rng)),
        rod((0.15, 0.2, 0.6 * height), (0.1, 0.1, height + 0.25), 0.015, Look(Kind.METAL, BLACK)),
    ]
    parts.append(tube([(0.55, height + 0.05), (0.42, height + 0.2), (0.05, height + 0.3)], canopy).moved(0.1, 0.1))
    return model("human.pedestrian.adult", parts)


def child(rng: np.random.Generator) -> Model:
    """Someone small."""
    height = rng.uniform(0.95, 1.35)
    return model("human.pedestrian.child", [_figure(rng, height, _cloth(rng), _cloth(rng))], _room(height))


def worker(rng: np.random.Generator) -> Model:
    """A construction worker: a vest that shines, and a helmet."""
    height = rng.uniform(1.65, 1.92)
    vest = Look(Kind.RETRO, [ORANGE, from_srgb(190, 210, 40)][rng.integers(2)])
    helmet = ball(
        (0.15, 0.13, 0.10), (0, 0, height * 0.975), Look(Kind.PLAIN, [YELLOW, (0.8, 0.8, 0.8)][rng.integers(2)])
    )
    figure = _figure(rng, height * 0.98, vest, Look(Kind.CLOTH, DARK))
    return model("human.pedestrian.construction_worker", [figure, helmet], _room(height))


def sitting(rng: np.random.Generator) -> Model:
    """An adult on a bench, bench included in no box: the figure alone."""
    return model("human.pedestrian.adult", [seated_figure(rng, 1.75, reach=0.1).moved(z=0.0)])


def seated_figure(rng: np.random.Generator, height: float, reach: float = 0.45, lean: float = 0.0) -> Mesh:
    """A body with bent knees, hips over the origin at 0.5 m, hands `reach` in front [m], leaning forward [rad]."""
    upper, lower = _cloth(rng), _cloth(rng)
    skin = Look(Kind.CLOTH, SKIN[rng.integers(4)])
    z, top = 0.5, 0.5 + 0.34 * height
    torso = [
        tube([(0.15, z - 0.05), (0.19, z + 0.2), (0.21, top - 0.08), (0.08, top)], upper, 8),
        *_head(rng, top + 0.15, skin),
    ]
    for y in (-0.22, 0.22):
        torso.append(rod((0, y, top - 0.08), (reach, y * 0.9, z + 0.25), 0.05, upper))
    legs = []
    for y in (-0.11, 0.11):
        legs += [rod((0, y, z), (0.42, y, z + 0.02), 0.085, lower), rod((0.42, y, z), (0.4, y, 0.06), 0.065, lower)]
        legs.append(box((0.26, 0.1, 0.09), (0.46, y, 0.045), Look(Kind.RUBBER, BLACK)))
    return merged([merged(torso).pitched(lean, (0, 0, z)), *legs])


def swung(mesh: Mesh, height: float, phase: float, amplitude: float) -> np.ndarray:
    """Vertices (V, 3) of a walking figure; phase in strides, amplitude in rad."""
    vertices = mesh.vertices.copy()
    swing = amplitude * np.sin(2 * np.pi * phase)
    for limb, pivot, angle in (
        (LEFT_LEG, HIP, swing),
        (RIGHT_LEG, HIP, -swing),
        (LEFT_ARM, SHOULDER, -0.8 * swing),
        (RIGHT_ARM, SHOULDER, 0.8 * swing),
    ):
        rows = mesh.limb_rows[limb]
        x, z = vertices[rows, 0], vertices[rows, 2] - pivot * height
        vertices[rows, 0] = np.cos(angle) * x + np.sin(angle) * z
        vertices[rows, 2] = np.cos(angle) * z - np.sin(angle) * x + pivot * height
    return vertices


def _room(height: float) -> tuple[float, float]:
    """What swinging limbs add to the box's length, so that most of a stride is inside."""
    return (0.22 * height, 0.02)


def _cloth(rng: np.random.Generator) -> Look:
    colour = np.array(CLOTHES[rng.integers(len(CLOTHES))]) * rng.uniform(0.7, 1.3)
    return Look(Kind.CLOTH, tuple(np.clip(colour, 0, 1)), float(rng.random()))


def _head(rng: np.random.Generator, z: float, skin: Look) -> list[Mesh]:
    hair = Look(Kind.CLOTH, HAIR[rng.integers(len(HAIR))])
    face = ball((0.10, 0.085, 0.125), (0.01, 0, z), skin, 8, 6)
    return [face, ball((0.11, 0.098, 0.11), (-0.025, 0, z + 0.035), hair, 8, 6)]


def _figure(rng: np.random.Generator, height: float, upper: Look, lower: Look) -> Mesh:
    skin, shoe = Look(Kind.CLOTH, SKIN[rng.integers(4)]), Look(Kind.RUBBER, CLOTHES[rng.integers(len(CLOTHES))])
    hip, shoulder, girth = HIP * height, SHOULDER * height, rng.uniform(0.85, 1.2) * height / 1.75
    coat = hip - rng.choice([0.02, 0.06, 0.25]) * height
    profile = [
        (0.17, coat),
        (0.16, hip + 0.05),
        (0.175, 0.72 * height),
        (0.17, shoulder - 0.02),
        (0.06, shoulder + 0.03),
    ]
    torso = tube([(r * girth, z) for r, z in profile], upper, 9)
    torso = torso.turned(np.diag([0.78, 1.2, 1.0]), (0, 0, 0))
    parts = [torso, *_head(rng, 0.925 * height, skin), rod((0, 0, shoulder), (0.01, 0, 0.88 * height), 0.05, skin)]
    for side, leg, arm in ((1, LEFT_LEG, LEFT_ARM), (-1, RIGHT_LEG, RIGHT_ARM)):
        y = side * 0.095 * girth
        knee, foot = (0.02, y, 0.28 * height), (0, y, 0.05)
        thigh = [rod((0, y, hip), knee, 0.085 * girth, lower), rod(knee, foot, 0.06 * girth, lower)]
        parts.append(merged([*thigh, box((0.27, 0.1, 0.09), (0.06, y, 0.045), shoe)]).swinging(leg))
        hang = (0.03, side * 0.29 * girth, 0.62 * height)
        hand = (0.08, side * 0.29 * girth, 0.46 * height)
        sleeve = [
            rod((0, side * 0.21 * girth, shoulder - 0.03), hang, 0.05 * girth, upper),
            rod(hang, hand, 0.04 * girth, upper),
        ]
        parts.append(merged([*sleeve, ball((0.05, 0.04, 0.07), hand, skin, 6, 4)]).swinging(arm))
    return merged(parts)
