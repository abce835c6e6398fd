"""Stretches of road that are closed, with what closes them and who works there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from perception.simulation.agents import Agent, Role
from perception.simulation.layout import LANE_M, PARKING_M, Layout
from perception.simulation.meshes import clutter, large_vehicles, people
from perception.simulation.meshes.model import Model
from perception.simulation.routes import Route


class Roadworks:
    """A stretch of kerb-side road that is closed: barriers and cones around a machine and its crew."""

    def __init__(self, rng: np.random.Generator, layout: Layout, ego: Route, center: np.ndarray, rare: float) -> None:
        self._rng, self._places = rng, []
        zones = round(rng.integers(0, 4) * rare)
        streets = [one for group in layout.streets for one in group if one.parking or one.lanes == 2]
        for _ in range(round(30 * rare)):
            if not streets or len(self._places) >= zones:
                break
            street = streets[rng.integers(len(streets))]
            side, length = int(rng.choice([-1, 1])), rng.uniform(12, 24)
            place = center[street.axis] + rng.uniform(-50, 50)
            inside = street.half_width - (PARKING_M if street.parking else LANE_M)
            across = street.position + side * (inside + street.half_width) / 2
            spot = np.array([place, across] if street.axis == 0 else [across, place])
            blocked = any(
                layout.in_junction(street, place + shift, 7) for shift in np.linspace(-length / 2, length / 2, 6)
            )
            far = abs(spot - center).max() > 55 or np.linalg.norm(ego.points - spot, axis=1).min() < 3.2
            if not (blocked or far):
                self._places.append((street, side, spot, length, street.half_width - inside))

    def covers(self, spot: np.ndarray) -> bool:
        """Whether a parked car would stand in it."""
        return any(np.abs(spot - middle).max() < length / 2 + 5 for _, _, middle, length, _ in self._places)

    def agents(self) -> Iterator[Agent]:
        """Everything in them."""
        for street, side, middle, length, width in self._places:
            turn = street.axis * np.pi / 2
            to_city = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            inner = -side * (1 if street.axis == 0 else -1)
            for body, role, (x, y), heading in self._things(length, width, inner):
                yield Agent(0, body, role, (*(to_city @ (x, y) + middle), heading + turn))

    def _things(
        self, length: float, width: float, inner: int
    ) -> Iterator[tuple[Model, Role, tuple[float, float], float]]:
        """In the stretch's own frame: x along the street, the carriageway on the `inner` side of y."""
        rng, edge = self._rng, inner * (width / 2 - 0.2)
        x = -length / 2
        fence = clutter.barrier if rng.random() < 0.6 else clutter.traffic_cone
        while x < length / 2:
            body = fence(rng)
            yield body, Role.LIES, (x, edge), np.pi / 2 + rng.normal(0, 0.06)
            x += max(body.size[1] + rng.uniform(0.1, 0.6), 1.6)
        for end in (-1, 1):
            for y in np.arange(-width / 2 + 0.4, width / 2, 0.9):
                yield clutter.traffic_cone(rng), Role.LIES, (end * (length / 2 + 1.2), y), rng.uniform(-3, 3)
        if rng.random() < 0.75:
            machine = large_vehicles.construction_vehicle(rng)
            yield machine, Role.PARKED, (rng.uniform(-2, 2), 0.1 * -inner), rng.choice([0, np.pi])
        for _ in range(rng.integers(1, 4)):
            yield (
                people.worker(rng),
                Role.WALKS,
                (rng.choice([-1, 1]) * rng.uniform(4.5, length / 2), 0.0),
                rng.uniform(-3, 3),
            )
