"""Anti-aliased strokes on RGB images: clipped exactly to the image, placed to a sixteenth of a pixel.

Pixel coordinates are (u, v), whole numbers at pixel centres, as projections give them.
"""

from __future__ import annotations

import cv2
import numpy as np

from perception.outputs.drawing.colours import BACKGROUND, Colour

SUBPIXEL_BITS = 4


def clip_segments(
    segments: np.ndarray,  # (N, 2, 2) start and end, u and v [px]
    width: int,
    height: int,
    margin: float = 8,  # room for the stroke's own width [px]
) -> np.ndarray:
    """The parts of the segments inside the image -> (M, 2, 2), M <= N; segments with a non-finite end are dropped.

    Liang and Barsky, "A new concept and method for line clipping" (1984): a projection near the camera's plane may lie
    millions of pixels out, more than the integers that lines are rasterised with can hold.
    """
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    start, step = segments[:, 0], segments[:, 1] - segments[:, 0]
    low, high = np.full(2, -margin), np.array([width, height]) + margin
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossings = np.stack([(low - start) / step, (high - start) / step])  # (2, N, 2) as fractions of the step
    inside = (start >= low) & (start <= high)
    parallel = step == 0  # such a segment is in the slab for ever or never
    enter = np.where(parallel, np.where(inside, -np.inf, np.inf), crossings.min(axis=0)).max(axis=-1).clip(min=0)
    leave = np.where(parallel, np.inf, crossings.max(axis=0)).min(axis=-1).clip(max=1)
    kept = enter < leave
    ends = np.stack([enter, leave], axis=1)[kept, :, None]
    return start[kept, None] + ends * step[kept, None]


def draw_segments(
    image: np.ndarray,  # (H, W, 3) uint8, changed in place
    segments: np.ndarray,  # (N, 2, 2) [px]
    colour: Colour,
    thickness: int = 1,
    casing: bool = False,  # a dark edge, so that the stroke shows on anything
) -> None:
    """Draw segments into the image."""
    clipped = clip_segments(segments, image.shape[1], image.shape[0])
    lines = list(_fixed_point(clipped))
    if casing:
        cv2.polylines(image, lines, False, BACKGROUND, thickness + 2, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.polylines(image, lines, False, colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def fill_polygon(image: np.ndarray, corners: np.ndarray, colour: Colour, opacity: float) -> None:
    """Lay a translucent convex polygon (K, 2) over the image; nothing if a corner is unknown or absurdly far out."""
    if not (np.abs(corners) < 1e5).all():  # NaN isn't either
        return
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, None)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, None, image.shape[1::-1])
    if (high <= low).any():
        return
    window = image[low[1] : high[1], low[0] : high[0]]
    filled = window.copy()
    cv2.fillConvexPoly(filled, _fixed_point(corners - low), colour, cv2.LINE_AA, SUBPIXEL_BITS)
    window[:] = cv2.addWeighted(filled, opacity, window, 1 - opacity, 0)


def draw_circle(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour, thickness: int = 1) -> None:
    """A circle around (u, v); thickness -1 fills it."""
    scale = 1 << SUBPIXEL_BITS
    cv2.circle(
        image, _fixed_point(centre).tolist(), round(radius * scale), colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS
    )


def arrow(start: np.ndarray, tip: np.ndarray, head: float = 5) -> np.ndarray:
    """Segments (3, 2, 2) of an arrow from (u, v) to (u, v) with a head of that size [px]."""
    along = (tip - start) / max(np.linalg.norm(tip - start), 1e-9)
    across = np.array([-along[1], along[0]])
    barbs = [tip - head * (along + side * across / 2) for side in (1, -1)]
    return np.array([(start, tip), (tip, barbs[0]), (tip, barbs[1])])


def draw_points(image: np.ndarray, pixels: np.ndarray, colours: np.ndarray, size: int = 2) -> None:
    """Square dots `size` pixels wide at pixels (N, 2), later ones on top; pixels outside the image are left out."""
    height, width = image.shape[:2]
    corner = np.floor(pixels - (size - 1) / 2 + 0.5).astype(int)
    for du in range(size):
        for dv in range(size):
            u, v = corner[:, 0] + du, corner[:, 1] + dv
            seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            image[v[seen], u[seen]] = colours[seen]


def _fixed_point(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)
