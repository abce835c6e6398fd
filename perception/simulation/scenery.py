"""What doesn't move and nobody annotates, as one mesh: ground, markings, buildings, trees, street furniture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perception.simulation.geometry import Mesh, merged, quad, slab, tube
from perception.simulation.layout import (
    CORNER_M,
    CROSSING,
    HALF_EXTENT_M,
    KERB_M,
    LANE_M,
    STOP_M,
    Block,
    Layout,
    Street,
)
from perception.simulation.looks import DARK_STEEL, WHITE, Kind, Look, from_srgb
from perception.simulation.meshes import clutter, plants
from perception.simulation.meshes.buildings import building
from perception.simulation.meshes.catalogue import LARGE_CLUTTER, LONG_CLUTTER, SMALL_CLUTTER, any_of

DETAIL_M = 75.0  # from the car's way: farther off there is no furniture, and trees are coarse
PAINT_M = 0.006  # how high markings lie on the road
WHITE_PAINT, YELLOW_PAINT = Look(Kind.MARKING, WHITE), Look(Kind.MARKING, from_srgb(206, 160, 44))


@dataclass(frozen=True, eq=False)
class Scenery:
    """The mesh, and where lamps hang."""

    mesh: Mesh
    lamps: np.ndarray  # (L, 3) street lamps


def make_scenery(
    rng: np.random.Generator, layout: Layout, way: np.ndarray, taken: np.ndarray, seats: np.ndarray
) -> Scenery:
    """Everything around a way (K, 2).

    Furniture keeps off places taken (M, 3): x, y, radius. Under those who sit (S, 3), x, y, heading, are benches.
    """
    plot = _Plot(rng, layout, way, taken)
    parts = [*_ground(rng, layout), *_markings(rng, layout)]
    for block in layout.blocks:
        parts += plot.block(block)
    parts += _signals(layout, plot)
    parts += [clutter.bench(rng).mesh.moved(-0.22).moved(x, y, KERB_M, heading) for x, y, heading in seats]
    return Scenery(merged(parts), np.array(plot.lamps).reshape(-1, 3))


def rounded(block: Block, inset: float = 0.0, steps: int = 6) -> np.ndarray:
    """A block's outline (K, 2), counter-clockwise, with round corners."""
    radius = max(CORNER_M - inset, 0.3)
    (x0, y0), (x1, y1) = np.array(block.low) + inset + radius, np.array(block.high) - inset - radius
    angles = np.linspace(0, np.pi / 2, steps)
    arcs = [
        np.array(corner) + radius * np.stack([np.cos(angles + turn), np.sin(angles + turn)], axis=1)
        for corner, turn in (((x1, y1), 0), ((x0, y1), np.pi / 2), ((x0, y0), np.pi), ((x1, y0), 1.5 * np.pi))
    ]
    return np.concatenate(arcs)


def _ground(rng: np.random.Generator, layout: Layout) -> Iterator[Mesh]:
    far = HALF_EXTENT_M + 120
    asphalt = Look(Kind.ASPHALT, tuple(rng.uniform(0.055, 0.11) * np.array([1, 1, 1.02])), float(rng.random()))
    yield quad([(-far, -far, 0), (far, -far, 0), (far, far, 0), (-far, far, 0)], asphalt)
    kerb = Look(Kind.PLAIN, from_srgb(150, 148, 142))
    for block in layout.blocks:
        tone = rng.uniform(0.8, 1.2) * np.array(from_srgb(150, 146, 138))
        paving = Look(Kind.PAVING, tuple(tone), float(rng.random()))
        yield slab(rounded(block), 0, KERB_M, kerb, kerb)
        yield slab(rounded(block, 0.16), KERB_M - 0.01, KERB_M + 0.002, paving, paving)
        inner = {"park": Look(Kind.GRASS, from_srgb(88, 108, 52)), "lot": asphalt}.get(block.use)
        if inner:
            yield slab(rounded(block, block.sidewalk), KERB_M, KERB_M + 0.02, kerb, inner)


def _strip(street: Street, along: tuple[float, float], across: tuple[float, float], look: Look) -> Mesh:
    """A flat rectangle on a street: places along its axis, and across from its middle."""
    (a, b), (c, d) = along, (street.position + across[0], street.position + across[1])
    low, high = ((a, c), (b, d)) if street.axis == 0 else ((c, a), (d, b))
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return quad([(*corner, PAINT_M) for corner in corners], look)


def _markings(rng: np.random.Generator, layout: Layout) -> Iterator[Mesh]:
    for axis in (0, 1):
        for street in layout.streets[axis]:
            edges = [
                (other.position - other.half_width, other.position + other.half_width)
                for other in layout.streets[1 - axis]
            ]
            ends = [-HALF_EXTENT_M - 30.0] + [place for pair in edges for place in pair] + [HALF_EXTENT_M + 30.0]
            for start, end in zip(ends[0::2], ends[1::2], strict=True):
                yield from _between_junctions(rng, street, start, end)


def _between_junctions(rng: np.random.Generator, street: Street, start: float, end: float) -> Iterator[Mesh]:
    a, b = start + STOP_M + 0.4, end - STOP_M - 0.4
    for side in (0.09, -0.21):
        yield _strip(street, (a, b), (side, side + 0.12), YELLOW_PAINT)
    for lane in range(1, street.lanes):
        for place in np.arange(a, b - 3, 9.0):
            for side in (1, -1):
                middle = side * lane * LANE_M
                yield _strip(street, (place, place + 3), (middle - 0.07, middle + 0.07), WHITE_PAINT)
    if street.parking:
        for side in (1, -1):
            edge = side * street.lanes * LANE_M
            yield _strip(street, (a, b), (edge - 0.05, edge + 0.05), WHITE_PAINT)
    for near, outward in ((start, 1), (end, -1)):  # zebra crossings, and stop lines for those who come towards them
        span = sorted((near + outward * CROSSING[0], near + outward * CROSSING[1]))
        for across in np.arange(-street.half_width + 0.4, street.half_width - 0.4, 1.0):
            yield _strip(street, tuple(span), (across, across + 0.5), WHITE_PAINT)
        stop = near + outward * STOP_M
        towards = (outward < 0) == (street.axis == 0)
        lanes = (-street.lanes * LANE_M, -0.2) if towards else (0.2, street.lanes * LANE_M)
        yield _strip(street, (stop - 0.2, stop + 0.2), lanes, WHITE_PAINT)
    for place in rng.uniform(a, b, int((b - a) / 20)):
        x, y = (place, street.position + rng.uniform(-0.8, 0.8) * street.half_width)[:: 1 if street.axis == 0 else -1]
        yield tube([(0.32, 0.0), (0.32, 0.004)], DARK_STEEL, 12).moved(x, y)


def _signals(layout: Layout, plot: _Plot) -> Iterator[Mesh]:
    """A mast at the far right corner for each way into a junction; its lamps know when they are lit."""
    for i, j in layout.junctions():
        first, second = layout.streets[0][i], layout.streets[1][j]
        if not plot.near(second.position, first.position):
            continue
        for axis, forward in ((0, True), (0, False), (1, True), (1, False)):
            street, across = (first, second) if axis == 0 else (second, first)
            sign = 1 if forward else -1
            place = across.position + sign * (across.half_width + 1.2)
            side = (-1 if (axis == 0) == forward else 1) * (street.half_width + 0.9)
            x, y = (place, street.position + side) if axis == 0 else (street.position + side, place)
            heading = (0 if forward else np.pi) + axis * np.pi / 2
            phase = float((layout.offsets[i, j] + 0.5 * axis) % 1.0)
            arm = min(street.half_width + 0.5, 6.5)
            yield clutter.traffic_light(arm, phase).moved(x, y, KERB_M, heading)


class _Plot:
    """Fills blocks."""

    def __init__(self, rng: np.random.Generator, layout: Layout, way: np.ndarray, taken: np.ndarray) -> None:
        self._rng, self._layout, self._way = rng, layout, way
        self._taken = [tuple(row) for row in taken]
        self.lamps: list[tuple[float, float, float]] = []

    def near(self, x: float, y: float, reach: float = DETAIL_M) -> bool:
        """Whether the car comes by."""
        return bool(np.hypot(self._way[:, 0] - x, self._way[:, 1] - y).min() < reach)

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether nothing stands there yet; if so, now something does."""
        if any((x - a) ** 2 + (y - b) ** 2 < (radius + r) ** 2 for a, b, r in self._taken):
            return False
        self._taken.append((x, y, radius))
        return True

    def block(self, block: Block) -> Iterator[Mesh]:
        sides = list(_sides(block))
        for start, direction, inward, length in sides:
            yield from self._furnished(start, direction, inward, length)
        if block.use == "buildings":
            yield from self._built(block)
        elif block.use == "park":
            yield from self._planted(block)
        else:
            yield from self._lot_edge(block)

    def _built(self, block: Block) -> Iterator[Mesh]:
        """Buildings shoulder to shoulder along the rim; those along y fill what the others leave."""
        depth = min(
            14.0,
            (block.high[1] - block.low[1]) / 2 - block.sidewalk - 1,
            (block.high[0] - block.low[0]) / 2 - block.sidewalk - 1,
        )
        if depth < 4:
            return
        for number, (start, direction, inward, length) in enumerate(_sides(block)):
            place = block.sidewalk + (0 if number % 2 == 0 else depth + 0.3)
            end = length - place
            while place < end - 6:
                width = min(self._rng.uniform(10, 28), end - place)
                if end - place - width < 6:
                    width = end - place
                middle = start + direction * (place + width / 2) + inward * (block.sidewalk + depth / 2)
                heading = np.arctan2(-inward[1], -inward[0]) - np.pi / 2
                setback = self._rng.choice([0.0, 0.0, self._rng.uniform(0.3, 2.0)])
                yield building(self._rng, width - 0.05, depth - setback).moved(
                    *(middle + inward * setback / 2), KERB_M, heading
                )
                place += width + self._rng.choice([0.0, 0.0, 3.0])

    def _planted(self, block: Block) -> Iterator[Mesh]:
        low, high = np.array(block.low) + block.sidewalk + 2, np.array(block.high) - block.sidewalk - 2
        for _ in range(int(np.prod(high - low) / 160)):
            x, y = self._rng.uniform(low, high)
            if self.near(x, y, 110) and self.free(x, y, 2.0):
                yield self._tree(x, y)
        for _ in range(12):
            x, y = self._rng.uniform(low, high)
            builder = (plants.hedge, clutter.bench, clutter.standee, clutter.planter)[self._rng.integers(4)]
            if self.near(x, y) and self.free(x, y, 1.5):
                yield builder(self._rng).mesh.moved(x, y, KERB_M, self._rng.uniform(-3, 3))

    def _lot_edge(self, block: Block) -> Iterator[Mesh]:
        """A wall at the back, and containers between the bays."""
        low, high = np.array(block.low) + block.sidewalk + 2, np.array(block.high) - block.sidewalk - 2
        for _ in range(10):
            x, y = self._rng.uniform(low, high)
            body = any_of(LARGE_CLUTTER, self._rng)
            if self.near(x, y) and self.free(x, y, 0.5 * max(body.size[:2])):
                yield body.mesh.moved(x, y, KERB_M, self._rng.choice([0, np.pi / 2]))

    def _tree(self, x: float, y: float) -> Mesh:
        detail = 1.0 if self.near(x, y, 45) else 0.35
        return plants.tree(self._rng, detail).moved(x, y, KERB_M, self._rng.uniform(-3, 3))

    def _furnished(self, start: np.ndarray, direction: np.ndarray, inward: np.ndarray, length: float) -> Iterator[Mesh]:
        """Between kerb and walkers: trees, lamps, signs, and clutter of all sizes."""
        rng = self._rng
        trees, crowd = rng.random() < 0.6, rng.uniform(0.15, 0.5)
        heading = float(np.arctan2(inward[1], inward[0]))
        for number, place in enumerate(np.arange(CORNER_M + 5.5, length - CORNER_M - 5.5, 2.6)):
            x, y = start + direction * (place + rng.uniform(-0.5, 0.5)) + inward * rng.uniform(0.55, 0.9)
            if not self.near(x, y, 100):
                continue
            if number % 10 == 3 and self.free(x, y, 0.3):
                self.lamps.append((x - 1.8 * inward[0], y - 1.8 * inward[1], 7.0))
                yield clutter.street_lamp().moved(x, y, KERB_M, heading + np.pi / 2)
            elif trees and number % 4 == 1 and self.free(x, y, 0.7):
                yield self._tree(x, y)
            elif self.near(x, y) and rng.random() < crowd:
                yield from self._item(x, y, heading)
        for _ in range(rng.integers(0, 3)):  # against the houses
            x, y = start + direction * rng.uniform(CORNER_M + 3, length - CORNER_M - 3) + inward * 2.9
            body = any_of(SMALL_CLUTTER, rng)
            if self.near(x, y) and self.free(x, y, 0.5):
                yield body.mesh.moved(x, y, KERB_M, heading + rng.normal(0, 0.2))

    def _item(self, x: float, y: float, heading: float) -> Iterator[Mesh]:
        rng, kind = self._rng, self._rng.random()
        if kind < 0.12:
            if self.free(x, y, 0.3):
                yield clutter.traffic_sign(rng).moved(x, y, KERB_M, heading + rng.choice([-1, 1]) * np.pi / 2)
            return
        others = LONG_CLUTTER if kind < 0.4 else SMALL_CLUTTER
        body = clutter.shelter(rng) if kind < 0.16 else any_of(others, rng)
        if self.free(x, y, 0.5 * max(body.size[:2])):
            turn = 0.0 if kind < 0.4 else rng.normal(0, 0.3)
            yield body.mesh.moved(x, y, KERB_M, heading + turn)


def _sides(block: Block) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Each side of a block: where it starts, its direction, the direction inwards, its length."""
    (x0, y0), (x1, y1) = block.low, block.high
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        length = float(np.linalg.norm(np.subtract(end, start)))
        direction = np.subtract(end, start) / length
        yield np.array(start, float), direction, np.array([-direction[1], direction[0]]), length
