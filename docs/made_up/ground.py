"""The ground of the street: paving, roads and the paint on them, in the ego frame."""

from __future__ import annotations

import numpy as np

from made_up.shapes import RGB, Face, Span

ASPHALT, PAVING, KERB, PAINT, YELLOW = (84, 88, 95), (158, 155, 149), (186, 184, 178), (226, 226, 220), (222, 178, 66)
GRASS, SOIL = (116, 138, 92), (148, 126, 98)

# Along x runs the street: two lanes a way and a strip to park on each side. Across it, another one.
STREET, CROSSING = (-4.4, 14.6), (26.0, 40.0)  # y and x of their kerbs [m]
MIDDLE, LANES = 5.25, (1.75, 8.75)  # y of the double line and of the dashed ones
FAR = 150.0


def ground() -> list[Face]:
    """Paving, roads and the paint on them, from the lowest layer to the highest."""
    everywhere = (-FAR, FAR)
    kerbs = [(low - 0.25, high + 0.25) for low, high in (CROSSING, STREET)]
    areas = [
        patch(everywhere, everywhere, PAVING),
        patch((-24, 7.6), (19, 48), GRASS),
        patch((6, 22.4), (-26.5, -8.6), SOIL),
    ]
    areas += [patch(everywhere, kerbs[1], KERB), patch(kerbs[0], everywhere, KERB)]
    areas += [
        patch(everywhere, STREET, ASPHALT),
        patch(CROSSING, everywhere, ASPHALT),
        patch((-8.8, -1.7), (-38, -8.4), ASPHALT),
    ]
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
