"""Who and what is in the streets of a scene: the car with the sensors, traffic, walkers, parked things, roadworks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from perception.simulation.agents import Agent, Motion, Role
from perception.simulation.layout import CORNER_M, GREEN_SHARE, KERB_M, LANE_M, PARKING_M, STOP_M, Block, Layout, Street
from perception.simulation.meshes import cars, cycles, large_vehicles, people
from perception.simulation.meshes.model import Model
from perception.simulation.overlaps import without_overlaps
from perception.simulation.roadworks import Roadworks
from perception.simulation.routes import Route, cross, drive, stroll
from perception.simulation.traffic import Traveller, flow

EGO_LENGTH_M, EGO_WIDTH_M, EGO_PIVOT_M = 4.1, 1.75, 1.35  # a small car; its pivot is the rear axle
WARM_UP_S = 4.0
REACH_M = 85.0  # from where the car drives: what is farther away isn't populated


@dataclass(frozen=True, eq=False)
class Population:
    """Everyone, in order of their numbers, and how the car with the sensors moves."""

    agents: tuple[Agent, ...]
    ego: Motion  # of its rear axle


def populate(rng: np.random.Generator, layout: Layout, seconds: float, rare: float = 1.0) -> Population:
    """People the streets from -0.1 s to `seconds`, with `rare` times as many of the things of which there are few."""
    ego = _ego(rng, layout)
    center = ego.route.at(ego.start + 45.0)[:2]
    still = _numbered(_standing(rng, layout, ego.route, center, rare))
    movers = list(_moving(rng, layout, center))
    obstacles = np.array([(*agent.place[:2], agent.model.size[1] / 2) for agent in still if agent.base == 0.0]).reshape(
        -1, 3
    )
    motions = flow(layout, [ego, *(one for one, _, _ in movers)], obstacles, -WARM_UP_S, seconds + 0.3)
    moving = [
        Agent(0, body, _role(body), (0, 0, 0), motion, base)
        for (_, body, base), motion in zip(movers, motions[1:], strict=True)
    ]
    agents = without_overlaps([*still, *moving], motions[0], seconds)
    return Population(tuple(_numbered(agents)), motions[0])


def _numbered(agents: Iterator[Agent] | list[Agent]) -> list[Agent]:
    return [replace(agent, number=number) for number, agent in enumerate(agents, start=1)]


def _role(body: Model) -> Role:
    if body.category.startswith("human"):
        return Role.WALKS
    return Role.RIDES if body.category in ("vehicle.bicycle", "vehicle.motorcycle") else Role.DRIVES


def _ego(rng: np.random.Generator, layout: Layout) -> Traveller:
    """A car that meets a green signal first more often than a red one, or else it would mostly wait."""
    for _ in range(4):
        ego = _ego_candidate(rng, layout)
        stop = ego.route.stops[0] if ego.route.stops else None
        if stop is None or layout.phase(stop.junction, stop.axis, stop.at / ego.wish - WARM_UP_S) < GREEN_SHARE - 0.05:
            return ego
    return ego


def _ego_candidate(rng: np.random.Generator, layout: Layout) -> Traveller:
    axis = int(rng.integers(2))
    street = min(layout.streets[axis], key=lambda one: abs(one.position) + rng.uniform(0, 60))
    forward = bool(rng.random() < 0.5)
    start = rng.uniform(-90, -20) * (1 if forward else -1)
    route = drive(rng, layout, street, forward, int(rng.integers(street.lanes)), start, turn=0.6)
    wish = rng.uniform(7, 12)
    return Traveller(route, 2.0, rng.uniform(0.5, 0.9) * wish, wish, EGO_LENGTH_M, EGO_WIDTH_M, pivot=EGO_PIVOT_M)


def _moving(rng: np.random.Generator, layout: Layout, center: np.ndarray) -> Iterator[tuple[Traveller, Model, float]]:
    yield from _traffic(rng, layout, center)
    yield from _cyclists(rng, layout, center)
    yield from _walkers(rng, layout, center)


def _traffic(rng: np.random.Generator, layout: Layout, center: np.ndarray) -> Iterator[tuple[Traveller, Model, float]]:
    density = rng.uniform(22, 60)
    for street in (*layout.streets[0], *layout.streets[1]):
        if abs(center[1 - street.axis] - street.position) > REACH_M:
            continue
        for forward in (True, False):
            for lane in range(street.lanes):
                place = center[street.axis] - REACH_M + rng.uniform(0, density)
                while place < center[street.axis] + REACH_M:
                    if not layout.in_junction(street, place):
                        yield _driver(rng, layout, street, forward, lane, place)
                    place += 13 + rng.exponential(density)


def _driver(
    rng: np.random.Generator, layout: Layout, street: Street, forward: bool, lane: int, place: float
) -> tuple[Traveller, Model, float]:
    builders = (
        cars.car,
        large_vehicles.truck,
        large_vehicles.bus,
        lambda r: cycles.motorcycle(r, True),
        large_vehicles.construction_vehicle,
    )
    kind = int(rng.choice(5, p=[0.60, 0.15, 0.10, 0.11, 0.04]))
    body = builders[kind](rng)
    route = drive(rng, layout, street, forward, lane, place, straight=body.size[0] > 8, turn=0.35)
    wish = rng.uniform(7, 13) if kind != 4 else rng.uniform(3, 6)
    return Traveller(route, 0.5, rng.uniform(0, 1) * wish, wish, *body.size[:2]), body, 0.0


def _cyclists(rng: np.random.Generator, layout: Layout, center: np.ndarray) -> Iterator[tuple[Traveller, Model, float]]:
    for _ in range(rng.integers(3, 9)):
        axis = int(rng.integers(2))
        street = layout.streets[axis][np.argmin([abs(one.position - center[1 - axis]) for one in layout.streets[axis]])]
        place = center[axis] + rng.uniform(-60, 60)
        if layout.in_junction(street, place):
            continue
        body = cycles.bicycle(rng, rider=True)
        route = drive(rng, layout, street, bool(rng.random() < 0.5), street.lanes - 1, place, aside=1.1, turn=0.3)
        wish = rng.uniform(3.0, 6.5)
        yield Traveller(route, 0.5, wish, wish, *body.size[:2], urge=1.0), body, 0.0


def _walkers(rng: np.random.Generator, layout: Layout, center: np.ndarray) -> Iterator[tuple[Traveller, Model, float]]:
    umbrellas = rng.random() < 0.3
    blocks = [block for block in layout.blocks if _distance(block, center) < 45]
    for _ in range(rng.integers(18, 60)):
        block = blocks[rng.integers(len(blocks))]
        route = stroll(rng, block, rng.uniform(1.5, block.sidewalk - 0.4))
        yield _walker(rng, route, rng.uniform(0, route.length * 0.9), KERB_M, umbrellas)
    junctions = [pair for pair in layout.junctions() if np.linalg.norm(_middle(layout, pair) - center) < 70]
    for pair in junctions:
        for _ in range(rng.integers(1, 6)):
            route = cross(rng, layout, pair)
            yield _walker(rng, route, rng.uniform(0, route.stops[0].at), KERB_M, umbrellas)


def _walker(
    rng: np.random.Generator, route: Route, start: float, base: float, umbrellas: bool
) -> tuple[Traveller, Model, float]:
    builders = (people.adult, people.child, people.umbrella_holder, people.worker)
    shares = [0.55, 0.12, 0.3, 0.03] if umbrellas else [0.82, 0.14, 0.01, 0.03]
    body = builders[int(rng.choice(4, p=shares))](rng)
    wish = rng.uniform(0.9, 1.8) if rng.random() < 0.8 else 0.02
    return Traveller(route, start, wish, wish, 0.4, 0.5, urge=0.8, yields=False), body, base


def _middle(layout: Layout, junction: tuple[int, int]) -> np.ndarray:
    return np.array([layout.streets[1][junction[1]].position, layout.streets[0][junction[0]].position])


def _distance(block: Block, point: np.ndarray) -> float:
    return float(np.linalg.norm(np.maximum(np.maximum(np.array(block.low) - point, point - np.array(block.high)), 0)))


def _standing(rng: np.random.Generator, layout: Layout, ego: Route, center: np.ndarray, rare: float) -> Iterator[Agent]:
    works = Roadworks(rng, layout, ego, center, rare)
    yield from works.agents()
    for street in (*layout.streets[0], *layout.streets[1]):
        if street.parking and abs(center[1 - street.axis] - street.position) < REACH_M:
            yield from _parked_along(rng, layout, street, center, works, rare)
    for block in layout.blocks:
        if _distance(block, center) < 50:
            yield from _on_block(rng, block, rare)


def _parked_along(
    rng: np.random.Generator, layout: Layout, street: Street, center: np.ndarray, works: Roadworks, rare: float
) -> Iterator[Agent]:
    fill = rng.uniform(0.25, 0.85)
    for side in (1, -1):
        place = center[street.axis] - REACH_M
        while place < center[street.axis] + REACH_M:
            seldom = _is_seldom(rng, rare)
            body = large_vehicles.construction_vehicle(rng) if seldom else _parkable(rng)
            place += body.size[0] / 2 + rng.uniform(0.5, 1.4)
            across = street.position + side * (street.lanes * LANE_M + PARKING_M - 0.25 - body.size[1] / 2)
            spot = np.array([place, across] if street.axis == 0 else [across, place])
            clear = not layout.in_junction(street, place, STOP_M + body.size[0] / 2 + 1)
            if clear and rng.random() < fill and not works.covers(spot):
                right_of_way = (side < 0) == (street.axis == 0)
                if seldom:  # or it would be learnt that machines stand the way that traffic goes
                    right_of_way = bool(rng.random() < 0.5)
                heading = (0.0 if right_of_way else np.pi) + street.axis * np.pi / 2 + rng.normal(0, 0.02)
                yield Agent(0, body, Role.PARKED, (*spot, heading))
            place += body.size[0] / 2


def _is_seldom(rng: np.random.Generator, rare: float) -> bool:
    """Whether a machine stands where usually something else would."""
    return rare > 1 and rng.random() < (rare - 1) / (rare + 3)


def _parkable(rng: np.random.Generator) -> Model:
    kind = rng.random()
    if kind < 0.84:
        return cars.car(rng)
    if kind < 0.92:
        return large_vehicles.truck(rng)
    return large_vehicles.trailer(rng)


def _on_block(rng: np.random.Generator, block: Block, rare: float) -> Iterator[Agent]:
    """Cycles at the kerb, people who sit, and lots full of vehicles."""
    low, high = np.array(block.low), np.array(block.high)
    for _ in range(round(rng.integers(0, 4) * rare)):
        yield from _leaning_row(rng, low, high)
    for _ in range(rng.integers(0, 3)):
        yield _sitter(rng, low, high, block.sidewalk)
    if block.use == "lot":
        yield from _lot(rng, low + block.sidewalk + 1, high - block.sidewalk - 1, rare)


def _leaning_row(rng: np.random.Generator, low: np.ndarray, high: np.ndarray) -> Iterator[Agent]:
    along, edge = int(rng.integers(2)), int(rng.integers(2))
    start = rng.uniform(low[along] + CORNER_M + 4, max(high[along] - CORNER_M - 9, low[along] + CORNER_M + 4.1))
    across = low[1 - along] + 1.0 if edge == 0 else high[1 - along] - 1.0
    builder = cycles.bicycle if rng.random() < 0.65 else cycles.motorcycle
    heading = np.pi / 2 * (1 - along) + rng.choice([0, np.pi])
    for k in range(rng.integers(1, 6)):
        place = start + k * rng.uniform(0.8, 1.1)
        spot = (place, across) if along == 0 else (across, place)
        yield Agent(0, builder(rng, rider=False), Role.LEANS, (*spot, heading + rng.normal(0, 0.12)), base=KERB_M)


def _sitter(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, sidewalk: float) -> Agent:
    """Someone on a bench, which scenery adds, facing the street."""
    along, edge = int(rng.integers(2)), int(rng.integers(2))
    place = rng.uniform(low[along] + 8, max(high[along] - 8, low[along] + 8.1))
    across = low[1 - along] + sidewalk - 0.5 if edge == 0 else high[1 - along] - sidewalk + 0.5
    outwards = -1 if edge == 0 else 1
    heading = outwards * np.pi / 2 if along == 0 else (0.0 if outwards > 0 else np.pi)
    spot = (place, across) if along == 0 else (across, place)
    return Agent(0, people.sitting(rng), Role.SITS, (*spot, heading), base=KERB_M)


def _lot(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, rare: float) -> Iterator[Agent]:
    """Rows of bays; trailers and building machines have rows of their own."""
    y = low[1] + 4
    while y < high[1] - 4:
        x, big = low[0] + 3, rng.random() < min(0.35 * rare, 0.8)
        while x < high[0] - 3:
            if rng.random() < 0.45:
                machine = big and _is_seldom(rng, rare)
                body = large_vehicles.construction_vehicle(rng) if machine else _heavy(rng) if big else cars.car(rng)
                if y + body.size[0] / 2 < high[1]:
                    yield Agent(
                        0, body, Role.PARKED, (x, y, np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.03)), base=KERB_M
                    )
            x += 4.2 if big else 2.9
        y += 15 if big else 8.5


def _heavy(rng: np.random.Generator) -> Model:
    builders = (large_vehicles.trailer, large_vehicles.truck, large_vehicles.construction_vehicle, large_vehicles.bus)
    return builders[int(rng.choice(4, p=[0.45, 0.25, 0.2, 0.1]))](rng)
