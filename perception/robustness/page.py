"""The robustness report: one HTML file that needs nothing else, and the heat map beside it."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from calibration.files import write_atomically
from perception.evaluation.page import number, page, section, table, tiles
from perception.evaluation.pictures import jpeg_address
from perception.evaluation.truth import Truth
from perception.outputs.pictures import write_png
from perception.robustness import corruption
from perception.robustness.frames import Condition
from perception.robustness.heatmap import draw_heatmap, share_colour
from perception.robustness.pictures import are_moved, draw_side_by_side, most_changed, picture_maker, views_of
from perception.robustness.summary import Summary

SHOWN = 2  # the severity of the pictures

MEANING = (
    "A cell is a score under a corruption; its colour is its share of the clean score, light where little is lost. RA, "
    "resistance ability, is the mean share over the severities (MultiCorrupt)."
)
BESIDE = (
    "RRA, relative resistance, is how much more of the score is left than of the baseline's, summed over the "
    "severities, minus one (MultiCorrupt). CE, corruption error, is what is missing to a full score beside what the "
    "baseline misses (RoboBEV): below 1 is better than the baseline."
)


def write_outputs(summary: Summary, truth: Truth, out: Path) -> None:
    """Write `out`/heatmap.png and `out`/report.html; InputError where they can't be written."""
    write_png(out / "heatmap.png", draw_heatmap(summary))
    write_atomically(out / "report.html", write_page(summary, truth))


def write_page(summary: Summary, truth: Truth) -> str:
    """The page; pictures are drawn of one frame in the middle of the samples."""
    parts = [_lead(summary), section("What is left", MEANING, _scores(summary))]
    if summary.baseline is not None:
        theirs = escape(str(summary.baseline["facts"]["config"]))
        parts.append(section(f"Beside {theirs}", BESIDE, _beside(summary)))
    parts.append(_pictures(summary, truth))
    return page(f"Robustness of {escape(Path(summary.facts['config']).stem)}", "".join(parts))


def _lead(summary: Summary) -> str:
    cards = []
    for name in summary.scores[Condition()]:
        cards.append((f"{name}, clean", number(summary.clean(name)), "official nuScenes score", ""))
        cards.append((f"mRA of {name}", number(summary.resistance(name).mra), "mean share that is left", "main"))
    if summary.baseline is not None:
        cards.append(("mRRA of NDS", number(summary.comparison("NDS").mrra), "more than the baseline's", ""))
        cards.append(("mCE of NDS", number(summary.comparison("NDS").mce), "of the baseline's error", ""))
    facts = summary.facts
    seen = f"{facts['split']} of {facts['data']}, {facts['samples']} frames, seed {facts['seed']}"
    return f"<p>{escape(seen)}; {escape(facts['checkpoint'])}</p>{tiles(cards)}"


def _cell(value: float, share: float) -> str:
    if not math.isfinite(share):
        return number(value)
    colour = share_colour(share)
    ink = "#141418" if sum(colour) > 380 else "#f5f5f5"
    style = f"display:block;background:rgb{colour};color:{ink};padding:2px 8px;border-radius:4px"
    return f'<span style="{style}">{value:.3f}</span>'


def _scores(summary: Summary) -> str:
    names = tuple(summary.scores[Condition()])
    head = ["corruption"]
    for name in names:
        head += [*(f"{name}, {severity}" for severity in summary.severities), f"RA of {name}"]
    rows = []
    for row in summary.corruptions:
        what = corruption(row)
        levels = "; ".join(what.LEVELS[severity - 1] for severity in summary.severities)
        cells = [f'{escape(what.TITLE)}<br><span class="none">{escape(levels)}</span>']
        for name in names:
            clean = summary.clean(name)
            values = summary.under(name)[row]
            cells += [_cell(value, value / clean if clean > 0 else math.nan) for value in values]
            ra = summary.resistance(name).ra[row]
            cells.append(_cell(ra, ra))
        rows.append((cells, ""))
    means = ["mean"]
    for name in names:
        mra = summary.resistance(name).mra
        means += [""] * len(summary.severities) + [_cell(mra, mra)]
    return table(head, [*rows, (means, "mean")])


def _beside(summary: Summary) -> str:
    names = tuple(summary.scores[Condition()])
    found = {name: summary.comparison(name) for name in names}
    head = ["corruption", *(f"{what} of {name}" for name in names for what in ("RRA", "CE"))]
    rows = []
    for row in summary.corruptions:
        cells = [number(value) for name in names for value in (found[name].rra[row], found[name].ce[row])]
        rows.append(([escape(corruption(row).TITLE), *cells], ""))
    means = [number(value) for name in names for value in (found[name].mrra, found[name].mce)]
    return table(head, [*rows, (["mean", *means], "mean")])


def _pictures(summary: Summary, truth: Truth) -> str:
    maker, token = picture_maker(truth, summary.facts["seed"])
    clean, figures = maker.frame(token, Condition()), []
    for name in summary.corruptions:
        worse = maker.frame(token, Condition(name, SHOWN))
        camera, moved = most_changed(clean, [worse]), are_moved(clean, worse)
        strip = draw_side_by_side(views_of(clean, camera, moved), views_of(worse, camera, moved))
        what = corruption(name)
        caption = f"<b>{escape(what.TITLE)}</b> · {escape(what.LEVELS[SHOWN - 1])} · {escape(camera)}"
        image = f'<img src="{jpeg_address(strip)}" alt="">'
        figures.append(
            f'<div class="scene"><figure class="wide">{image}<figcaption>{caption}</figcaption></figure></div>'
        )
    text = f"Severity {SHOWN} of each, on frame {token}: the camera that it changes most, and one turn of the LiDAR."
    return f"<section><h2>What they look like</h2><p>{escape(text)}</p>{''.join(figures)}</section>\n"
