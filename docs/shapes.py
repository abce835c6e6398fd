"""Flat-faced convex solids, and the cars, people, trees and houses made of them.

Shapes stand around the origin, heading along +x, z up from the ground, and fill their length, width and height [m].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.transform import Transform

RGB = tuple[int, int, int]
Span = tuple[float, float]

GLASS, DARK, STEEL, SKIN = (58, 72, 88), (44, 46, 50), (120, 124, 130), (214, 170, 140)
WHITE, RED, ORANGE, LAMP, TAIL = (232, 232, 228), (196, 52, 44), (236, 112, 40), (246, 240, 214), (186, 34, 34)
BARK, DENIM = (104, 86, 70), (62, 70, 92)


@dataclass(frozen=True)
class Face:
    """A flat convex polygon of one colour."""

    corners: np.ndarray  # (K, 3) [m], counter-clockwise seen from outside
    colour: RGB

    @property
    def normal(self) -> np.ndarray:
        """The unit vector (3,) that points outwards."""
        a, b, c = self.corners[:3]
        normal = np.cross(b - a, c - a)
        return normal / np.linalg.norm(normal)

    def moved(self, target_from_source: Transform) -> Face:
        """The same face elsewhere."""
        return replace(self, corners=target_from_source.apply(self.corners))


Solid = tuple[Face, ...]  # closed and convex


def between(lower: np.ndarray, upper: np.ndarray, colour: RGB, top: RGB | None = None) -> Solid:
    """The solid between two rings (K, 3) whose edges are parallel, pair by pair."""
    nexts = [np.roll(ring, -1, axis=0) for ring in (lower, upper)]
    sides = np.stack([lower, nexts[0], nexts[1], upper], axis=1)
    centre = np.concatenate([lower, upper]).mean(axis=0)
    faces = [Face(lower, colour), Face(upper, top or colour), *(Face(side, colour) for side in sides)]
    inwards = [face.normal @ (face.corners[0] - centre) < 0 for face in faces]
    return tuple(
        replace(face, corners=face.corners[::-1]) if turn else face for face, turn in zip(faces, inwards, strict=True)
    )


def block(x: Span, y: Span, z: Span, colour: RGB, top: RGB | None = None, lean: tuple = (0, 0, 0)) -> Solid:
    """A block whose front, rear and both sides lean inwards by so many metres from bottom to top."""
    front, rear, side = lean
    lower = [(x[0], y[0], z[0]), (x[1], y[0], z[0]), (x[1], y[1], z[0]), (x[0], y[1], z[0])]
    inset = np.array([(rear, side), (-front, side), (-front, -side), (rear, -side)])
    upper = np.c_[np.array(lower)[:, :2] + inset, np.full(4, z[1])]
    return between(np.array(lower, float), upper, colour, top)


def slab(profile_xz: list[Span], y: Span, colour: RGB) -> Solid:
    """A convex outline in the x-z plane, extruded sideways."""
    x, z = np.array(profile_xz, float).T
    return between(np.c_[x, np.full(len(x), y[0]), z], np.c_[x, np.full(len(x), y[1]), z], colour)


def beam(start: Span, end: Span, thickness: float, y: Span, colour: RGB) -> Solid:
    """A straight bar between two points (x, z)."""
    along = np.subtract(end, start) / np.linalg.norm(np.subtract(end, start))
    across = np.array([-along[1], along[0]]) * thickness / 2
    return slab([start + across, start - across, end - across, end + across], y, colour)


def drum(x: float, y: float, z: Span, radii: Span, colour: RGB, sides: int = 8) -> Solid:
    """An upright drum or cone with its radius at the bottom and at the top."""
    angles = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    circle = np.c_[np.cos(angles), np.sin(angles), np.zeros(sides)]
    lower, upper = (np.array([x, y, height]) + radius * circle for height, radius in zip(z, radii, strict=True))
    return between(lower, upper, colour)


def wheel(x: float, radius: float, y: Span, colour: RGB = DARK) -> Solid:
    """An upright wheel that stands on the ground."""
    angles = (np.arange(10) + 0.5) * np.pi / 5
    return slab(list(zip(x + radius * np.cos(angles), radius * (1 + np.sin(angles)), strict=True)), y, colour)


def wheels(positions: list[float], radius: float, width: float) -> list[Solid]:
    """A pair of wheels at each x."""
    outer, inner = width / 2, width / 2 - 0.24
    return [wheel(x, radius, y) for x in positions for y in ((inner, outer), (-outer, -inner))]


def lights(length: float, width: float, z: Span, inset: float = 0.12) -> list[Solid]:
    """White ones in front, red ones at the rear, flush with both ends."""
    spans = [(s * (width / 2 - inset), s * (width / 2 - inset - 0.34)) for s in (1, -1)]
    ends = [((length / 2 - 0.1, length / 2), LAMP), ((-length / 2, -length / 2 + 0.1), TAIL)]
    return [block(x, (min(y), max(y)), z, colour) for y in spans for x, colour in ends]


def car(size: tuple, paint: RGB) -> list[Solid]:
    """A car: body, cabin of glass under a painted roof, wheels, lights."""
    length, width, height = size
    end, side, waist = length / 2 - 0.02, width / 2 - 0.03, 0.56 * height
    cabin = (-0.43 * length, 0.2 * length)
    return [
        block((-end, end), (-side, side), (0.22, waist), paint, lean=(0.05, 0.04, 0.03)),
        block(cabin, (0.06 - side, side - 0.06), (waist, height - 0.06), GLASS, lean=(0.75, 0.4, 0.17)),
        block(
            (cabin[0] + 0.38, cabin[1] - 0.68), (0.2 - side, side - 0.2), (height - 0.09, height), paint, None, (0.05,) * 3
        ),
        *wheels([-0.3 * length, 0.31 * length], 0.33, width),
        *lights(length, width, (0.62 * waist, 0.84 * waist)),
        block((-end, end), (0.05 - side, side - 0.05), (0.18, 0.3), DARK),
    ]


def truck(size: tuple, paint: RGB) -> list[Solid]:
    """A lorry: cab in front, box behind."""
    length, width, height = size
    end, side = length / 2, width / 2
    return [
        block((-end + 0.1, end - 0.1), (0.2 - side, side - 0.2), (0.45, 0.85), DARK),
        block((end - 2.0, end - 0.04), (0.06 - side, side - 0.06), (0.5, 0.5 * height), paint),
        block((end - 1.9, end - 0.08), (0.1 - side, side - 0.1), (0.5 * height, 0.72 * height), GLASS, paint, (0.3, 0, 0.08)),
        block((end - 1.9, end - 0.36), (0.16 - side, side - 0.16), (0.72 * height, 0.78 * height), paint),
        block((-end, end - 2.15), (-side, side), (0.85, height), WHITE),
        block((-end + 0.02, end - 2.17), (-side - 0.0, side), (0.85, 1.05), paint),
        *wheels([-0.3 * length, end - 1.2], 0.48, width),
        *lights(length, width, (0.62, 0.8)),
    ]


def trailer(size: tuple, paint: RGB) -> list[Solid]:
    """A box trailer on two axles at its rear."""
    length, width, height = size
    end, side = length / 2, width / 2
    return [
        block((-end, end), (-side, side), (1.0, height), paint),
        block((-end + 0.1, end - 0.3), (0.3 - side, side - 0.3), (0.6, 1.0), DARK),
        block((end - 1.8, end - 1.6), (0.3 - side, side - 0.3), (0.0, 0.6), STEEL),
        *wheels([-end + 1.2, -end + 2.4], 0.48, width),
        *lights(length, width, (0.75, 0.95))[1::2],
    ]


def bus(size: tuple, paint: RGB) -> list[Solid]:
    """A city bus with a band of windows all around."""
    length, width, height = size
    end, side = length / 2, width / 2
    sill, lintel = 0.42 * height, 0.82 * height
    posts = np.linspace(-end, end, 9)
    return [
        block((-end, end), (-side, side), (0.3, sill), paint),
        block((-end, end), (-side, side), (sill, lintel), GLASS),
        block((-end, end), (-side, side), (lintel, height), WHITE, lean=(0.1, 0.1, 0.1)),
        *(block((x - 0.06, x + 0.06), (-side - 0.01, side + 0.01), (sill, lintel), paint) for x in posts[1:-1]),
        *wheels([-0.28 * length, 0.3 * length], 0.5, width + 0.02),
        *lights(length, width, (0.6, 0.8)),
    ]


def excavator(size: tuple, paint: RGB) -> list[Solid]:
    """A digger on tracks, its arm reaching to the front."""
    length, width, height = size
    end, side = length / 2, width / 2
    rear = -end + 3.4
    tracks = [(-end + 0.5, 0.45), (-end + 0.8, 0), (rear - 0.4, 0), (rear, 0.45), (rear - 0.4, 0.9), (-end + 0.8, 0.9)]
    elbow, wrist = (0.45 * end, height - 0.2), (end - 0.5, 1.0)
    return [
        *(slab(tracks, y, DARK) for y in ((-side, 0.6 - side), (side - 0.6, side))),
        block((-end, rear - 0.3), (0.15 - side, side - 0.15), (0.95, 1.9), paint, lean=(0.1, 0.3, 0.05)),
        block((rear - 1.6, rear - 0.3), (0.2, side - 0.2), (1.9, height - 0.25), GLASS, paint, (0.25, 0.05, 0.08)),
        beam((rear - 0.8, 1.6), elbow, 0.5, (-0.45, -0.1), paint),
        beam(elbow, wrist, 0.36, (-0.42, -0.13), paint),
        slab([(end - 0.9, 0.15), (end, 0.35), (end, 0.95), (end - 0.8, 1.1)], (-0.85, 0.3), STEEL),
    ]


def person(size: tuple, coat: RGB, trousers: RGB = DENIM) -> list[Solid]:
    """Somebody in mid-stride."""
    length, width, height = size
    hip, neck, side = 0.48 * height, 0.85 * height, width / 2
    return [
        beam((0, hip), (length / 2 - 0.08, 0.03), 0.15, (0.02, 0.16), trousers),
        beam((0, hip), (-length / 2 + 0.08, 0.03), 0.15, (-0.16, -0.02), trousers),
        block((-0.13, 0.13), (0.1 - side, side - 0.1), (hip - 0.06, neck), coat, lean=(0.03, 0.03, 0.04)),
        beam((0, neck - 0.04), (0.22, hip), 0.1, (-side, 0.1 - side), coat),
        beam((0, neck - 0.04), (-0.18, hip), 0.1, (side - 0.1, side), coat),
        drum(0.02, 0, (neck, height), (0.1, 0.09), SKIN),
        drum(0, 0, (0.94 * height, height), (0.11, 0.1), DARK),
    ]


def cycle(size: tuple, paint: RGB, heavy: bool) -> list[Solid]:
    """A bicycle or a heavier motorcycle, with a rider if it is high enough for one."""
    length, width, height = size
    thick, radius = (0.09, 0.31) if heavy else (0.03, 0.34)
    hub = length / 2 - radius
    seat, bar = (-0.25, 0.85 if heavy else 0.95), (0.45, 1.05)
    solids = [wheel(x, radius, (-thick, thick)) for x in (-hub, hub)]
    solids += [beam((-hub, radius), seat, 0.07, (-0.03, 0.03), paint), beam(seat, (hub, radius), 0.07, (-0.03, 0.03), paint)]
    solids += [beam((hub, radius), bar, 0.06, (-0.03, 0.03), DARK), block((0.4, 0.5), (-width / 2, width / 2), (1, 1.06), DARK)]
    if heavy:
        solids += [slab([(-0.7, 0.8), (-0.35, 0.3), (0.45, 0.3), (0.6, 0.85), (0.1, 0.95)], (-0.17, 0.17), paint)]
    if height > 1.3:
        hip, neck = (-0.22, 0.95), (0.1, height - 0.28)
        solids += [beam(hip, neck, 0.24, (-0.2, 0.2), ORANGE if heavy else (88, 132, 178))]
        solids += [beam(hip, (0.1, 0.3), 0.15, y, DENIM) for y in ((-0.2, -0.07), (0.07, 0.2))]
        solids += [beam(neck, bar, 0.09, y, DENIM) for y in ((-0.3, -0.2), (0.2, 0.3))]
        solids += [drum(neck[0] + 0.08, 0, (neck[1], height), (0.12, 0.1), DARK if heavy else WHITE)]
    return solids


def barrier(size: tuple, paint: RGB) -> list[Solid]:
    """A striped barrier across its heading, as nuScenes' boxes have them."""
    length, width, height = size
    edges = np.linspace(-width / 2, width / 2, 7)
    lean = (length / 2 - 0.08, length / 2 - 0.08, 0)
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    return [
        block((-length / 2, length / 2), y, (0, height), (WHITE, paint)[index % 2], lean=lean)
        for index, y in enumerate(spans)
    ]


def cone(size: tuple, paint: RGB) -> list[Solid]:
    """A traffic cone with a white band."""
    length, width, height = size
    rings = [(0.05, 0.17), (0.45 * height, 0.105), (0.7 * height, 0.07), (height, 0.025)]
    bands = [
        drum(0, 0, (low[0], high[0]), (low[1], high[1]), colour)
        for low, high, colour in zip(rings[:-1], rings[1:], (paint, WHITE, paint), strict=True)
    ]
    return [block((-length / 2, length / 2), (-width / 2, width / 2), (0, 0.06), DARK), *bands]


def tree(height: float, leaves: RGB) -> list[Solid]:
    """A trunk under a crown of three drums."""
    low, radius = 0.3 * height, 0.27 * height
    levels = [(low, 0.55), (low + 0.22 * height, 1.0), (low + 0.48 * height, 0.85), (height, 0.25)]
    crown = [
        drum(0, 0, (a[0], b[0]), (radius * a[1], radius * b[1]), leaves)
        for a, b in zip(levels[:-1], levels[1:], strict=True)
    ]
    return [drum(0, 0, (0, low), (0.17, 0.13), BARK), *crown]


def lamp_post() -> list[Solid]:
    """A street lamp with its arm along +x."""
    return [
        drum(0, 0, (0, 6.5), (0.1, 0.06), STEEL),
        block((-0.1, 1.6), (-0.05, 0.05), (6.45, 6.55), STEEL),
        block((1.0, 1.7), (-0.14, 0.14), (6.36, 6.46), LAMP),
    ]


def traffic_light() -> list[Solid]:
    """A signal on a post, facing -x."""
    bulbs = zip((3.1, 2.85, 2.6), (RED, (120, 100, 50), (60, 96, 70)), strict=True)
    return [
        drum(0, 0, (0, 3.4), (0.07, 0.06), DARK),
        block((-0.2, 0.1), (-0.18, 0.18), (2.45, 3.4), DARK),
        *(block((-0.23, -0.2), (-0.09, 0.09), (z, z + 0.18), colour) for z, colour in bulbs),
    ]


def house(x: Span, y: Span, height: float, paint: RGB) -> tuple[list[Solid], list[Face]]:
    """A block with a roof edge, and the windows that lie on its walls."""
    trim = tuple(round(0.86 * channel) for channel in paint)
    edge = 0.25
    solids = [
        block(x, y, (0, height), paint),
        block((x[0] - edge, x[1] + edge), (y[0] - edge, y[1] + edge), (height, height + 0.5), trim),
    ]
    walls = [face for face in solids[0] if abs(face.normal[2]) < 0.5]
    return solids, [window for wall in walls for window in _windows(wall, height)]


def _windows(wall: Face, height: float, storey: float = 3.3, spacing: float = 2.8) -> list[Face]:
    """Rows of windows a hair in front of a wall; wider ones on the ground floor."""
    foot = wall.corners[wall.corners[:, 2] < 0.1]
    along = np.cross((0, 0, 1), wall.normal)
    start, width = foot[np.argmin(foot @ along)] + 0.02 * wall.normal, np.ptp(foot @ along)
    columns, rows = int(width // spacing), int(height // storey)
    margin = (width - columns * spacing) / 2
    faces = []
    for row in range(rows):
        wide, low, high = (2.3, 0.3, 2.5) if row == 0 else (1.5, 0.9, 2.6)
        for column in range(columns):
            left = margin + (column + 0.5) * spacing - wide / 2
            corners = [(left, low), (left + wide, low), (left + wide, high), (left, high)]
            ring = [start + u * along + np.array([0, 0, row * storey + v]) for u, v in corners]
            shade = (7 * row + 3 * column) % 5 * 7  # no two neighbours alike
            faces.append(Face(np.array(ring), (64 + shade, 82 + shade, 100 + shade)))
    return faces
