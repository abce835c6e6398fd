"""An HTML page that needs nothing else: its look, and the pieces it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

STYLE = """
:root { --ink: #17202b; --muted: #5c6878; --page: #f5f7f9; --card: #fff; --line: #dde3ea; --accent: #4f9bd9;
  --warm: #f28e2b; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --muted: #98a5b5; --page: #101318; --card: #191e26;
  --line: #2c3440; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 40px 0 8px; }
h3 { font-size: 14px; margin: 0 0 6px; }
p { margin: 4px 0 12px; color: var(--muted); max-width: 80ch; }
section > .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px;
  overflow-x: auto; }
.lead { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 12px; margin-top: 20px; }
.lead div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.lead b { display: block; font-size: 26px; font-weight: 650; font-variant-numeric: tabular-nums; }
.lead span { color: var(--muted); font-size: 13px; }
.lead div.main b { color: var(--accent); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; font-weight: 600; color: var(--muted); padding: 4px 8px; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: bottom; }
td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; } tr.mean td { font-weight: 650; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
table.even { table-layout: fixed; min-width: 900px; } table.even th:first-child { width: 34%; }
table.even + table.even { margin-top: 18px; } table.even th:nth-child(3) { width: 14%; }
.none { color: var(--muted); opacity: .6; }
.bar { display: inline-block; width: 64px; height: 9px; border-radius: 3px; background: var(--line);
  margin-right: 8px; overflow: hidden; }
.bar i { display: block; height: 100%; }
svg { max-width: 100%; height: auto; color: var(--ink); }
.card > svg { width: 100%; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 20px 28px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(530px, 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure div { display: flex; background: #10131a; justify-content: center; }
figure img { width: 42.857%; display: block; } figure img:first-child:not(:only-child) { width: 57.143%; }
.scene { margin-bottom: 28px; } .trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px;
  margin-top: 12px; } .trio img, .wide img { width: 100%; } a { color: var(--accent); }
figcaption { padding: 8px 14px 10px; font-size: 13px; color: var(--muted); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-size: 14px; }
"""


def page(title: str, body: str) -> str:
    """The whole page; title and body are HTML already."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
    )


def tiles(cards: Iterable[tuple[str, str, str, str]]) -> str:
    """A row of tiles: of each its name, its value, what that is, and its class, "main" for those that matter most."""
    inner = (
        f'<div class="{kind}"><span>{name}</span><b>{value}</b><span>{what}</span></div>'
        for name, value, what, kind in cards
    )
    return f'<div class="lead">{"".join(inner)}</div>'


def section(title: str, text: str, body: str) -> str:
    """A heading, a paragraph, and a card."""
    return f'<section><h2>{title}</h2><p>{text}</p><div class="card">{body}</div></section>\n'


def table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], kind: str = "") -> str:
    """A table of cells that are HTML already; `kind` is its class, each row comes with its own."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        f'<tr class="{row}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for cells, row in rows
    )
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def number(value: float) -> str:
    """Three decimals, or a dash for NaN."""
    return '<span class="none">-</span>' if np.isnan(value) else f"{value:.3f}"
