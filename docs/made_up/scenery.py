"""What stands around in a street: trees, lamps, signals and houses, made of solids."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from made_up.shapes import DARK, LAMP, RED, RGB, STEEL, Face, Solid, Span, block, drum

BARK = (104, 86, 70)


def tree(height: float, leaves: RGB) -> list[Solid]:
    """A trunk under a crown of three drums."""
    low, radius = 0.3 * height, 0.27 * height
    levels = [(low, 0.55), (low + 0.22 * height, 1.0), (low + 0.48 * height, 0.85), (height, 0.25)]
    crown = [
        drum(0, 0, (start, end), (radius * below, radius * above), leaves)
        for (start, below), (end, above) in pairwise(levels)
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
