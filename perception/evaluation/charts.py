"""Charts as SVG text: they need no file and no network, and colours follow the page they are in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from perception.evaluation.curves import RECALLS
from perception.evaluation.definition import Definition
from perception.evaluation.metrics import Curves, Metrics

WIDTH, HEIGHT = 216, 184  # px of one class's panel
LEFT, TOP, RIGHT, BOTTOM = 30, 26, 8, 24  # px from the panel's border to the curve's axes
COLUMNS = 5
STROKES = ("#9ecae9", "#4f9bd9", "#1f6fb5", "#f28e2b")  # of the distance thresholds, the strictest first
FONT = 'font-family="system-ui, sans-serif" fill="currentColor"'


def precision_recall_chart(curves: Curves, metrics: Metrics) -> str:
    """Every class's precision over recall at each distance threshold, as one SVG; it stands on its own as a file."""
    names = list(metrics.label_aps)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    width, height = columns * WIDTH, rows * HEIGHT + 26
    panels = [
        f'<g transform="translate({index % columns * WIDTH},{26 + index // columns * HEIGHT})">'
        f"{_panel(name, curves, metrics)}</g>"
        for index, name in enumerate(names)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="Precision over recall of every class" color="#6b7684">'
        f"{_key(metrics.definition)}{''.join(panels)}</svg>"
    )


def bar(share: float, colour: str = "var(--accent)") -> str:
    """A bar for a table's cell, as long as a share of 0 to 1 says."""
    length = 100 * float(np.clip(np.nan_to_num(share), 0, 1))
    return f'<span class="bar"><i style="width:{length:.1f}%;background:{colour}"></i></span>'


def _key(definition: Definition) -> str:
    parts = [f'<text x="{LEFT}" y="14" font-size="12" {FONT}>matched within</text>']
    for index, (threshold, stroke) in enumerate(zip(definition.dist_ths, STROKES, strict=False)):
        left = LEFT + 100 + 74 * index
        parts.append(f'<path d="M{left},10h18" stroke="{stroke}" stroke-width="2.5"/>')
        parts.append(f'<text x="{left + 24}" y="14" font-size="12" {FONT}>{threshold:g} m</text>')
    note = f"grey: left out, recall or precision below {definition.min_recall:g}"
    parts.append(f'<text x="{LEFT + 420}" y="14" font-size="12" {FONT}>{note}</text>')
    return "".join(parts)


def _panel(name: str, curves: Curves, metrics: Metrics) -> str:
    definition = metrics.definition
    inner = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
    title = escape(name.replace("construction", "constr.").replace("_", " "))  # in full it would run into its AP
    parts = [
        f'<text x="{LEFT}" y="17" font-size="13" font-weight="600" {FONT}>{title}</text>',
        f'<text x="{WIDTH - RIGHT}" y="17" font-size="12" text-anchor="end" {FONT}>'
        f"AP {metrics.mean_dist_aps[name]:.3f}</text>",
        _grid(inner),
        _excluded(inner, definition),
    ]
    for threshold, stroke in zip(definition.dist_ths, STROKES, strict=False):
        curve = curves[name, threshold]
        reached = slice(0, curve.last_reached + 1 if curve.confidence.any() else 0)
        parts.append(_line(RECALLS[reached], curve.precision[reached], inner, stroke))
    return "".join(parts)


def _grid(inner: tuple[int, int]) -> str:
    parts = []
    for share in (0, 0.5, 1):
        x, y = LEFT + share * inner[0], TOP + (1 - share) * inner[1]
        parts.append(f'<path d="M{LEFT},{y:g}h{inner[0]}M{x:g},{TOP}v{inner[1]}" stroke="currentColor" opacity=".25"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:g}" font-size="10" text-anchor="end" {FONT}>{share:g}</text>')
        parts.append(f'<text x="{x:g}" y="{HEIGHT - 10}" font-size="10" text-anchor="middle" {FONT}>{share:g}</text>')
    return "".join(parts)


def _excluded(inner: tuple[int, int], definition: Definition) -> str:
    """The parts of the panel that AP leaves out."""
    wide, high = definition.min_recall * inner[0], definition.min_precision * inner[1]
    return (
        f'<path d="M{LEFT},{TOP}h{wide:g}v{inner[1] - high:g}h{inner[0] - wide:g}v{high:g}h{-inner[0]}z" '
        f'fill="currentColor" opacity=".1"/>'
    )


def _line(x: np.ndarray, y: np.ndarray, inner: tuple[int, int], stroke: str) -> str:
    if not len(x):
        return ""
    points = " ".join(f"{LEFT + a * inner[0]:.1f},{TOP + (1 - b) * inner[1]:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="2" stroke-linejoin="round"/>'


def error_chart(name: str, title: str, values: Sequence[tuple[str, float]], mean: float) -> str:
    """One error of every class as horizontal bars, with the mean as a line; classes without it say so."""
    row, left, width = 19, 128, 330
    longest = max([1.0, mean, *(value for _, value in values if not np.isnan(value))])
    scale = (width - left - 44) / longest
    height = row * len(values) + 32
    parts = [f'<text x="0" y="14" font-size="13" font-weight="600" {FONT}>{escape(title)}</text>']
    for index, (label, value) in enumerate(values):
        y = 26 + row * index
        text = label.replace("_", " ")
        parts.append(f'<text x="{left - 8}" y="{y + 11}" font-size="12" text-anchor="end" {FONT}>{escape(text)}</text>')
        if np.isnan(value):
            parts.append(f'<text x="{left}" y="{y + 11}" font-size="11" opacity=".6" {FONT}>not defined</text>')
            continue
        parts.append(f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="13" rx="2" fill="#4f9bd9"/>')
        x = left + value * scale + 5
        parts.append(f'<text x="{x:.1f}" y="{y + 11}" font-size="11" {FONT}>{value:.3f}</text>')
    if not np.isnan(mean):
        x = left + mean * scale
        parts.append(f'<path d="M{x:.1f},22v{row * len(values) + 2}" stroke="#f28e2b" stroke-dasharray="3 3"/>')
        parts.append(
            f'<text x="{width}" y="14" font-size="12" text-anchor="end" {FONT}>{escape(name)} {mean:.3f}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)} of every class">{"".join(parts)}</svg>'
    )
