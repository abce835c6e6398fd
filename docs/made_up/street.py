"""The street of the README's picture: what stands and moves where, in the ego frame, all of it made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.transform import Transform
from made_up.ground import ground
from made_up.objects import SHAPES
from made_up.scenery import house, lamp_post, traffic_light, tree
from made_up.shapes import ORANGE, RED, WHITE, Face, Solid, block, drum
from perception.nuscenes import CLASS_NAMES
from perception.types import Boxes3D

SILVER, BLACK, BLUE, TEAL, MAROON = (196, 200, 204), (58, 60, 66), (66, 98, 150), (70, 128, 128), (140, 58, 58)
CREAM, MUSTARD, PLUM, CORAL = (224, 214, 188), (226, 172, 52), (108, 80, 118), (214, 104, 84)

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
    ("motorcycle", 6.2, 4.5, 0, 6.0, (2.1, 0.8, 1.65), BLUE),
    ("bicycle", 12.6, -2.4, 0, 4.0, (1.75, 0.6, 1.75), TEAL),
    ("car", 9.4, 10.5, 180, 9.0, (4.8, 1.95, 1.75), SILVER),
    ("car", -1.6, 7.0, 180, 7.0, (4.4, 1.85, 1.5), MUSTARD),
    ("truck", -23.6, 7.0, 180, 8.0, (8.0, 2.5, 3.4), ORANGE),
    ("trailer", -14.6, 7.0, 180, 8.0, (8.4, 2.5, 3.6), SILVER),
    ("car", -11.5, 0.1, 0, 6.0, (4.6, 1.9, 1.55), CREAM),
    ("car", 29.8, -18.5, -90, 6.0, (4.9, 2.0, 1.85), BLACK),
    ("bus", -25.0, 3.6, 0, 7.0, (11.0, 2.8, 3.1), TEAL),
    ("car", 52.0, 7.2, 180, 9.0, (4.6, 1.9, 1.6), BLUE),
    ("car", 50.0, 0.0, 0, 8.0, (4.6, 1.9, 1.5), WHITE),
    # parked
    ("car", 3.4, 13.45, 180, 0.0, (4.7, 1.9, 1.5), WHITE),
    ("car", -8.6, 13.4, 180, 0.0, (4.5, 1.85, 1.65), BLUE),
    ("car", -29.0, 13.4, 180, 0.0, (4.5, 1.85, 1.5), TEAL),
    ("car", -6.4, -3.2, 0, 0.0, (4.3, 1.8, 1.5), MAROON),
    ("car", -17.5, -3.2, 0, 0.0, (4.8, 1.9, 1.75), SILVER),
    ("truck", -5.6, -17.0, 90, 0.0, (6.4, 2.3, 2.9), TEAL),
    ("motorcycle", -0.9, -6.9, 20, 0.0, (2.0, 0.75, 1.06), RED),
    ("bicycle", 3.7, -7.6, 5, 0.0, (1.7, 0.55, 1.1), CORAL),
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
LAMPS = ((-26, -4.9, 90), (-2.8, 15.1, -90), (24.2, -4.9, 90), (44.5, 15.1, -90), (-27, 15.1, -90))
SIGNALS = ((25, -5.6, 0), (41, 15.6, 180), (41.2, -5.6, 90))  # x, y [m], heading [deg], as of lamps
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
    solids = [
        drum(18.4, -19.5, (0, 2.2), (3.2, 0.3), (190, 164, 120), 9),
        drum(8.6, 14.95, (0, 0.75), (0.16, 0.14), RED),
    ]
    solids += [block((x, x + 0.5), (-8.1, -7.6), (0, 1.0), (78, 98, 88)) for x in (5.5, -12.4)]
    solids += [block(x, (-8.4, -7.1), (2.75, 2.9), colour) for x, colour in (((-1, 5.5), CORAL), ((-25, -18), TEAL))]
    solids += [block((6.1, 22.4), (-26.6, -26.4), (0, 2.0), (170, 150, 120))]
    for index, (x, y, height) in enumerate(TREES):
        solids += placed(tree(height, LEAVES[index % len(LEAVES)]), x, y, 37 * index)
    for x, y, heading_deg in LAMPS:
        solids += placed(lamp_post(), x, y, heading_deg)
    for x, y, heading_deg in SIGNALS:
        solids += placed(traffic_light(), x, y, heading_deg)
    return solids
