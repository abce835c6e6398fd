"""One call for a thing of any class or kind of clutter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perception.simulation.meshes import clutter, plants
from perception.simulation.meshes.model import Model

Builder = Callable[[np.random.Generator], Model]

SMALL_CLUTTER: tuple[Builder, ...] = (  # cones and pedestrians, to a LiDAR
    clutter.bollard,
    clutter.hydrant,
    clutter.bin_,
    clutter.bin_,
    clutter.parcel_post,
    clutter.standee,
    clutter.a_board,
)
LONG_CLUTTER: tuple[Builder, ...] = (
    clutter.planter,
    clutter.bench,
    clutter.rack,
    clutter.planter,
)  # barriers, bicycles
LARGE_CLUTTER: tuple[Builder, ...] = (clutter.kiosk, clutter.skip, plants.hedge, clutter.column)  # cars and trucks


def any_of(builders: tuple[Builder, ...], rng: np.random.Generator) -> Model:
    """One of them, as likely as another."""
    return builders[rng.integers(len(builders))](rng)
