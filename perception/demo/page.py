"""The demo's report: three detectors side by side, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from calibration.spelling import counted
from perception.checkpoints.shipped import about
from perception.demo.pictures import SceneViews
from perception.evaluation.charts import bar
from perception.evaluation.definition import ERRORS, MEAN_ERRORS
from perception.evaluation.page import number, page, section, table, tiles
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth
from perception.simulation.scene import Settings

if TYPE_CHECKING:
    from perception.demo.run import Outcome

COLOURS = ("#4f9bd9", "#59a14f", "#f28e2b", "#b07aa1")  # of the detectors' bars


def write_page(outcomes: Sequence[Outcome], truth: Truth, settings: Settings, pictures: Sequence[SceneViews]) -> str:
    """The page."""
    parts = (_lead(outcomes, truth, settings), _comparison(outcomes), _classes(outcomes), _scenes(pictures))
    return page("A simulated city, and what three detectors see in it", "".join(parts))


def text_table(outcomes: Sequence[Outcome]) -> str:
    """The comparison as lines of text."""
    names = ["mAP", "NDS", *(MEAN_ERRORS[error] for error in ERRORS), "ms"]
    lines = [f"{'':16}" + "".join(f"{name:>8}" for name in names)]
    for outcome in outcomes:
        metrics = outcome.scores.metrics
        values = [metrics.mean_ap, metrics.nd_score, *(metrics.tp_errors[error] for error in ERRORS)]
        cells = "".join(f"{value:8.3f}" for value in values)
        lines.append(f"{outcome.contender.title:16}{cells}{outcome.speed.median_ms:8.0f}")
    return "\n".join(lines)


def speeds(outcomes: Sequence[Outcome]) -> str:
    """How the milliseconds were measured, for each detector was on its own."""
    each = "; ".join(f"{outcome.contender.title}: {outcome.speed.told}" for outcome in outcomes)
    return f"A frame's ms, from decoded images and clouds to boxes, measured once, when it was detected: {each}."


def _lead(outcomes: Sequence[Outcome], truth: Truth, settings: Settings) -> str:
    best = outcomes[-1]
    scenes = len({scene.token for scene in truth.scenes})
    cards = [
        ("mAP", number(best.scores.metrics.mean_ap), escape(best.contender.title), "main"),
        ("NDS", number(best.scores.metrics.nd_score), escape(best.contender.title), "main"),
        ("a frame", f"{best.speed.median_ms:.0f} ms", escape(best.speed.told), ""),
        ("drives", str(scenes), f"seed {settings.seed}, never trained on", ""),
        ("frames", str(len(truth.tokens)), "six images, ten LiDAR sweeps each", ""),
        ("objects", f"{len(best.scores.objects):,}", escape("in the classes' ranges"), ""),
    ]
    text = (
        "Drives through a procedural city, ray-cast into a LiDAR and six cameras; three detectors that come with the "
        "project, run on this machine; the official nuScenes scores. Everything here was made by one command."
    )
    return f"<p>{text}</p>{tiles(cards)}"


def _comparison(outcomes: Sequence[Outcome]) -> str:
    head = ["detector", "mAP", "NDS", *(MEAN_ERRORS[error] for error in ERRORS), "a frame, ms", "weights", "all of it"]
    rows = []
    for outcome, colour in zip(outcomes, COLOURS, strict=False):
        metrics, contender = outcome.scores.metrics, outcome.contender
        cells = [escape(contender.title), bar(metrics.mean_ap, colour) + number(metrics.mean_ap)]
        cells += [bar(metrics.nd_score, colour) + number(metrics.nd_score)]
        cells += [number(metrics.tp_errors[error]) for error in ERRORS]
        cells += [f"{outcome.speed.median_ms:.0f}", f"{contender.checkpoint.stat().st_size / 1e6:.1f} MB"]
        cells += [f'<a href="{escape(contender.config.stem)}/report.html">report</a>']
        rows.append((cells, ""))
    text = (
        "mAP and NDS: more is better. The errors, of detections matched within 2 m, are of translation (m), scale "
        "(1 - IoU), orientation (rad), velocity (m/s) and attributes (1 - accuracy): less is better. "
        f"{escape(speeds(outcomes))} "
    ) + " ".join(_reached(outcome) for outcome in outcomes)
    return section("Side by side", text, table(head, rows))


def _reached(outcome: Outcome) -> str:
    """What the weights say they reach: to compare with."""
    facts = about(outcome.contender.checkpoint)
    if "mAP" not in facts:
        return ""
    title = escape(outcome.contender.title)
    return f"{title}: on the split it was judged by when it was made, mAP {facts['mAP']} and NDS {facts['NDS']}."


def _classes(outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0].scores
    rows = []
    for name, objects in _truth_counts(first).items():
        cells = [escape(name.replace("_", " ")), str(objects)]
        for outcome, colour in zip(outcomes, COLOURS, strict=False):
            mean = outcome.scores.metrics.mean_dist_aps[name]
            cells.append(bar(mean, colour) + number(mean))
        rows.append((cells, ""))
    head = ["class", "objects", *(escape(outcome.contender.title) for outcome in outcomes)]
    text = "Average precision, the mean over matches within 0.5, 1, 2 and 4 m."
    absent = [name.replace("_", " ") for name, matched in _truth_counts(first).items() if not matched]
    if absent:
        text += f" The official mean counts a class without objects as 0: here {', '.join(absent)}."
    return section("Classes", text, table(head, rows))


def _truth_counts(scores: Scores) -> dict[str, int]:
    """Objects of each class."""
    threshold = scores.metrics.definition.dist_th_tp
    return {name: len(scores.matchings[name, threshold].truth) for name in scores.metrics.label_aps}


def _scenes(pictures: Sequence[SceneViews]) -> str:
    titles = [view.title for view in pictures[0].views]
    text = (
        f"One frame of each drive: the one in which {titles[-1]} gains most over {titles[0]}. Thin and white is what "
        "is there, coloured what was detected with at least the score that is best for its class (F1). Objects count "
        "within their class's range and with a point on them, as the official scores have it; the others are drawn too."
    )
    figures = "".join(_figure(picture) for picture in pictures)
    return f"<section><h2>What they see</h2><p>{escape(text)}</p>{figures}</section>\n"


def _figure(picture: SceneViews) -> str:
    trio = "".join(
        f'<figure><img src="{view.image}" alt=""><figcaption><b>{escape(view.title)}</b> · '
        f"{view.told}</figcaption></figure>"
        for view in picture.views
    )
    last = picture.views[-1]
    told = f"boxes of {escape(last.title)}: {last.told}; {counted(picture.annotated, 'object')} annotated"
    caption = f"<b>{escape(picture.scene)}</b> · {escape(picture.token)} · {told}"
    return (
        f'<div class="scene"><figure class="wide"><img src="{picture.whole}" alt="">'
        f'<figcaption>{caption}</figcaption></figure><div class="trio">{trio}</div></div>'
    )
