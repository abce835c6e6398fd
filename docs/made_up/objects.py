"""What detectors look for: vehicles, people, barriers and cones, made of solids.

They stand around the origin, heading along +x, and fill their length, width and height.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from made_up.shapes import DARK, GLASS, LAMP, ORANGE, RGB, STEEL, WHITE, Size, Solid, Span, beam, block, drum, slab

TYRE, TAIL, SKIN, DENIM, SHIRT = (40, 42, 46), (186, 34, 34), (214, 170, 140), (62, 70, 92), (88, 132, 178)


def wheel(x: float, radius: float, y: Span) -> list[Solid]:
    """An upright wheel that stands on the ground: a tyre, and a rim that shows on both sides of it."""
    angles = (np.arange(12) + 0.5) * np.pi / 6
    outlines = [
        list(zip(x + r * np.cos(angles), radius + r * np.sin(angles), strict=True)) for r in (radius, 0.6 * radius)
    ]
    return [slab(outlines[0], (y[0] + 0.01, y[1] - 0.01), TYRE), slab(outlines[1], y, STEEL)]


def wheels(positions: list[float], radius: float, width: float) -> list[Solid]:
    """A pair of wheels at each x."""
    outer, inner = width / 2, width / 2 - 0.24
    pairs = [wheel(x, radius, y) for x in positions for y in ((inner, outer), (-outer, -inner))]
    return [solid for pair in pairs for solid in pair]


def lights(length: float, width: float, z: Span, inset: float = 0.12) -> list[Solid]:
    """White ones in front, red ones at the rear, flush with both ends."""
    spans = [(s * (width / 2 - inset), s * (width / 2 - inset - 0.34)) for s in (1, -1)]
    ends = [((length / 2 - 0.1, length / 2), LAMP), ((-length / 2, -length / 2 + 0.1), TAIL)]
    return [block(x, (min(y), max(y)), z, colour) for y in spans for x, colour in ends]


def car(size: Size, paint: RGB) -> list[Solid]:
    """A car: body, cabin of glass under a painted roof, wheels, lights."""
    length, width, height = size
    end, side, waist = length / 2 - 0.02, width / 2 - 0.03, 0.56 * height
    cabin, roof = (-0.43 * length, 0.2 * length), (0.38 - 0.43 * length, 0.2 * length - 0.68)
    return [
        block((-end, end), (0.05 - side, side - 0.05), (0.18, 0.3), DARK),
        block((-end, end), (-side, side), (0.22, waist), paint, lean=(0.05, 0.04, 0.03)),
        block(cabin, (0.06 - side, side - 0.06), (waist, height - 0.06), GLASS, lean=(0.75, 0.4, 0.17)),
        block(roof, (0.2 - side, side - 0.2), (height - 0.09, height), paint, lean=(0.05, 0.05, 0.05)),
        *wheels([-0.3 * length, 0.31 * length], 0.33, width),
        *lights(length, width, (0.62 * waist, 0.84 * waist)),
    ]


def truck(size: Size, paint: RGB) -> list[Solid]:
    """A lorry: cab in front, box behind."""
    length, width, height = size
    end, side = length / 2, width / 2
    sill, lintel = 0.5 * height, 0.72 * height
    return [
        block((-end + 0.1, end - 0.1), (0.2 - side, side - 0.2), (0.45, 0.85), DARK),
        block((end - 2.0, end - 0.04), (0.06 - side, side - 0.06), (0.5, sill), paint),
        block((end - 1.9, end - 0.08), (0.1 - side, side - 0.1), (sill, lintel), GLASS, lean=(0.3, 0, 0.08)),
        block((end - 1.9, end - 0.36), (0.16 - side, side - 0.16), (lintel, 0.78 * height), paint),
        block((-end, end - 2.15), (-side, side), (0.85, height), WHITE),
        *wheels([-0.3 * length, end - 1.2], 0.48, width),
        *lights(length, width, (0.62, 0.8)),
    ]


def trailer(size: Size, paint: RGB) -> list[Solid]:
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


def bus(size: Size, paint: RGB) -> list[Solid]:
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


def excavator(size: Size, paint: RGB) -> list[Solid]:
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


def person(size: Size, coat: RGB) -> list[Solid]:
    """Somebody in mid-stride."""
    length, width, height = size
    hip, neck, side = 0.48 * height, 0.85 * height, width / 2
    return [
        beam((0, hip), (length / 2 - 0.08, 0.03), 0.15, (0.02, 0.16), DENIM),
        beam((0, hip), (-length / 2 + 0.08, 0.03), 0.15, (-0.16, -0.02), DENIM),
        block((-0.13, 0.13), (0.1 - side, side - 0.1), (hip - 0.06, neck), coat, lean=(0.02, 0.02, 0)),
        beam((0, neck - 0.04), (0.12, hip), 0.1, (-side, 0.1 - side), coat),
        beam((0, neck - 0.04), (-0.1, hip), 0.1, (side - 0.1, side), coat),
        drum(0.02, 0, (neck, height), (0.1, 0.09), SKIN),
        drum(0, 0, (0.94 * height, height), (0.11, 0.1), DARK),
    ]


def bicycle(size: Size, paint: RGB) -> list[Solid]:
    """A bicycle, with a rider if it is high enough for one."""
    return _two_wheels(size, paint, heavy=False)


def motorcycle(size: Size, paint: RGB) -> list[Solid]:
    """A motorcycle, with a rider if it is high enough for one."""
    return _two_wheels(size, paint, heavy=True)


def _two_wheels(size: Size, paint: RGB, heavy: bool) -> list[Solid]:
    length, width, height = size
    thick, radius = (0.09, 0.31) if heavy else (0.03, 0.34)
    hub = length / 2 - radius
    seat, bar = (-0.25, 0.85 if heavy else 0.95), (0.45, 1.05)
    middle = (-0.03, 0.03)
    solids = wheel(-hub, radius, (-thick, thick)) + wheel(hub, radius, (-thick, thick))
    solids += [beam((-hub, radius), seat, 0.07, middle, paint), beam(seat, (hub, radius), 0.07, middle, paint)]
    solids += [beam((hub, radius), bar, 0.06, middle, DARK)]
    solids += [block((0.4, 0.5), (-width / 2, width / 2), (1, 1.06), DARK)]
    if heavy:
        solids += [slab([(-0.7, 0.8), (-0.35, 0.3), (0.45, 0.3), (0.6, 0.85), (0.1, 0.95)], (-0.17, 0.17), paint)]
    if height > 1.3:
        hip, neck = (-0.22, 0.95), (0.1, height - 0.28)
        coat = ORANGE if heavy else SHIRT
        solids += [beam(hip, neck, 0.24, (-0.2, 0.2), coat)]
        solids += [beam(hip, (0.1, 0.3), 0.15, y, DENIM) for y in ((-0.2, -0.07), (0.07, 0.2))]
        solids += [beam(neck, bar, 0.09, y, coat) for y in ((-0.3, -0.2), (0.2, 0.3))]
        solids += [drum(neck[0] + 0.08, 0, (neck[1], height), (0.12, 0.1), DARK if heavy else WHITE)]
    return solids


def barrier(size: Size, paint: RGB) -> list[Solid]:
    """A striped barrier across its heading, as nuScenes' boxes have them."""
    length, width, height = size
    edges = np.linspace(-width / 2, width / 2, 7)
    lean = (length / 2 - 0.08, length / 2 - 0.08, 0)
    return [
        block((-length / 2, length / 2), y, (0, height), (WHITE, paint)[index % 2], lean=lean)
        for index, y in enumerate(pairwise(edges))
    ]


def cone(size: Size, paint: RGB) -> list[Solid]:
    """A traffic cone with a white band."""
    length, width, height = size
    rings = [(0.05, 0.17), (0.45 * height, 0.105), (0.7 * height, 0.07), (height, 0.025)]
    bands = [
        drum(0, 0, (low, high), (below, above), colour)
        for ((low, below), (high, above)), colour in zip(pairwise(rings), (paint, WHITE, paint), strict=True)
    ]
    return [block((-length / 2, length / 2), (-width / 2, width / 2), (0, 0.06), DARK), *bands]


SHAPES = {
    "car": car,
    "truck": truck,
    "construction_vehicle": excavator,
    "bus": bus,
    "trailer": trailer,
    "barrier": barrier,
    "motorcycle": motorcycle,
    "bicycle": bicycle,
    "pedestrian": person,
    "traffic_cone": cone,
}
