"""The table of a comparison, as Markdown and as a picture, and its place in a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibration.errors import InputError
from calibration.files import write_atomically

BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One line a method; of conditions the mAP."""
    titles = list(rows[0]["scores"])
    heads = ["method", "level", "NDS", *(f"mAP, {title}" for title in titles), "mRA", "frames", "M weights", "ms"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    best = {title: max(row["scores"][title]["mAP"] for row in rows) for title in titles}
    for row in rows:
        scores = row["scores"]
        cells = [row["name"], row["level"], f"{scores[titles[0]]['NDS']:.3f}"]
        cells += [_bold(scores[title]["mAP"], best[title]) for title in titles]
        cells.append("" if row["mRA"] is None else f"{row['mRA']:.3f}")
        cells += [str(row["trained"] or ""), f"{row['parameters']:.2f}", f"{row['ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _bold(value: float, best: float) -> str:
    return f"**{value:.3f}**" if math.isclose(value, best, abs_tol=5e-4) else f"{value:.3f}"


def put_into(document: Path, table: str) -> None:
    """Replace what is between the document's two marks by the table; InputError where it lacks them."""
    before, after = around(document)
    write_atomically(document, f"{before}{BEGIN}\n{table}\n{END}{after}")


def around(document: Path) -> tuple[str, str]:
    """What is before the document's first mark and after its second; InputError where it lacks them."""
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(str(document), f"a document with {BEGIN} and {END}", "another", "add the two lines")
    return before, after
