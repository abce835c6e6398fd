"""Buildings: textured boxes with a cornice, shops at the street, and what stands on roofs."""

from __future__ import annotations

import numpy as np

from perception.simulation.geometry import Mesh, box, merged
from perception.simulation.looks import BROWN, DARK, GREEN, GREY, RED, Kind, Look, from_srgb

WALLS = tuple(
    from_srgb(*rgb)
    for rgb in (
        (150, 82, 62),
        (128, 72, 58),
        (186, 176, 156),
        (206, 196, 176),
        (160, 160, 158),
        (122, 118, 114),
        (196, 170, 132),
        (170, 140, 118),
        (96, 104, 114),
        (212, 208, 200),
    )
)


def building(rng: np.random.Generator, length: float, width: float) -> Mesh:
    """A building on a plot, its doors along +y."""
    height = float(rng.choice([rng.uniform(5, 9), rng.uniform(9, 18), rng.uniform(18, 45)], p=[0.3, 0.5, 0.2]))
    wall = WALLS[rng.integers(len(WALLS))]
    look = Look(Kind.FACADE, tuple(np.clip(np.array(wall) * rng.uniform(0.8, 1.2), 0, 1)), float(rng.random()))
    trim = Look(Kind.PLAIN, tuple(0.6 * c + 0.1 for c in wall))
    parts = [_block(length, width, height, look)]
    parts.append(box((length + 0.4, width + 0.4, 0.35), (0, 0, height + 0.1), trim))
    if rng.random() < 0.4 and height > 15:
        parts.append(_block(length * 0.7, width * 0.7, height * 0.3, look).moved(z=height))
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(-0.35, 0.35, 2) * (length, width)
        parts.append(box((rng.uniform(1, 3), rng.uniform(1, 3), 1.5), (x, y, height + 0.9), Look(Kind.PLAIN, GREY)))
    if rng.random() < 0.45:
        cloth = Look(Kind.STRIPES if rng.random() < 0.4 else Kind.CLOTH, (RED, GREEN, BROWN, DARK)[rng.integers(4)])
        span = length * rng.uniform(0.3, 0.8)
        parts.append(box((span, 1.1, 0.12), (0, width / 2 + 0.55, 3.0), cloth).rolled(-0.15, (0, width / 2, 3.0)))
    if rng.random() < 0.4:
        sign = Look(Kind.POSTER, WALLS[rng.integers(len(WALLS))], float(rng.random()))
        parts.append(box((length * 0.4, 0.15, 0.8), (0, width / 2 + 0.08, 3.7), sign))
    return merged(parts)


def _block(length: float, width: float, height: float, look: Look) -> Mesh:
    """Walls with a flat roof. u starts at a wall's corner, so that windows don't straddle it."""
    mesh = box((length, width, height), (0, 0, height / 2), look)
    mesh.uvs[..., 0] += np.float32(max(length, width) * 2)
    mesh.kinds[np.abs(mesh.normals[:, 0, 2]) > 0.5] = Kind.PLAIN
    return mesh
