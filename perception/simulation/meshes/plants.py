"""Trees and hedges out of single leaves, so that light and pulses pass between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.simulation.geometry import Mesh, ball, make_mesh, merged, rod, tube
from perception.simulation.looks import Kind, Look, from_srgb
from perception.simulation.meshes.model import Model, model

GREENS = tuple(from_srgb(*rgb) for rgb in ((62, 92, 36), (84, 112, 44), (52, 80, 40), (104, 116, 48), (128, 104, 40)))
TRUNKS = tuple(from_srgb(*rgb) for rgb in ((88, 72, 58), (70, 60, 52), (120, 108, 94)))


def leaves(
    rng: np.random.Generator,
    center: Sequence[float],
    radii: Sequence[float],
    count: int,
    size: float,  # m, of a leaf or of the twig that it stands for
    solid: bool = False,  # fill a box instead of an ellipsoid's outer half
    colour: tuple[float, float, float] | None = None,
) -> Mesh:
    """A cloud of leaves, each two triangles."""
    green = np.array(colour if colour is not None else GREENS[rng.integers(len(GREENS))])
    if solid:
        places = rng.uniform(-1, 1, (count, 3))
    else:
        places = rng.normal(size=(count, 3))
        places *= (rng.uniform(0.35, 1, (count, 1)) ** (1 / 3)) / np.linalg.norm(places, axis=1, keepdims=True)
    middles = places * np.asarray(radii) + np.asarray(center)
    sides = rng.normal(size=(2, count, 3))
    first, second = sides / np.linalg.norm(sides, axis=2, keepdims=True) * rng.uniform(0.6, 1.2, (1, count, 1)) * size
    corners = np.stack([middles - first, middles - second * 0.6, middles + first, middles + second * 0.6], axis=1)
    rows = 4 * np.arange(count)[:, None]
    mesh = make_mesh(corners.reshape(-1, 3), rows + np.array([0, 1, 2, 0, 2, 3]), Look(Kind.LEAF, (0, 0, 0)))
    # Inner and lower leaves are darker, as less of the sky reaches them.
    open_sky = 0.55 + 0.45 * np.clip(np.linalg.norm(places, axis=1) * 0.6 + 0.5 * places[:, 2], 0, 1)
    shades = green[None] * (rng.uniform(0.75, 1.25, (count, 1)) * open_sky[:, None])
    mesh.colours[:] = np.repeat(shades, 2, axis=0)
    return mesh


def tree(rng: np.random.Generator, detail: float = 1.0) -> Mesh:
    """A street tree 5 to 9 m tall; `detail` scales how many leaves it has, and the leaves' size against it."""
    height, trunk = rng.uniform(5, 9), rng.uniform(1.9, 2.8)
    bark, colour = Look(Kind.BARK, TRUNKS[rng.integers(3)]), GREENS[rng.integers(len(GREENS))]
    radius = rng.uniform(0.10, 0.2)
    parts = [tube([(radius * 1.4, 0), (radius, 0.4), (radius * 0.75, trunk + 0.8)], bark, 8)]
    crown = (height - trunk) / 2
    width = crown * rng.uniform(0.6, 0.95)
    blobs = 7
    for k in range(blobs):
        angle, lift = 2 * np.pi * k / (blobs - 1) + rng.uniform(-0.4, 0.4), rng.uniform(-0.45, 0.4)
        reach = 0.0 if k == blobs - 1 else width * 0.6
        middle = np.array([reach * np.cos(angle), reach * np.sin(angle), trunk + crown * (1 + lift)])
        if reach == 0:
            middle[2] = trunk + crown * 1.35
        parts.append(rod((0, 0, trunk + 0.3), middle * (0.9, 0.9, 1), radius * 0.4, bark, 4))
        blob = width * rng.uniform(0.5, 0.7)
        count = int(400 * detail)
        parts.append(leaves(rng, middle, (blob, blob, blob * 0.85), count, 0.125 / np.sqrt(detail), colour=colour))
    return merged(parts)


def hedge(rng: np.random.Generator) -> Model:
    """A clipped hedge, at times as large as a car."""
    length, width, height = rng.uniform(2.0, 5.0), rng.uniform(0.8, 1.8), rng.uniform(0.9, 1.6)
    colour = GREENS[rng.integers(3)]
    heart = ball(
        (length / 2, width / 2, height / 2), (0, 0, height / 2), Look(Kind.LEAF, tuple(0.3 * c for c in colour)), 8, 6
    )
    count = int(140 * (length * width + 2 * height * (length + width)) / 2)
    shell = leaves(rng, (0, 0, height / 2), (length / 2, width / 2, height / 2), count, 0.11, solid=True, colour=colour)
    return model("", [heart, shell])
