"""What is left of the scores, as a picture: a row a corruption, darker where more is lost."""

from __future__ import annotations

import math

import cv2
import numpy as np

from perception.outputs.drawing.colours import BACKGROUND, INK, MUTED, Colour
from perception.outputs.drawing.lettering import Text, text_width, write
from perception.robustness import corruption
from perception.robustness.frames import Condition
from perception.robustness.summary import Summary

CELL = (86, 32)  # px, width and height
LEFT, TOP, MARGIN, GROUP = 220, 104, 16, 28  # px
LOW, HIGH = np.array((92, 24, 60)), np.array((250, 232, 170))  # of nothing left, and of everything
MIDDLE = np.array((214, 96, 77))
NOTHING: Colour = (40, 45, 54)


def draw_heatmap(summary: Summary) -> np.ndarray:
    """The picture (H, W, 3) uint8: of each score its share of the clean one under each severity, and their mean."""
    names, columns = tuple(summary.scores[Condition()]), len(summary.severities) + 1
    width = LEFT + len(names) * (columns * CELL[0] + GROUP) + MARGIN
    canvas = np.full((TOP + (len(summary.corruptions) + 1) * CELL[1] + 2 * MARGIN, width, 3), BACKGROUND, np.uint8)
    facts = summary.facts
    texts = [
        Text(MARGIN, 12, "Share of the clean score that is left", 18, INK),
        Text(MARGIN, 38, f"{facts['config']} · {facts['split']}, {facts['samples']} frames", 13, MUTED),
    ]
    for row, name in enumerate(summary.corruptions):
        texts.append(Text(MARGIN, TOP + row * CELL[1] + 8, corruption(name).TITLE, 14, INK))
    texts.append(Text(MARGIN, _mean_row(summary) + 8, "mean", 14, INK))
    for group, name in enumerate(names):
        texts += _draw_group(canvas, summary, name, LEFT + group * (columns * CELL[0] + GROUP))
    return write(canvas, texts)


def _mean_row(summary: Summary) -> int:
    return TOP + len(summary.corruptions) * CELL[1] + MARGIN // 2


def _draw_group(canvas: np.ndarray, summary: Summary, score: str, left: int) -> list[Text]:
    """One score's cells, into the canvas -> the texts on them."""
    clean, left_of = summary.clean(score), summary.resistance(score)
    texts = [Text(left, TOP - 44, f"{score}, clean {clean:.3f}", 14, INK)]
    heads = [*(f"severity {severity}" for severity in summary.severities), "RA"]
    for column, head in enumerate(heads):
        texts.append(Text(middle(left + column * CELL[0], CELL[0], head, 12), TOP - 20, head, 12, MUTED))
    for row, name in enumerate(summary.corruptions):
        shares = [value / clean if clean > 0 else math.nan for value in summary.under(score)[name]]
        for column, share in enumerate([*shares, left_of.ra[name]]):
            texts.append(draw_cell(canvas, left + column * CELL[0], TOP + row * CELL[1], CELL, share, share))
    last = left + (len(heads) - 1) * CELL[0]
    texts.append(draw_cell(canvas, last, _mean_row(summary), CELL, left_of.mra, left_of.mra))
    return texts


def draw_cell(canvas: np.ndarray, left: int, top: int, size: tuple[int, int], value: float, share: float) -> Text:
    """Fill a cell with a share's colour, into the canvas -> the value's text in its middle."""
    colour = share_colour(share)
    cv2.rectangle(canvas, (left + 1, top + 1), (left + size[0] - 2, top + size[1] - 2), colour, -1)
    text = f"{value:.3f}" if math.isfinite(value) else "-"
    ink = (20, 20, 24) if sum(colour) > 380 else (245, 245, 245)
    return Text(middle(left, size[0], text, 14), top + size[1] // 2 - 9, text, 14, ink)


def middle(left: int, width: int, text: str, size: int) -> float:
    """Where a text begins that is in the middle of a width [px]."""
    return left + (width - text_width(text, size)) / 2


def share_colour(share: float) -> Colour:
    """Dark for 0, light for 1 and more; grey for NaN."""
    if not math.isfinite(share):
        return NOTHING
    share = min(max(share, 0.0), 1.0)
    mixed = LOW + (MIDDLE - LOW) * share * 2 if share < 0.5 else MIDDLE + (HIGH - MIDDLE) * (share * 2 - 1)
    return tuple(int(x) for x in np.round(mixed))
