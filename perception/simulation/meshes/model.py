"""A thing that can be placed: its mesh, its box, and what nuScenes calls it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from perception.simulation.geometry import Mesh, merged


@dataclass(frozen=True, eq=False)
class Model:
    """A mesh that stands on z = 0 with its box's centre over the origin, facing +x."""

    category: str  # of nuScenes; "" for what nobody annotates
    mesh: Mesh
    size: tuple[float, float, float]  # length, width, height of its box [m]


def model(category: str, parts: Iterable[Mesh], margin: tuple[float, float] = (0.0, 0.0)) -> Model:
    """A model whose box is as tight as its mesh, but for a margin in length and width that limbs swing in."""
    mesh = merged(parts)
    low, high = mesh.extent
    mesh = mesh.moved(-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2])
    length, width, height = (float(x) for x in high - low)
    return Model(category, mesh, (length + margin[0], width + margin[1], height))
