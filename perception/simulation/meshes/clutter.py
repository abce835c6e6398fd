"""Street furniture. Barriers and cones are annotated; the rest is there to be mistaken for something."""

from __future__ import annotations

import numpy as np

from perception.simulation.geometry import Mesh, ball, box, cylinder, merged, prism, rod, tube
from perception.simulation.layout import AMBER_SHARE, GREEN_SHARE
from perception.simulation.looks import (
    BEIGE,
    BLUE,
    BROWN,
    DARK,
    DARK_STEEL,
    GREEN,
    GREY,
    ORANGE,
    RED,
    STEEL,
    TRIM,
    WHITE,
    WINDOW,
    YELLOW,
    Kind,
    Look,
    from_srgb,
)
from perception.simulation.meshes.model import Model, model

CONCRETE = Look(Kind.PLAIN, from_srgb(158, 155, 148))
SIGNAL_RED, SIGNAL_AMBER, SIGNAL_GREEN = (1.0, 0.06, 0.03), (1.0, 0.55, 0.05), (0.05, 1.0, 0.45)
WOOD = Look(Kind.BARK, from_srgb(140, 100, 66))


def barrier(rng: np.random.Generator) -> Model:
    """A temporary barrier: a striped board on feet, a water-filled block, or concrete; its width is its long side."""
    width, kind = rng.uniform(1.8, 2.6), rng.random()
    if kind < 0.45:
        board = Look(Kind.STRIPES, (RED, ORANGE)[rng.integers(2)])
        parts = [box((0.06, width, 0.28), (0, 0, z), board) for z in (0.9, 0.45)]
        parts += [
            rod((x, y, 0), (0, y, 1.05), 0.03, STEEL) for y in (-0.42 * width, 0.42 * width) for x in (-0.25, 0.25)
        ]
    elif kind < 0.75:
        colour = Look(Kind.PLAIN, (ORANGE, RED, WHITE)[rng.integers(3)])
        parts = [
            box((0.5, width, 0.5), (0, 0, 0.25), colour, (0.6, 1)),
            box((0.3, width, 0.5), (0, 0, 0.75), colour, (0.7, 1)),
        ]
    else:
        parts = [
            box((0.6, width, 0.35), (0, 0, 0.17), CONCRETE, (0.6, 1)),
            box((0.3, width, 0.55), (0, 0, 0.6), CONCRETE, (0.6, 1)),
        ]
    return model("movable_object.barrier", parts)


def traffic_cone(rng: np.random.Generator) -> Model:
    """A cone, or at times a slim beacon."""
    height, orange, white = rng.uniform(0.5, 0.95), Look(Kind.PLAIN, ORANGE), Look(Kind.RETRO, WHITE)
    base = box((0.38, 0.38, 0.04), (0, 0, 0.02), Look(Kind.RUBBER, (ORANGE, DARK)[rng.integers(2)]))
    radii = [0.14, 0.105, 0.08, 0.055, 0.025]
    body = tube(list(zip(radii, np.linspace(0.04, height, 5), strict=True)), [orange, white, orange, orange])
    return model("movable_object.trafficcone", [base, body])


def bollard(rng: np.random.Generator) -> Model:
    """As tall as a cone, as thick as a cone, and no cone."""
    height, colour = rng.uniform(0.6, 1.0), Look(Kind.METAL, (DARK, GREY, GREEN, BROWN)[rng.integers(4)])
    top = rng.uniform(0.6, 1.0)
    return model("", [tube([(0.13, 0), (0.10, 0.1), (0.09 * top, height), (0.02, height + 0.05)], colour)])


def hydrant(rng: np.random.Generator) -> Model:
    """A fire hydrant."""
    colour = Look(Kind.PLAIN, (RED, YELLOW, RED, BLUE)[rng.integers(4)])
    body = tube([(0.17, 0), (0.17, 0.06), (0.12, 0.1), (0.12, 0.55), (0.15, 0.58), (0.13, 0.68), (0.03, 0.78)], colour)
    return model("", [body, cylinder(0.06, 0.42, (0, 0, 0.45), colour, "y", 8)])


def bin_(rng: np.random.Generator) -> Model:
    """A litter bin or a wheeled rubbish bin, of a pedestrian's girth."""
    colour = Look(Kind.PLAIN, (GREEN, DARK, GREY, BLUE, BROWN)[rng.integers(5)])
    if rng.random() < 0.5:
        return model("", [tube([(0.22, 0), (0.27, 0.85), (0.29, 0.9), (0.2, 1.05)], colour)])
    height = rng.uniform(1.0, 1.3)
    lid = box((0.62, 0.62, 0.06), (0.02, 0, height + 0.02), Look(Kind.PLAIN, (YELLOW, DARK, BLUE)[rng.integers(3)]))
    return model("", [box((0.48, 0.5, height), (0, 0, height / 2), colour, (1.2, 1.15)), lid])


def parcel_post(rng: np.random.Generator) -> Model:
    """A mailbox, a ticket machine or a switch cabinet: person-sized boxes."""
    height, width = rng.uniform(1.1, 1.9), rng.uniform(0.4, 0.75)
    colour = Look(Kind.PLAIN, (YELLOW, BLUE, GREY, RED, GREEN, BEIGE)[rng.integers(6)], float(rng.random()))
    panel = box((0.02, width * 0.7, 0.3), (0.26, 0, height * 0.75), Look(Kind.POSTER, WHITE, float(rng.random())))
    return model("", [box((0.5, width, height), (0, 0, height / 2), colour), panel])


def standee(rng: np.random.Generator) -> Model:
    """A statue or a wrapped parasol: a person's outline to a LiDAR."""
    height = rng.uniform(1.5, 2.1)
    look = Look(
        *((Kind.METAL, from_srgb(70, 84, 74)), (Kind.PLAIN, BEIGE), (Kind.CLOTH, (0.5, 0.48, 0.42)))[rng.integers(3)]
    )
    if rng.random() < 0.5:
        parts = [
            box((0.5, 0.5, 0.35), (0, 0, 0.17), CONCRETE),
            tube([(0.2, 0.35), (0.17, 0.9), (0.22, 1.3), (0.08, 1.45)], look),
        ]
        return model("", [*parts, ball((0.1, 0.09, 0.12), (0, 0, 1.58), look)])
    return model(
        "",
        [
            tube(
                [(0.25, 0), (0.25, 0.06), (0.03, 0.07), (0.03, 0.6), (0.16, 0.7), (0.12, height * 0.9), (0.02, height)],
                look,
            )
        ],
    )


def a_board(rng: np.random.Generator) -> Model:
    """A shop's folding sign."""
    look = Look(Kind.POSTER, (WHITE, DARK, BROWN)[rng.integers(3)], float(rng.random()))
    sides = [box((0.04, 0.62, 1.05), (0, 0, 0.52), look).pitched(a, (0, 0, 1.0)) for a in (-0.22, 0.22)]
    return model("", sides)


def planter(rng: np.random.Generator) -> Model:
    """A long tub with a low hedge: a barrier's size."""
    from perception.simulation.meshes.plants import leaves

    width = rng.uniform(1.5, 2.6)
    tub = box((0.6, width, 0.5), (0, 0, 0.25), (CONCRETE, WOOD, Look(Kind.PLAIN, DARK))[rng.integers(3)])
    return model("", [tub, leaves(rng, (0, 0, 0.7), (0.3, width / 2, 0.3), 120, 0.1, solid=True)])


def bench(rng: np.random.Generator) -> Model:
    """A bench; its seat is 0.45 m high."""
    seat = [box((0.45, 1.8, 0.05), (0, 0, 0.45), WOOD), box((0.05, 1.8, 0.35), (-0.24, 0, 0.75), WOOD)]
    return model("", [*seat, *(box((0.4, 0.06, 0.45), (0, y, 0.22), DARK_STEEL) for y in (-0.7, 0.7))])


def rack(rng: np.random.Generator) -> Model:
    """Hoops that bicycles lean on: bicycle-like without one."""
    hoops = []
    for x in np.arange(-1, 2) * 0.75:
        posts = [rod((x, y, 0), (x, y, 0.75), 0.03, STEEL) for y in (-0.35, 0.35)]
        hoops += [*posts, rod((x, -0.35, 0.75), (x, 0.35, 0.75), 0.03, STEEL)]
    return model("", hoops)


def kiosk(rng: np.random.Generator) -> Model:
    """A stand or a site container: a van's size, no wheels."""
    length, width, height = rng.uniform(2.8, 6.0), rng.uniform(2.1, 2.5), rng.uniform(2.4, 2.9)
    look = Look((Kind.RIBS, Kind.PLAIN)[rng.integers(2)], (BLUE, GREEN, WHITE, ORANGE, GREY, RED)[rng.integers(6)])
    parts = [
        box((length, width, height), (0, 0, height / 2), look),
        box((0.5 * length, 0.05, 0.9), (0, width / 2, 0.6 * height), WINDOW),
    ]
    if rng.random() < 0.5:
        parts.append(box((length, 0.9, 0.06), (0, width / 2 + 0.4, 0.85 * height), Look(Kind.STRIPES, RED)))
    return model("", parts)


def skip(rng: np.random.Generator) -> Model:
    """A rubble skip: a car's size."""
    look = Look(Kind.RIBS, (YELLOW, BLUE, GREEN, DARK)[rng.integers(4)])
    outline = [(-1.2, 0.1), (1.2, 0.1), (1.9, 1.4), (-1.9, 1.4)]
    rubble = ball((1.5, 0.7, 0.4), (0, 0, 1.3), Look(Kind.PLAIN, from_srgb(120, 108, 94)), 8, 5)
    return model("", [prism(outline, 1.8, look), rubble])


def shelter(rng: np.random.Generator) -> Model:
    """A bus stop's glass shelter."""
    posts = [rod((x, y, 0), (x, y, 2.4), 0.05, DARK_STEEL) for x in (-0.6, 0.6) for y in (-1.9, 1.9)]
    walls = [
        box((0.03, 3.8, 1.7), (-0.6, 0, 1.3), WINDOW),
        box((1.1, 0.03, 1.7), (0, 1.9, 1.3), Look(Kind.POSTER, WHITE, float(rng.random()))),
    ]
    return model(
        "",
        [
            *posts,
            *walls,
            box((1.6, 4.2, 0.12), (0, 0, 2.45), Look(Kind.PLAIN, DARK)),
            box((0.4, 2.5, 0.06), (-0.35, 0, 0.48), WOOD),
        ],
    )


def column(rng: np.random.Generator) -> Model:
    """An advertising column."""
    poster = Look(Kind.POSTER, BEIGE, float(rng.random()))
    return model(
        "",
        [
            tube(
                [(0.65, 0), (0.65, 0.3), (0.6, 0.32), (0.6, 2.6), (0.75, 2.65), (0.3, 3.1)],
                [TRIM, TRIM, poster, TRIM, TRIM],
                14,
            )
        ],
    )


def street_lamp(reach: float = 1.8) -> Mesh:
    """A lamp post with an arm along +y, lamp 7 m up."""
    arm = [rod((0, 0, 0), (0, 0, 6.8), 0.09, DARK_STEEL, 8), rod((0, 0, 6.7), (0, reach, 7.1), 0.05, DARK_STEEL)]
    return merged(
        [
            *arm,
            box((0.25, 0.7, 0.1), (0, reach, 7.1), TRIM),
            box((0.2, 0.6, 0.03), (0, reach, 7.03), Look(Kind.LAMP, (1.0, 0.85, 0.6))),
        ]
    )


def traffic_sign(rng: np.random.Generator) -> Mesh:
    """A sign on a pole, facing +x."""
    pole, colour = rod((0, 0, 0), (0, 0, 2.9), 0.04, STEEL), (RED, BLUE, YELLOW, GREEN)[rng.integers(4)]
    plate, white = Look(Kind.RETRO, colour), Look(Kind.RETRO, WHITE)
    if rng.random() < 0.5:
        return merged(
            [
                pole,
                cylinder(0.33, 0.03, (0.05, 0, 2.55), plate, "x", 14),
                cylinder(0.22, 0.02, (0.075, 0, 2.55), white, "x", 14),
            ]
        )
    return merged(
        [pole, box((0.03, 0.6, 0.6), (0.05, 0, 2.55), plate), box((0.02, 0.42, 0.42), (0.07, 0, 2.55), white)]
    )


def traffic_light(arm: float, phase: float) -> Mesh:
    """A signal on a mast with an arm along +y, facing -x; `phase` is how far its cycle is at time 0 (0-1)."""
    parts = [rod((0, 0, 0), (0, 0, 5.6), 0.10, DARK_STEEL, 8), rod((0, 0, 5.5), (0, arm, 5.7), 0.06, DARK_STEEL)]
    lamps = ((SIGNAL_RED, GREEN_SHARE + AMBER_SHARE, 0.3), (SIGNAL_AMBER, GREEN_SHARE, 0.0), (SIGNAL_GREEN, 0.0, -0.3))
    for y, z in ((0.0, 2.6), (arm, 5.4)):
        parts.append(box((0.22, 0.34, 1.0), (-0.05, y, z), TRIM))
        for colour, start, dz in lamps:
            look = Look(Kind.SIGNAL, colour, float((start - phase) % 1.0))
            parts.append(cylinder(0.11, 0.05, (-0.17, y, z + dz), look, "x", 10))
    return merged(parts)
