"""Bicycles and motorcycles, with or without someone on them."""

from __future__ import annotations

import numpy as np

from perception.simulation.geometry import Mesh, ball, box, cylinder, merged, rod
from perception.simulation.looks import (
    BLACK,
    DARK_STEEL,
    HEADLIGHT,
    RUBBER,
    STEEL,
    TAILLIGHT,
    TRIM,
    Kind,
    Look,
)
from perception.simulation.meshes.model import Model, model
from perception.simulation.meshes.people import CLOTHES, seated_figure


def bicycle(rng: np.random.Generator, rider: bool) -> Model:
    """A bicycle; a rider belongs to its box, as in nuScenes."""
    frame = Look(Kind.PAINT, CLOTHES[rng.integers(len(CLOTHES))])
    radius, base = rng.uniform(0.31, 0.35), rng.uniform(1.0, 1.1)
    rear, front, crank = (-base / 2, 0, radius), (base / 2, 0, radius), (-0.08, 0, 0.29)
    seat, head = (-0.22, 0, 0.9), (0.36, 0, 0.92)
    tubes = [(rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (front, head)]
    parts = [rod(a, b, 0.022, frame, 5) for a, b in tubes]
    parts += [_spoked_wheel(x, radius) for x in (-base / 2, base / 2)]
    parts += [
        rod((0.36, -0.28, 1.02), (0.36, 0.28, 1.02), 0.018, DARK_STEEL, 5),
        rod(head, (0.36, 0, 1.02), 0.02, DARK_STEEL, 5),
    ]
    parts += [box((0.26, 0.15, 0.06), (-0.24, 0, 0.95), Look(Kind.RUBBER, BLACK))]
    parts += [
        rod((-0.08, -0.16, 0.2), (-0.08, 0.16, 0.38), 0.02, DARK_STEEL, 5),
        box((0.04, 0.05, 0.06), (-0.33, 0, 0.75), TAILLIGHT),
    ]
    if rng.random() < 0.3:
        parts.append(box((0.35, 0.3, 0.28), (-0.55, 0, 0.85), Look(Kind.PLAIN, CLOTHES[rng.integers(len(CLOTHES))])))
    if rider:
        parts.append(_rider(rng, 0.42, lean=0.35).moved(-0.24, 0, 0.45))
    return model("vehicle.bicycle", parts)


def motorcycle(rng: np.random.Generator, rider: bool) -> Model:
    """A motorcycle or a scooter."""
    colour = Look(Kind.PAINT, CLOTHES[rng.integers(len(CLOTHES))])
    base, radius = rng.uniform(1.3, 1.5), rng.uniform(0.27, 0.32)
    scooter = rng.random() < 0.45
    parts = []
    for x in (-base / 2, base / 2):
        parts += [
            cylinder(radius, 0.14, (x, 0, radius), RUBBER, "y", 16),
            cylinder(radius * 0.6, 0.16, (x, 0, radius), STEEL, "y", 8),
        ]
    if scooter:
        parts += [
            box((0.9, 0.34, 0.4), (-0.4, 0, 0.55), colour, (0.9, 0.8)),
            box((0.5, 0.36, 0.08), (0.2, 0, 0.3), TRIM),
        ]
        parts += [box((0.12, 0.42, 0.6), (0.48, 0, 0.65), colour, (0.7, 0.8), -0.05)]
        if rng.random() < 0.4:
            parts.append(
                box((0.42, 0.45, 0.42), (-0.75, 0, 1.05), Look(Kind.PLAIN, CLOTHES[rng.integers(len(CLOTHES))]))
            )
    else:
        parts += [box((0.5, 0.36, 0.42), (0.0, 0, 0.5), DARK_STEEL), ball((0.34, 0.18, 0.16), (0.16, 0, 0.85), colour)]
        parts += [
            rod((-0.2, -0.16, 0.35), (-0.75, -0.18, 0.42), 0.055, STEEL),
            box((0.3, 0.2, 0.1), (-0.7, 0, 0.8), colour),
        ]
    parts += [box((0.7, 0.26, 0.1), (-0.38, 0, 0.8), Look(Kind.RUBBER, BLACK))]
    parts += [rod((base / 2, y, radius), (0.42, y, 0.95), 0.03, STEEL, 5) for y in (-0.09, 0.09)]
    parts += [
        rod((0.42, -0.36, 1.03), (0.42, 0.36, 1.03), 0.02, TRIM, 5),
        ball((0.1, 0.11, 0.11), (0.55, 0, 0.88), HEADLIGHT),
    ]
    parts += [box((0.06, 0.2, 0.09), (-0.88, 0, 0.72), TAILLIGHT)]
    parts += [ball((0.05, 0.06, 0.05), (0.4, y, 1.15), TRIM, 6, 4) for y in (-0.32, 0.32)]
    if rider:
        parts.append(_rider(rng, 0.6, lean=0.2, helmet=True).moved(-0.32, 0, 0.34))
    return model("vehicle.motorcycle", parts)


def _rider(rng: np.random.Generator, reach: float, lean: float, helmet: bool = False) -> Mesh:
    figure = seated_figure(rng, rng.uniform(1.6, 1.9), reach, lean)
    if not helmet:
        return figure
    top = figure.extent[1]
    ahead = float(figure.vertices[figure.vertices[:, 2] > top[2] - 0.12, 0].mean())
    return merged(
        [
            figure,
            ball((0.16, 0.14, 0.16), (ahead, 0, top[2] - 0.1), Look(Kind.PAINT, CLOTHES[rng.integers(len(CLOTHES))])),
        ]
    )


def _spoked_wheel(x: float, radius: float) -> Mesh:
    """A thin tyre of rods, and spokes: light passes between them."""
    angles = 2 * np.pi * np.arange(14) / 14
    rim = np.stack([x + radius * np.cos(angles), np.zeros(14), radius + radius * np.sin(angles)], axis=1)
    rim[:, 2] = np.maximum(rim[:, 2], 0.01)
    tyre = [rod(rim[k], rim[(k + 1) % 14], 0.025, RUBBER, 4) for k in range(14)]
    spokes = [rod(rim[k], rim[k + 7], 0.007, STEEL, 3) for k in range(7)]
    return merged([*tyre, *spokes])
