"""The street of the README's picture: what stands and moves where, in the ego frame, all of it made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from shapes import (
    RGB,
    Face,
    Solid,
    Span,
    barrier,
    block,
    bus,
    car,
    cone,
    cycle,
    drum,
    excavator,
    house,
    lamp_post,
    person,
    traffic_light,
    trailer,
    tree,
    truck,
)

from calibration.transform import Transform
from perception.nuscenes import CLASS_NAMES
from perception.types import Boxes3D

ASPHALT, PAVING, KERB, PAINT, YELLOW = (84, 88, 95), (158, 155, 149), (186, 184, 178), (226, 226, 220), (222, 178, 66)
GRASS, SOIL = (116, 138, 92), (148, 126, 98)

# Along x runs the street: two lanes a way and a strip to park on each side. Across it, another one.
STREET, CROSSING = (-4.4, 14.6), (26.0, 40.0)  # y and x of their kerbs [m]
MIDDLE, LANES = 5.25, (1.75, 8.75)  # y of the double line and of the dashed ones
FAR = 150.0

SHAPES = {
    "car": car,
    "truck": truck,
    "construction_vehicle": excavator,
    "bus": bus,
    "trailer": trailer,
    "barrier": barrier,
    "motorcycle": lambda size, paint: cycle(size, paint, heavy=True),
    "bicycle": lambda size, paint: cycle(size, paint, heavy=False),
    "pedestrian": person,
    "traffic_cone": cone,
}

SILVER, BLACK, BLUE, TEAL, MAROON = (196, 200, 204), (58, 60, 66), (66, 98, 150), (70, 128, 128), (140, 58, 58)
CREAM, MUSTARD, OLIVE, PLUM, CORAL = (224, 214, 188), (226, 172, 52), (112, 118, 76), (108, 80, 118), (214, 104, 84)
WHITE, RED, ORANGE = (232, 232, 228), (206, 56, 46), (236, 112, 40)

OBJECTS = (  # class, x, y [m], heading [deg], speed [m/s], (length, width, height) [m], colour
    # at the crossing ahead
    ("bus", 29.8, 5.5, -90, 5.0, (11.2, 2.8, 3.2), CORAL),
    ("truck", 36.4, -17.0, 90, 0.0, (7.6, 2.5, 3.3), BLUE),
    ("car", 36.4, 27.0, 90, 8.0, (4.5, 1.85, 1.5), WHITE),
    ("car", 29.8, 21.0, -90, 4.0, (4.7, 1.9, 1.7), MAROON),
    ("pedestrian", 21.4, -2.6, 90, 1.3, (0.75, 0.65, 1.75), BLUE),
    ("pedestrian", 22.3, 0.6, -90, 1.2, (0.75, 0.65, 1.68), MUSTARD),
    ("pedestrian", 21.5, 8.4, -90, 1.5, (0.8, 0.7, 1.82), PLUM),
    # on the street, its way and the other way
    ("car", 15.6, 3.5, 0, 0.0, (4.5, 1.85, 1.48), RED),
    ("motorcycle", 7.2, 3.7, 0, 6.0, (2.1, 0.8, 1.65), BLACK),
    ("bicycle", 12.6, -2.4, 0, 4.0, (1.75, 0.6, 1.75), TEAL),
    ("car", 9.4, 10.5, 180, 9.0, (4.8, 1.95, 1.75), SILVER),
    ("car", -1.6, 7.0, 180, 7.0, (4.4, 1.85, 1.5), TEAL),
    ("truck", -23.6, 7.0, 180, 8.0, (8.0, 2.5, 3.4), ORANGE),
    ("trailer", -14.6, 7.0, 180, 8.0, (8.4, 2.5, 3.6), SILVER),
    ("car", -11.5, 0.1, 0, 6.0, (4.6, 1.9, 1.55), CREAM),
    ("car", -20.5, 3.6, 0, 8.0, (4.9, 2.0, 1.85), BLACK),
    ("bus", -38.0, 0.2, 0, 7.0, (11.0, 2.8, 3.1), TEAL),
    ("car", 52.0, 7.2, 180, 9.0, (4.6, 1.9, 1.6), BLUE),
    ("car", 50.0, 0.0, 0, 8.0, (4.6, 1.9, 1.5), WHITE),
    # parked
    ("car", 14.5, 13.45, 180, 0.0, (4.4, 1.8, 1.5), OLIVE),
    ("car", 3.4, 13.45, 180, 0.0, (4.7, 1.9, 1.5), WHITE),
    ("car", -8.6, 13.4, 180, 0.0, (4.5, 1.85, 1.65), BLUE),
    ("car", -29.0, 13.4, 180, 0.0, (4.5, 1.85, 1.5), MUSTARD),
    ("car", -6.4, -3.2, 0, 0.0, (4.3, 1.8, 1.5), MAROON),
    ("car", -17.5, -3.2, 0, 0.0, (4.8, 1.9, 1.75), SILVER),
    ("truck", -5.6, -17.0, 90, 0.0, (6.4, 2.3, 2.9), TEAL),
    ("motorcycle", -1.0, -4.9, 70, 0.0, (2.0, 0.75, 1.15), RED),
    ("bicycle", 2.3, -7.7, 5, 0.0, (1.7, 0.55, 1.1), PLUM),
    # the work site on the right
    ("construction_vehicle", 13.8, -14.2, 205, 0.0, (7.4, 2.6, 3.3), MUSTARD),
    ("barrier", 8.0, -5.0, 90, 0.0, (0.55, 2.3, 1.0), RED),
    ("barrier", 10.6, -5.0, 90, 0.0, (0.55, 2.3, 1.0), RED),
    ("barrier", 13.2, -5.0, 90, 0.0, (0.55, 2.3, 1.0), RED),
    ("traffic_cone", 5.6, -4.3, 0, 0.0, (0.42, 0.42, 0.95), ORANGE),
    ("traffic_cone", 7.0, -3.4, 0, 0.0, (0.42, 0.42, 0.95), ORANGE),
    ("traffic_cone", 15.2, -3.9, 0, 0.0, (0.42, 0.42, 0.95), ORANGE),
    ("pedestrian", 8.6, -10.2, 60, 0.0, (0.6, 0.65, 1.8), ORANGE),
    # on foot
    ("pedestrian", -3.2, -6.4, 180, 1.3, (0.75, 0.65, 1.72), CORAL),
    ("pedestrian", -4.2, -7.2, 180, 1.3, (0.75, 0.65, 1.8), BLACK),
    ("pedestrian", 19.6, -6.4, 30, 0.9, (0.7, 0.65, 1.7), CREAM),
    ("pedestrian", 6.4, 16.9, 0, 1.2, (0.75, 0.65, 1.75), RED),
    ("pedestrian", 5.2, 17.5, 0, 1.2, (0.75, 0.65, 1.66), TEAL),
    ("pedestrian", -5.6, 17.0, 180, 1.4, (0.75, 0.65, 1.78), MUSTARD),
    ("pedestrian", -15.0, 21.5, 120, 1.0, (0.7, 0.65, 1.7), WHITE),
    ("pedestrian", -13.5, -6.5, 0, 1.4, (0.75, 0.65, 1.74), BLUE),
)

HOUSES = (  # x, y, height [m], colour
    ((-1.5, 6), (-24, -8.4), 11, (158, 112, 96)),
    ((-26, -9), (-24, -8.4), 15, (188, 170, 142)),
    ((-44, -26), (-24, -8.4), 9, (126, 138, 148)),
    ((-70, -44), (-24, -8.4), 18, (160, 122, 104)),
    ((4, 22.6), (-42, -27), 14, (170, 164, 152)),
    ((-13, 3), (-60, -40), 16, (134, 146, 146)),
    ((43.6, 62), (-24, -8.4), 17, (182, 152, 126)),
    ((62, 92), (-26, -8.4), 11, (138, 146, 154)),
    ((43.6, 60), (-60, -26), 12, (150, 116, 104)),
    ((8, 22.6), (18.6, 36), 16, (128, 142, 150)),
    ((-44, -26), (18.6, 34), 12, (182, 160, 132)),
    ((-72, -44), (18.6, 34), 17, (142, 148, 152)),
    ((43.6, 60), (18.6, 36), 21, (170, 132, 112)),
    ((60, 92), (18.6, 36), 13, (186, 176, 156)),
    ((43.6, 60), (38, 70), 15, (140, 150, 152)),
    ((-24, 0), (50, 66), 14, (174, 150, 130)),
    ((0, 20), (52, 66), 20, (146, 152, 158)),
    ((105, 125), (-30, 40), 30, (150, 156, 160)),
    ((-125, -105), (-40, 30), 34, (150, 156, 160)),
    ((15, 50), (-125, -100), 28, (150, 156, 160)),
    ((10, 60), (105, 125), 26, (150, 156, 160)),
)

TREES = (  # x, y, height [m]
    *((x, 16.2, 5.6 + 0.37 * (x % 5)) for x in (-40, -32, -22, -11, 0.5, 11.5, 19, 47, 55, 64, 73)),
    *((x, -5.6, 5.2 + 0.4 * (x % 4)) for x in (-38, -30, -22, -9.8, 47, 56, 66)),
    *((-19, 27, 8.5), (-9, 24.5, 7.0), (-3, 31, 9.0), (4, 26, 7.6), (-13, 36, 8.2), (2.5, 40, 9.4), (-21, 41, 8.8)),
)
LEAVES = ((104, 132, 76), (118, 140, 82), (92, 120, 74), (132, 146, 84))


@dataclass(frozen=True)
class Street:
    """Everything there is, in the ego frame."""

    ground: list[Face]  # at z = 0, each laid over those before it
    solids: list[Solid]
    decals: list[Face]  # a hair in front of the solids they lie on
    boxes: Boxes3D  # around the objects that a detector should find


def street() -> Street:
    """The whole scene."""
    solids: list[Solid] = []
    decals: list[Face] = []
    for class_name, x, y, heading_deg, _, size, colour in OBJECTS:
        solids += placed(SHAPES[class_name](size, colour), x, y, heading_deg)
    for house_x, house_y, height, colour in HOUSES:
        walls, windows = house(house_x, house_y, height, colour)
        solids, decals = solids + walls, decals + windows
    return Street(ground(), solids + furniture(), decals, boxes())


def boxes() -> Boxes3D:
    """The objects' boxes, in the ego frame."""
    names, x, y, headings_deg, speeds, sizes, _ = zip(*OBJECTS, strict=True)
    yaws, sizes = np.radians(headings_deg), np.array(sizes)
    velocities = np.array(speeds)[:, None] * np.c_[np.cos(yaws), np.sin(yaws)]
    labels = np.array([CLASS_NAMES.index(name) for name in names])
    centers = np.c_[x, y, sizes[:, 2] / 2]
    return Boxes3D(centers, sizes, yaws, velocities, np.ones(len(labels)), labels, CLASS_NAMES, "ego")


def placed(solids: list[Solid], x: float, y: float, heading_deg: float = 0) -> list[Solid]:
    """Solids made around the origin, put where they stand."""
    half = np.radians(heading_deg) / 2
    ego_from_shape = Transform.from_quaternion((np.cos(half), 0, 0, np.sin(half)), (x, y, 0))
    return [tuple(face.moved(ego_from_shape) for face in solid) for solid in solids]


def furniture() -> list[Solid]:
    """Trees, lamps, signals, a heap of sand, bins: what isn't to be detected."""
    solids = [drum(18.4, -19.5, (0, 2.2), (3.2, 0.3), (190, 164, 120), 9), drum(8.6, 14.95, (0, 0.75), (0.16, 0.14), RED)]
    solids += [block((x, x + 0.5), (-8.1, -7.6), (0, 1.0), (78, 98, 88)) for x in (4.4, -12.4)]
    solids += [block((6.1, 22.4), (-26.6, -26.4), (0, 2.0), (170, 150, 120))]
    for index, (x, y, height) in enumerate(TREES):
        solids += placed(tree(height, LEAVES[index % len(LEAVES)]), x, y, 37 * index)
    for x, y, heading_deg in ((-26, -4.9, 90), (-2.8, 15.1, -90), (24.2, -4.9, 90), (44.5, 15.1, -90), (-27, 15.1, -90)):
        solids += placed(lamp_post(), x, y, heading_deg)
    for x, y, heading_deg in ((25, -5.6, 0), (41, 15.6, 180), (41.2, -5.6, 90)):
        solids += placed(traffic_light(), x, y, heading_deg)
    return solids


def ground() -> list[Face]:
    """Paving, roads and the paint on them, from the lowest layer to the highest."""
    everywhere = (-FAR, FAR)
    kerbs = [(low - 0.25, high + 0.25) for low, high in (CROSSING, STREET)]
    areas = [patch(everywhere, everywhere, PAVING), patch((-24, 7.6), (19, 48), GRASS), patch((6, 22.4), (-26.5, -8.6), SOIL)]
    areas += [patch(everywhere, kerbs[1], KERB), patch(kerbs[0], everywhere, KERB)]
    areas += [patch(everywhere, STREET, ASPHALT), patch(CROSSING, everywhere, ASPHALT), patch((-8.8, -1.7), (-38, -8.4), ASPHALT)]
    return areas + markings()


def markings() -> list[Face]:
    """Lines along both roads, stop lines and zebra crossings."""
    faces = []
    for start, end in ((-FAR, 18.0), (46.0, FAR)):
        faces += [line((start, end), MIDDLE + side, YELLOW) for side in (-0.15, 0.15)]
        faces += [line((x, x + 3), y) for y in LANES for x in np.arange(start, end - 3, 7.0)]
        faces += [line((start, end), y) for y in (-1.9, 12.3)]
    for start, end in ((-FAR, -9.0), (19.0, FAR)):
        faces += [patch((32.9, 33.1), (start, end), YELLOW)]
    faces += [patch((18.6, 19.0), (-1.8, MIDDLE - 0.3), PAINT), patch((45.0, 45.4), (MIDDLE + 0.3, 12.2), PAINT)]
    for x in ((20.4, 23.4), (41.6, 44.4)):
        faces += [patch(x, (y, y + 0.55), PAINT) for y in np.arange(STREET[0] + 0.4, STREET[1] - 0.6, 1.15)]
    faces += [patch((x, x + 0.1), (12.3, 14.6), PAINT) for x in np.arange(-43, 18, 6.0)]
    return faces


def line(x: Span, y: float, colour: RGB = PAINT) -> Face:
    """A painted line along the street."""
    return patch(x, (y - 0.07, y + 0.07), colour)


def patch(x: Span, y: Span, colour: RGB) -> Face:
    """A rectangle on the ground."""
    return Face(np.array([(x[0], y[0], 0), (x[1], y[0], 0), (x[1], y[1], 0), (x[0], y[1], 0)], float), colour)
