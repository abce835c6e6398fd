"""Strips of text across a picture: a title line, and keys that explain what colours and strokes mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED, Colour
from perception.outputs.drawing.lettering import Text, fitted, line_height, text_width, write
from perception.outputs.drawing.strokes import arrow, draw_segments

SIZE = 13  # [px] of the letters
ICON = (18, 12)  # width and height [px]
LINE, SPACE = 22, 16  # [px] from line to line, and between keys


@dataclass(frozen=True)
class Key:
    """A small icon and what it stands for."""

    string: str
    icon: np.ndarray | None = None  # (12, W, 3) uint8
    colour: Colour = INK

    @property
    def width(self) -> float:
        """From the icon's left edge to the end of the text [px]."""
        return text_width(self.string, SIZE) + (self.icon.shape[1] + 6 if self.icon is not None else 0)


def title_strip(left: str, right: str, width: int) -> np.ndarray:
    """A line (H, width, 3) with a title on the left, shortened if need be, and a smaller remark on the right."""
    strip = np.full((line_height(18) + 4, width, 3), BACKGROUND, np.uint8)
    remark = Text(width - text_width(right, 14), 5, right, 14, MUTED)
    return write(strip, [Text(0, 0, fitted(left, 18, remark.left - SPACE), 18), remark])


def key_strip(keys: Sequence[Key], width: int) -> np.ndarray:
    """As many lines (H, width, 3) as the keys take."""
    spots = list(_flow(keys, width))
    lines = 1 + max((line for _, _, line in spots), default=-1)
    strip = np.full((lines * LINE, width, 3), BACKGROUND, np.uint8)
    texts = []
    for key, left, line in spots:
        top = line * LINE
        if key.icon is not None:
            height, wide = key.icon.shape[:2]
            strip[top + 5 : top + 5 + height, left : left + wide] = key.icon
            left += wide + 6
        texts.append(Text(left, top + (LINE - line_height(SIZE)) / 2, key.string, SIZE, key.colour))
    return write(strip, texts)


def note_strip(notes: Sequence[str], width: int, colour: Colour, most: int = 4) -> np.ndarray:
    """A line for each note, shortened to fit; beyond `most` only how many more there are."""
    lines = list(notes) if len(notes) <= most else [*notes[: most - 1], f"and {len(notes) - most + 1} more notes"]
    strip = np.full((len(lines) * LINE, width, 3), BACKGROUND, np.uint8)
    texts = [Text(0, row * LINE, fitted(line, SIZE, width), SIZE, colour) for row, line in enumerate(lines)]
    return write(strip, texts)


def swatch(colour: Colour) -> np.ndarray:
    """An icon of one colour."""
    return np.full((ICON[1], ICON[1], 3), colour, np.uint8)


def stroke_icon(colour: Colour, thickness: int, pointed: bool = False) -> np.ndarray:
    """An icon of a stroke, or of an arrow."""
    icon = np.full((ICON[1], ICON[0], 3), BACKGROUND, np.uint8)
    start, tip = np.array([1.0, ICON[1] / 2]), np.array([ICON[0] - 2.0, ICON[1] / 2])
    draw_segments(icon, arrow(start, tip) if pointed else np.array([(start, tip)]), colour, thickness)
    return icon


def ramp_icon(colours: np.ndarray) -> np.ndarray:
    """An icon that shows colours (W, 3) side by side."""
    return np.repeat(colours[None], ICON[1], axis=0)


def _flow(keys: Iterable[Key], width: int) -> Iterator[tuple[Key, int, int]]:
    """Each key with its left edge [px] and its line, a new line wherever the next wouldn't fit."""
    left, line = 0, 0
    for key in keys:
        if left and left + key.width > width:
            left, line = 0, line + 1
        yield key, left, line
        left += round(key.width) + SPACE
