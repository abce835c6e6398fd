"""A comparison as a picture: a row a method, a column a condition, lighter where more is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED
from perception.outputs.drawing.lettering import Text, write
from perception.robustness.heatmap import draw_cell, middle

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
        texts.append(Text(middle(LEFT + column * CELL[0], CELL[0], title, 13), TOP - 22, title, 13, MUTED))
    for line, row in enumerate(rows):
        top = TOP + line * CELL[1]
        texts.append(Text(MARGIN, top + 9, row["name"], 14, INK))
        for column, title in enumerate(titles):
            value = row["scores"][title]["mAP"]
            texts.append(draw_cell(canvas, LEFT + column * CELL[0], top, CELL, value, value / best))
    return write(canvas, texts)
