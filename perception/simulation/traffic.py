"""How traffic flows: everyone follows their route, keeps their distance, and minds signals and bends.

The car-following law is the Intelligent Driver Model (Treiber, Hennecke, Helbing, "Congested traffic states in
empirical observations and microscopic simulations", Physical Review E 62, 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.simulation.agents import Motion
from perception.simulation.layout import AMBER_SHARE, GREEN_SHARE, Layout
from perception.simulation.routes import Route

STEP_S = 0.15
LOOKAHEAD_M = np.arange(0.5, 40, 1.5)
COMFORT = 2.2  # m/s^2, braking
SIDEWAYS = 2.2  # m/s^2, in bends
CLEARANCE_M = 0.35


@dataclass(frozen=True, eq=False)
class Traveller:
    """Someone who takes part: a route, and what their body and temper are."""

    route: Route
    start: float  # m along the route
    speed: float  # m/s at the start
    wish: float  # m/s on a free road
    length: float
    width: float
    urge: float = 1.6  # m/s^2, acceleration
    yields: bool = True  # to whoever is ahead; walkers step around each other instead
    pivot: float = 0.0  # m from the route's point forward to the body's middle


def flow(
    layout: Layout, travellers: Sequence[Traveller], obstacles: np.ndarray, start: float, end: float
) -> list[Motion]:
    """Let them all go from one time to another [s] -> a motion each.

    `obstacles` (M, 3) are discs that stand in the way: x, y, radius.
    """
    times = np.arange(start, end + STEP_S, STEP_S)
    along = np.array([one.start for one in travellers])
    speeds = np.array([one.speed for one in travellers])
    history = [(along, speeds)]
    for time in times[1:]:
        bodies = _bodies(travellers, along)
        push = np.array(
            [_acceleration(k, travellers, along, speeds, bodies, obstacles, layout, time) for k in range(len(along))]
        )
        faster = np.clip(speeds + push * STEP_S, 0, None)
        along, speeds = along + 0.5 * (speeds + faster) * STEP_S, faster
        history.append((along, speeds))
    path, pace = (np.array(column).T for column in zip(*history, strict=True))
    return [Motion(one.route, times, path[k], pace[k]) for k, one in enumerate(travellers)]


def _bodies(travellers: Sequence[Traveller], along: np.ndarray) -> np.ndarray:
    """Each traveller as three discs (N, 3, 3): x, y, radius."""
    discs = np.empty((len(travellers), 3, 3))
    for k, one in enumerate(travellers):
        x, y, heading = one.route.at(along[k])
        reach = one.pivot + np.array([-1, 0, 1]) * max(one.length - one.width, 0) / 2
        discs[k, :, 0], discs[k, :, 1] = x + reach * np.cos(heading), y + reach * np.sin(heading)
        discs[k, :, 2] = one.width / 2
    return discs


def _acceleration(
    k: int,
    travellers: Sequence[Traveller],
    along: np.ndarray,
    speeds: np.ndarray,
    bodies: np.ndarray,
    obstacles: np.ndarray,
    layout: Layout,
    time: float,
) -> float:
    me, speed = travellers[k], speeds[k]
    bend = me.route.bend(along[k] + 0.5 * speed)
    wish = min(me.wish, np.sqrt(SIDEWAYS / max(bend, 1e-4)))
    front = along[k] + me.pivot + me.length / 2
    gap, ahead_speed = _red_light(me, layout, front, speed, time), 0.0
    if me.yields:
        near, pace = _whoever_is_ahead(k, me, front, speeds, bodies, obstacles)
        if near < gap:
            gap, ahead_speed = near, pace
    free = me.urge * (1 - (speed / max(wish, 0.1)) ** 4)
    closing = speed * (speed - ahead_speed) / (2 * np.sqrt(me.urge * COMFORT))
    wanted = 1.5 + max(0.0, 1.1 * speed + closing)
    return float(np.clip(free - me.urge * (wanted / max(gap, 0.3)) ** 2, -7.0, me.urge))


def _red_light(me: Traveller, layout: Layout, front: float, speed: float, time: float) -> float:
    """Metres to a signal that stops one, inf without."""
    for stop in me.route.stops:
        gap = stop.at - front + 1.0
        if gap < 0.2:
            continue
        phase = layout.phase(stop.junction, stop.axis, time)
        too_late = phase < GREEN_SHARE + AMBER_SHARE and speed**2 / (2 * 3.5) > gap
        return gap if phase >= GREEN_SHARE and not too_late else np.inf
    return np.inf


def _whoever_is_ahead(
    k: int, me: Traveller, front: float, speeds: np.ndarray, bodies: np.ndarray, obstacles: np.ndarray
) -> tuple[float, float]:
    """Metres to the first body on one's way, and its speed."""
    middle = bodies[k, 1, :2]
    near = np.abs(bodies[:, 1, :2] - middle).sum(axis=1) < 70
    near[k] = False
    others = np.flatnonzero(near)
    discs = bodies[others].reshape(-1, 3)
    if len(obstacles):
        discs = np.concatenate([discs, obstacles[np.abs(obstacles[:, :2] - middle).sum(axis=1) < 70]])
    if not len(discs):
        return np.inf, 0.0
    way = me.route.at(front + LOOKAHEAD_M)[:, :2]
    dx, dy = way[:, None, 0] - discs[:, 0], way[:, None, 1] - discs[:, 1]
    distances = np.sqrt(dx * dx + dy * dy) - discs[:, 2]
    touching = distances < me.width / 2 + CLEARANCE_M
    steps = np.flatnonzero(touching.any(axis=1))
    if not len(steps):
        return np.inf, 0.0
    who = int(np.flatnonzero(touching[steps[0]])[0]) // 3
    pace = speeds[others[who]] if who < len(others) else 0.0
    return float(LOOKAHEAD_M[steps[0]]), float(pace)
