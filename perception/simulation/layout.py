"""The street plan: straight streets along x and y with lanes, junctions with signals, and blocks between them.

Traffic keeps to the right. Everything is in the city frame, metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LANE_M, PARKING_M = 3.4, 2.4
KERB_M = 0.15  # height
CORNER_M = 4.0  # radius of a kerb where two streets meet
CROSSING = (1.2, 4.4)  # where a zebra crossing begins and ends, from the junction's edge [m]
STOP_M = 5.4  # where traffic waits, from the junction's edge
HALF_EXTENT_M = 210.0
CYCLE_S = 22.0  # of signals
GREEN_SHARE, AMBER_SHARE = 0.40, 0.06  # shares of a cycle; the other axis has its turn half a cycle later


@dataclass(frozen=True)
class Street:
    """A street from one end of the city to the other."""

    axis: int  # 0: along x, 1: along y
    position: float  # of its middle, on the other axis
    lanes: int  # a direction
    parking: bool  # a lane for parked cars at both kerbs
    sidewalk: float  # width [m]

    @property
    def half_width(self) -> float:
        """From the middle to the kerb."""
        return self.lanes * LANE_M + self.parking * PARKING_M

    def offset(self, lane: int) -> float:
        """From the street's middle to a lane's: 0 is the innermost."""
        return (lane + 0.5) * LANE_M


@dataclass(frozen=True)
class Block:
    """Land between streets; its rim is sidewalk."""

    low: tuple[float, float]
    high: tuple[float, float]
    sidewalk: float
    use: str  # "buildings", "park" or "lot"


@dataclass(frozen=True)
class Layout:
    """All of it."""

    streets: tuple[tuple[Street, ...], tuple[Street, ...]]  # along x, along y; each sorted by position
    blocks: tuple[Block, ...]
    offsets: np.ndarray  # (along x, along y) phase of each junction's signal, 0-1

    def junctions(self) -> Iterator[tuple[int, int]]:
        """Pairs of indices: of the street along x, of the street along y."""
        return ((i, j) for i in range(len(self.streets[0])) for j in range(len(self.streets[1])))

    def phase(self, junction: tuple[int, int], axis: int, time: float) -> float:
        """Where in its cycle the signal for traffic along an axis is: green, then amber, then red."""
        return (time / CYCLE_S + self.offsets[junction] + 0.5 * axis) % 1.0

    def in_junction(self, street: Street, place: float, margin: float = STOP_M) -> bool:
        """Whether a place on a street is in a junction, or nearer to one than `margin`."""
        others = self.streets[1 - street.axis]
        return any(abs(place - other.position) < other.half_width + margin for other in others)


def make_layout(rng: np.random.Generator) -> Layout:
    """A street plan."""
    streets = tuple(_streets(rng, axis) for axis in (0, 1))
    offsets = rng.random((len(streets[0]), len(streets[1])))
    return Layout(streets, tuple(_blocks(rng, streets)), offsets)


def _streets(rng: np.random.Generator, axis: int) -> tuple[Street, ...]:
    position, streets = -HALF_EXTENT_M + rng.uniform(30, 70), []
    while position < HALF_EXTENT_M - 25:
        lanes = int(rng.choice([1, 2], p=[0.55, 0.45]))
        streets.append(Street(axis, position, lanes, bool(rng.random() < 0.65), rng.uniform(3.0, 5.0)))
        position += rng.uniform(65, 125)
    return tuple(streets)


def _blocks(rng: np.random.Generator, streets: tuple[tuple[Street, ...], ...]) -> Iterator[Block]:
    spans = []
    for along in (1, 0):  # streets along y bound blocks in x
        edges = [
            (street.position - street.half_width, street.position + street.half_width) for street in streets[along]
        ]
        outer = HALF_EXTENT_M + 30
        spans.append(
            list(zip([-outer] + [high for _, high in edges], [low for low, _ in edges] + [outer], strict=True))
        )
    for x_low, x_high in spans[0]:
        for y_low, y_high in spans[1]:
            use = str(rng.choice(["buildings", "park", "lot"], p=[0.72, 0.12, 0.16]))
            yield Block((x_low, y_low), (x_high, y_high), rng.uniform(3.0, 5.0), use)
