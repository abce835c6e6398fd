"""What surfaces are made of: how a camera paints them, and how a LiDAR sees them."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np


class Kind(IntEnum):
    """Materials; each has a texture in textures.py and a row in LIDAR_RESPONSE."""

    PLAIN = 0
    ASPHALT = 1
    PAVING = 2
    GRASS = 3
    FACADE = 4
    LEAF = 5
    BARK = 6
    PAINT = 7  # of cars: glossy
    GLASS = 8
    RUBBER = 9
    METAL = 10
    HEADLIGHT = 11  # shines in the dark
    TAILLIGHT = 12  # shines in the dark, brighter when braking
    MARKING = 13  # paint on the road, worn
    POSTER = 14  # advertisements and printed signs
    STRIPES = 15  # the colour and white, diagonal
    CLOTH = 16
    RIBS = 17  # corrugated sheet
    LAMP = 18  # street lamps and traffic lights: always shines in its colour
    RETRO = 19  # retroreflective sheet
    SIGNAL = 20  # a traffic light's lamp: `style` is when in the cycle it comes on, its colour tells for how long


class Look(NamedTuple):
    """A surface's material, its albedo (linear RGB, 0-1), and a number in [0, 1) that varies its texture."""

    kind: Kind
    colour: tuple[float, float, float]
    style: float = 0.0


class LidarResponse(NamedTuple):
    """How a material answers a 903 nm pulse."""

    base: float  # reflectance that doesn't depend on the colour
    by_colour: float  # what a white surface adds
    gloss: float  # exponent on the cosine of incidence: 1 is matte, more sends light away at grazing angles
    wet: float  # factor when it rains
    through: float = 0.0  # share of pulses that pass or are swallowed


LIDAR_RESPONSE = {
    Kind.PLAIN: LidarResponse(0.04, 0.45, 1.0, 0.6),
    Kind.ASPHALT: LidarResponse(0.10, 0.10, 1.0, 0.25),
    Kind.PAVING: LidarResponse(0.12, 0.30, 1.0, 0.4),
    Kind.GRASS: LidarResponse(0.30, 0.20, 1.0, 0.8),
    Kind.FACADE: LidarResponse(0.10, 0.35, 1.0, 0.6, 0.15),
    Kind.LEAF: LidarResponse(0.35, 0.20, 1.0, 0.8, 0.15),
    Kind.BARK: LidarResponse(0.15, 0.20, 1.0, 0.5),
    Kind.PAINT: LidarResponse(0.025, 0.45, 2.0, 0.55),
    Kind.GLASS: LidarResponse(0.03, 0.05, 4.0, 0.5, 0.75),
    Kind.RUBBER: LidarResponse(0.04, 0.10, 1.0, 0.5),
    Kind.METAL: LidarResponse(0.06, 0.30, 1.5, 0.6),
    Kind.HEADLIGHT: LidarResponse(0.30, 0.20, 1.0, 0.8),
    Kind.TAILLIGHT: LidarResponse(0.60, 0.20, 1.0, 0.8),
    Kind.MARKING: LidarResponse(0.35, 0.35, 1.0, 0.25),
    Kind.POSTER: LidarResponse(0.25, 0.20, 1.0, 0.7),
    Kind.STRIPES: LidarResponse(0.30, 0.30, 1.0, 0.7),
    Kind.CLOTH: LidarResponse(0.08, 0.40, 1.0, 0.6),
    Kind.RIBS: LidarResponse(0.05, 0.40, 1.3, 0.6),
    Kind.LAMP: LidarResponse(0.10, 0.20, 1.0, 0.8),
    Kind.RETRO: LidarResponse(1.50, 0.50, 0.5, 0.8),
    Kind.SIGNAL: LidarResponse(0.10, 0.20, 1.0, 0.8),
}


@cache
def lidar_responses() -> np.ndarray:
    """LIDAR_RESPONSE as an array (kinds, 5) float32, in the order of `Kind`."""
    return np.array([LIDAR_RESPONSE[kind] for kind in Kind], np.float32)


def from_srgb(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """A colour as painters name it (sRGB, 0-255) -> linear albedo."""
    return tuple(float((channel / 255) ** 2.2) for channel in (red, green, blue))


BLACK = from_srgb(24, 24, 26)
DARK = from_srgb(52, 53, 56)
GREY = from_srgb(120, 122, 124)
SILVER = from_srgb(178, 180, 183)
WHITE = from_srgb(228, 228, 225)
RED = from_srgb(166, 40, 38)
ORANGE = from_srgb(232, 104, 24)
YELLOW = from_srgb(226, 176, 32)
GREEN = from_srgb(52, 92, 62)
BLUE = from_srgb(44, 76, 134)
BROWN = from_srgb(104, 74, 50)
BEIGE = from_srgb(196, 178, 150)
SKIN = (from_srgb(226, 178, 150), from_srgb(190, 138, 104), from_srgb(128, 84, 60), from_srgb(84, 56, 42))

RUBBER = Look(Kind.RUBBER, from_srgb(30, 30, 32))
WINDOW = Look(Kind.GLASS, from_srgb(38, 46, 52))
STEEL = Look(Kind.METAL, from_srgb(150, 152, 155))
DARK_STEEL = Look(Kind.METAL, from_srgb(70, 72, 75))
TRIM = Look(Kind.PLAIN, from_srgb(36, 36, 38))
HEADLIGHT = Look(Kind.HEADLIGHT, from_srgb(235, 235, 225))
TAILLIGHT = Look(Kind.TAILLIGHT, from_srgb(190, 20, 24))
PLATE = Look(Kind.RETRO, from_srgb(215, 212, 190))
