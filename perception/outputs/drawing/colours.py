"""Colours, RGB 0-255: ten classes that colour-blind people can tell apart as well, and ramps for points."""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]

BACKGROUND: Colour = (16, 19, 24)
PANEL: Colour = (24, 28, 35)
INK: Colour = (232, 236, 241)
MUTED: Colour = (146, 155, 168)
FAINT: Colour = (62, 70, 82)
WARNING: Colour = (255, 196, 84)
TRUTH: Colour = (255, 255, 255)
EGO: Colour = (205, 212, 222)

# Every two of them are at least 19 apart in CIELAB, for normal sight and for protanopia, deuteranopia and tritanopia
# as Machado et al. (2009) simulate them; light enough for the dark panel, none as white as truth.
CLASS_COLOURS: dict[str, Colour] = {
    "car": (60, 180, 255),
    "truck": (240, 165, 0),
    "construction_vehicle": (165, 120, 75),
    "bus": (255, 240, 90),
    "trailer": (240, 60, 15),
    "barrier": (165, 195, 210),
    "motorcycle": (120, 120, 255),
    "bicycle": (90, 255, 195),
    "pedestrian": (255, 90, 150),
    "traffic_cone": (210, 180, 120),
}


def class_colours(class_names: tuple[str, ...]) -> tuple[Colour, ...]:
    """A colour for each class: the nuScenes classes always have their own, others go round the palette."""
    palette = tuple(CLASS_COLOURS.values())
    return tuple(CLASS_COLOURS.get(name, palette[index % len(palette)]) for index, name in enumerate(class_names))


def ramp(values: np.ndarray, low: float, high: float, colormap: int = cv2.COLORMAP_VIRIDIS) -> np.ndarray:
    """Colours (N, 3) uint8 for values (N,) from `low` (the map's start) to `high` (its end), clamped outside."""
    levels = np.clip((values - low) / (high - low), 0, 1) * 255
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], colormap)[0, :, ::-1]  # comes as BGR
    return table[levels.astype(np.uint8)]
