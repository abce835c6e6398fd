"""A comparison as a picture: a row a method, a column a condition, lighter where more is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED
from perception.outputs.drawing.lettering import Text, text_width, write
from perception.robustness.heatmap import share_colour

CELL = (128, 34)  # px, width and height
LEFT, TOP, MARGIN = 240, 96, 16  # px


def draw(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """The picture (H, W, 3) uint8 of each method's mAP under each condition; colours are shares of the best of all."""
    titles = list(rows[0]["scores"])
    best = max(max(row["scores"][title]["mAP"] for title in titles for row in rows), 1e-9)
    shape = (TOP + len(rows) * CELL[1] + MARGIN, LEFT + len(titles) * CELL[0] + MARGIN, 3)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    texts = [
        Text(MARGIN, 12, "mAP by sensors", 18, INK),
        Text(MARGIN, 38, "lighter: more is found", 13, MUTED),
    ]
    for column, title in enumerate(titles):
        texts.append(Text(_middle(column, title, 13), TOP - 22, title, 13, MUTED))
    for line, row in enumerate(rows):
        top = TOP + line * CELL[1]
        texts.append(Text(MARGIN, top + 9, row["name"], 14, INK))
        for column, title in enumerate(titles):
            value = row["scores"][title]["mAP"]
            colour, left = share_colour(value / best), LEFT + column * CELL[0]
            cv2.rectangle(canvas, (left + 1, top + 1), (left + CELL[0] - 2, top + CELL[1] - 2), colour, -1)
            ink = (20, 20, 24) if sum(colour) > 380 else (245, 245, 245)
            text = f"{value:.3f}"
            texts.append(Text(_middle(column, text, 14), top + 8, text, 14, ink))
    return write(canvas, texts)


def _middle(column: int, text: str, size: int) -> float:
    return LEFT + column * CELL[0] + (CELL[0] - text_width(text, size)) / 2
