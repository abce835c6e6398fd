"""Where things go: smooth lines with a heading, and the places along them where a signal may stop one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.simulation.layout import CORNER_M, CROSSING, HALF_EXTENT_M, KERB_M, STOP_M, Block, Layout, Street

STEP_M = 0.5


@dataclass(frozen=True, eq=False)
class Stop:
    """A stop line on a route."""

    at: float  # m along the route
    junction: tuple[int, int]
    axis: int  # whose green it waits for


@dataclass(frozen=True, eq=False)
class Route:
    """A line sampled about every half metre."""

    points: np.ndarray  # (K, 2) [m]
    headings: np.ndarray  # (K,) [rad], unwrapped
    along: np.ndarray  # (K,) [m] from the start
    stops: tuple[Stop, ...] = ()
    heights: np.ndarray | None = None  # (K,) of the ground [m]; None where it is as high everywhere

    @property
    def length(self) -> float:
        return float(self.along[-1])

    def at(self, along: np.ndarray | float) -> np.ndarray:
        """x, y and heading (..., 3) at distances along the route."""
        places = np.empty((*np.shape(along), 3))
        for k, column in enumerate((self.points[:, 0], self.points[:, 1], self.headings)):
            places[..., k] = np.interp(along, self.along, column)
        return places

    @cached_property
    def bends(self) -> np.ndarray:
        """How sharply it turns at most within the next nine metres (K,) [1/m]."""
        ahead = self.along[:, None] + np.array([0.0, 3.0, 6.0, 9.0])
        return np.abs(np.diff(np.interp(ahead, self.along, self.headings), axis=1)).max(axis=1) / 3.0

    def bend(self, along: float) -> float:
        """The same, at a distance along the route."""
        return float(self.bends[min(int(along / self.along[1]), len(self.along) - 1)])


def route_through(corners: np.ndarray, radius: float, stops: tuple[Stop, ...] = ()) -> Route:
    """A route along straight pieces between corners (K, 2), which it rounds."""
    pieces = [corners[:1]]
    for before, corner, after in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        pieces.append(_rounded(before, corner, after, radius))
    points = np.concatenate([*pieces, corners[-1:]])
    keep = np.r_[True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6]
    return _sampled(points[keep], stops)


def _rounded(before: np.ndarray, corner: np.ndarray, after: np.ndarray, radius: float) -> np.ndarray:
    towards, away = corner - before, after - corner
    reach = min(radius, 0.5 * np.linalg.norm(towards), 0.5 * np.linalg.norm(away))
    start = corner - reach * towards / np.linalg.norm(towards)
    end = corner + reach * away / np.linalg.norm(away)
    t = np.linspace(0, 1, 12)[:, None]
    if abs(np.dot(towards, away)) > 1e-6 * np.linalg.norm(towards) * np.linalg.norm(away):
        return (1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end
    center = start + (end - corner)  # a right angle: a quarter of a circle
    angle = t * np.pi / 2
    return center + (start - center) * np.cos(angle) + (corner - start) * np.sin(angle)


def _sampled(points: np.ndarray, stops: tuple[Stop, ...]) -> Route:
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    places = np.linspace(0, along[-1], max(int(along[-1] / STEP_M), 2))
    points = np.stack([np.interp(places, along, points[:, k]) for k in (0, 1)], axis=1)
    steps = np.gradient(points, axis=0)
    return Route(points, np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])), places, stops)


def drive(
    rng: np.random.Generator,
    layout: Layout,
    street: Street,
    forward: bool,  # in the direction of the axis
    lane: int,
    start: float,  # on the axis
    aside: float = 0.0,  # m to the right of the lane's middle
    straight: bool = False,  # never turn
    turn: float = 0.5,  # how likely at a junction
) -> Route:
    """A vehicle's way from somewhere on a lane until it leaves the city, turning at junctions as it likes."""
    corners, lines = [_on_lane(street, forward, lane, start, aside)], []
    for _ in range(5):
        ahead = _next_junction(layout, street, forward, start)
        if ahead is None:
            break
        across = layout.streets[1 - street.axis][ahead]
        here = layout.streets[street.axis].index(street)
        junction = (here, ahead) if street.axis == 0 else (ahead, here)
        sign = 1 if forward else -1
        lines.append(
            (
                _on_lane(street, forward, lane, across.position - sign * (across.half_width + STOP_M), aside),
                junction,
                street.axis,
            )
        )
        start = across.position
        choices = [] if straight else ["right"] * (lane == street.lanes - 1) + ["left"] * (lane == 0)
        if choices and rng.random() < turn:
            to_right = choices[rng.integers(len(choices))] == "right"
            forward = _forward_after(street.axis, forward, to_right)
            lane = across.lanes - 1 if to_right else 0
            corner_axis, position = street.axis, _on_lane(across, forward, lane, 0.0, aside)[street.axis]
            corner = corners[-1].copy()
            corner[corner_axis] = position
            corners.append(corner)
            start, street = corner[across.axis], across
    end = HALF_EXTENT_M + 20 if forward else -HALF_EXTENT_M - 20
    corners.append(_on_lane(street, forward, lane, end, aside))
    route = route_through(np.array(corners), 9.0)
    stops = tuple(Stop(_place_of(route, point), junction, axis) for point, junction, axis in lines)
    return Route(route.points, route.headings, route.along, stops)


def _on_lane(street: Street, forward: bool, lane: int, place: float, aside: float) -> np.ndarray:
    """A point: right of the middle line, as seen in the direction of travel."""
    offset = street.offset(lane) + aside
    to_right = -1 if (street.axis == 0) == forward else 1
    across = street.position + to_right * offset
    return np.array([place, across] if street.axis == 0 else [across, place])


def _next_junction(layout: Layout, street: Street, forward: bool, start: float) -> int | None:
    places = np.array([other.position for other in layout.streets[1 - street.axis]])
    halves = np.array([other.half_width for other in layout.streets[1 - street.axis]])
    ahead = np.flatnonzero(places - halves > start + 1 if forward else places + halves < start - 1)
    if not len(ahead):
        return None
    return int(ahead[0] if forward else ahead[-1])


def _forward_after(axis: int, forward: bool, to_right: bool) -> bool:
    """Whether one drives up the other axis after a turn: from +x a right turn leads to -y, from +y to +x."""
    return forward != to_right if axis == 0 else forward == to_right


def _place_of(route: Route, point: np.ndarray) -> float:
    return float(route.along[np.linalg.norm(route.points - point, axis=1).argmin()])


def stroll(rng: np.random.Generator, block: Block, inset: float) -> Route:
    """Once around a block, `inset` metres from the kerb, starting anywhere."""
    (x0, y0), (x1, y1) = np.array(block.low) + inset, np.array(block.high) - inset
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    first = rng.integers(4)
    corners = np.roll(corners, -first, axis=0)
    if rng.random() < 0.5:
        corners = corners[::-1]
    middle = corners[0] + (corners[1] - corners[0]) * rng.uniform(0.05, 0.9)
    return route_through(np.concatenate([[middle], corners[1:], corners[:1], [middle]]), CORNER_M)


def cross(rng: np.random.Generator, layout: Layout, junction: tuple[int, int]) -> Route:
    """From one sidewalk over a zebra crossing to the other, with some metres on either side."""
    along = int(rng.integers(2))  # the street that is crossed
    street, other = layout.streets[along][junction[along]], layout.streets[1 - along][junction[1 - along]]
    side = rng.choice([-1, 1])
    place = other.position + side * (other.half_width + rng.uniform(CROSSING[0] + 0.5, CROSSING[1] - 0.5))
    reach = street.half_width + 1.0
    approach = side * rng.uniform(6, 18)
    ends = [
        (place + approach, -reach - 1.2),
        (place, -reach - 1.2),
        (place, reach + 1.2),
        (place + approach, reach + 1.2),
    ]
    points = np.array([(a, street.position + b) if along == 0 else (street.position + b, a) for a, b in ends])
    if rng.random() < 0.5:
        points = points[::-1]
    route = route_through(points, 1.0)
    kerb = _place_of(route, points[1]) + 0.8
    on_road = np.abs(route.points[:, 1 - along] - street.position) < street.half_width
    heights = np.where(on_road, 0.0, KERB_M)
    return Route(route.points, route.headings, route.along, (Stop(kerb, junction, 1 - along),), heights)
