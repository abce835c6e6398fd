"""Text on pictures in Pillow's built-in scalable font, and labels that keep out of each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from perception.outputs.drawing.colours import INK, Colour

PADDING = 3  # [px] around a text that has a plate


@dataclass(frozen=True)
class Text:
    """One line of text; it covers `rectangle`, plate included."""

    left: float  # [px]
    top: float  # [px]
    string: str
    size: int = 13  # [px] font size
    colour: Colour = INK
    plate: tuple[int, int, int, int] | None = None  # RGBA of the rounded plate behind it

    @property
    def width(self) -> float:
        return text_width(self.string, self.size) + (2 * PADDING if self.plate else 0)

    @property
    def height(self) -> int:
        return line_height(self.size) + (2 if self.plate else 0)

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom [px]."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def text_width(string: str, size: int) -> float:
    """How wide a string is at this font size [px]."""
    return _font(size).getlength(string)


def line_height(size: int) -> int:
    """From the top of the tallest letter to the bottom of the lowest at this font size [px]."""
    return sum(_font(size).getmetrics())


def fitted(string: str, size: int, width: float) -> str:
    """The string if it fits into `width` pixels, else as much of its beginning as fits, and an ellipsis."""
    if text_width(string, size) <= width:
        return string
    while string and text_width(string + "…", size) > width:
        string = string[:-1]
    return string + "…"


def write(image: np.ndarray, texts: Sequence[Text]) -> np.ndarray:
    """The image (H, W, 3) uint8 with the texts on it."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")  # so that plates may be translucent
    for text in texts:
        left, top, right, bottom = text.rectangle
        if text.plate:
            draw.rounded_rectangle((left, top, right - 1, bottom - 1), 3, fill=text.plate)
            left, top = left + PADDING, top + 1
        draw.text((left, top), text.string, (*text.colour, 255), font=_font(text.size))
    return np.asarray(canvas)


def place(
    labels: Sequence[Text],  # the most important first; left and top are not used
    anchors: np.ndarray,  # (N, 4) left, top, right, bottom of what each label belongs to [px]
    taken: Sequence[tuple[float, float, float, float]],  # rectangles to keep free
    width: int,
    height: int,
) -> list[Text]:
    """Put each label above, below or into what it belongs to, whichever is free; a label with no room is left out."""
    taken, placed = list(taken), []
    for label, (left, top, right, bottom) in zip(labels, anchors, strict=True):
        u = min(max(left, 0), width - label.width)
        for spot in ((u, top - label.height - 1), (u, bottom + 1), (u, top + 1), (right + 1, top)):
            moved = replace(label, left=spot[0], top=spot[1])
            if _inside(moved.rectangle, width, height) and not any(_overlap(moved.rectangle, t) for t in taken):
                placed.append(moved)
                taken.append(moved.rectangle)
                break
    return placed


def _inside(rectangle: tuple[float, ...], width: int, height: int) -> bool:
    left, top, right, bottom = rectangle
    return left >= 0 and top >= 0 and right <= width and bottom <= height


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
