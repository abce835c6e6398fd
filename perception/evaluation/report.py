"""The evaluation as one HTML file: nothing in it is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import numpy as np

from calibration.spelling import counted
from perception.evaluation.charts import bar, error_chart, precision_recall_chart
from perception.evaluation.definition import ERROR_TITLES, ERRORS, MEAN_ERRORS
from perception.evaluation.misses import WorkingPoint
from perception.evaluation.page import number, page, section, table, tiles
from perception.evaluation.pictures import Picture
from perception.evaluation.scoring import Scores
from perception.evaluation.slices import SliceScore
from perception.evaluation.truth import Truth

SLICES_TEXT = (
    "Boxes are matched once, over everything. A detection that matches an object elsewhere is neither right nor wrong "
    "in a slice; a false alarm counts where it lies itself. Detections have no visibility, so false alarms count on "
    "each of its levels: these numbers compare with one another, not with the whole. mAP is the mean over the classes "
    "with an object in the slice; recall is the share of objects that any detection matches within 2 m."
)


@dataclass(frozen=True)
class Report:
    """What a report tells."""

    truth: Truth
    scores: Scores
    scorer: str  # "ours" or "devkit"
    results_name: str
    slices: Sequence[SliceScore]
    points: Mapping[str, WorkingPoint]
    misses: Sequence[Picture]
    false_alarms: Sequence[Picture]


def write_report(report: Report) -> str:
    """The page."""
    truth = report.truth
    title = f"Detection on {escape(truth.split)} of {escape(truth.folder.name)}"
    sections = (_lead(report), _classes(report), _curves(report), _errors(report), _slices(report), _worst(report))
    return page(title, "".join(sections))


def _lead(report: Report) -> str:
    metrics, truth, scores = report.scores.metrics, report.truth, report.scores
    scenes = len({scene.token for scene in truth.scenes})
    subset = "" if truth.subset.whole else " (a part of the split)"
    scorer = "this project's scorer" if report.scorer == "ours" else "the nuScenes development kit"
    cards = [("NDS", metrics.nd_score, "detection score", "main"), ("mAP", metrics.mean_ap, "mean AP", "main")]
    units = {"trans_err": "translation, m", "scale_err": "scale, 1 - IoU", "orient_err": "orientation, rad"}
    units |= {"vel_err": "velocity, m/s", "attr_err": "attribute, 1 - acc"}
    cards += [(MEAN_ERRORS[name], metrics.tp_errors[name], units[name], "") for name in ERRORS]
    shown = tiles((name, number(value), what, kind) for name, value, what, kind in cards)
    return (
        f"<p>{counted(len(truth.tokens), 'sample')} of {counted(scenes, 'scene')}{subset}, "
        f"{counted(len(scores.objects), 'object')} and {counted(len(scores.predictions), 'detection')} within the "
        f"classes' ranges. {escape(report.results_name)}, scored by {scorer} with the official settings.</p>"
        f"{shown}"
    )


def _classes(report: Report) -> str:
    metrics, scores = report.scores.metrics, report.scores
    definition = metrics.definition
    head = ["class", "objects", "AP", *(f"AP {threshold:g} m" for threshold in definition.dist_ths)]
    head += [MEAN_ERRORS[name][1:] for name in ERRORS] + ["best F1", "precision", "recall", "at score"]
    rows = []
    for name, aps in metrics.label_aps.items():
        point, mean = report.points[name], metrics.mean_dist_aps[name]
        cells = [escape(name.replace("_", " ")), str(len(scores.matchings[name, definition.dist_th_tp].truth))]
        cells += [bar(mean) + number(mean), *(number(ap) for ap in aps.values())]
        cells += [number(metrics.label_tp_errors[name][error]) for error in ERRORS]
        cells += [number(value) for value in (point.f1, point.precision, point.recall, point.score)]
        rows.append((cells, ""))
    by_threshold = [
        np.mean([aps[threshold] for aps in metrics.label_aps.values()]) for threshold in definition.dist_ths
    ]
    cells = ["mean", str(len(scores.objects)), bar(metrics.mean_ap) + number(metrics.mean_ap)]
    cells += [*map(number, by_threshold), *(number(metrics.tp_errors[error]) for error in ERRORS), *[""] * 4]
    rows.append((cells, "mean"))
    text = (
        "AP is the mean over the distance thresholds. Errors are of detections matched within 2 m; lower is better. "
        "The columns on the right are the score at which a class has its best F1, and what it does there."
    )
    return section("Classes", text, table(head, rows))


def _curves(report: Report) -> str:
    text = "Precision (up) over recall (to the right), for each distance within which a detection matches."
    return section("Precision and recall", text, precision_recall_chart(report.scores.curves, report.scores.metrics))


def _errors(report: Report) -> str:
    metrics = report.scores.metrics
    charts = [
        error_chart(
            MEAN_ERRORS[name],
            ERROR_TITLES[name],
            [(label, errors[name]) for label, errors in metrics.label_tp_errors.items()],
            metrics.tp_errors[name],
        )
        for name in ERRORS
    ]
    text = "Of detections matched within 2 m, averaged over the recalls reached. A class that reaches none has 1."
    return section("Errors of true positives", text, f'<div class="charts">{"".join(charts)}</div>')


def _slices(report: Report) -> str:
    head = ["objects", "mAP", "recall", *(MEAN_ERRORS[name] for name in ERRORS)]
    tables = []
    for group, parts in groupby(report.slices, key=lambda part: part.group):
        rows = []
        for part in parts:
            metrics = part.metrics
            cells = [escape(part.name), str(part.objects), bar(metrics.mean_ap) + number(metrics.mean_ap)]
            cells += [number(part.found), *(number(metrics.tp_errors[name]) for name in ERRORS)]
            rows.append((cells, ""))
        tables.append(table([group, *head], rows, "even"))
    return section("Slices", SLICES_TEXT, "".join(tables))


def _worst(report: Report) -> str:
    missed = "Missed at their classes' best F1: the objects with the most LiDAR and radar returns, one of each track."
    alarms = "The highest scores without an object of the class within 2 m, one at each place."
    drawn = " Marked in yellow; thin and white is what is annotated, coloured what was detected."
    parts = []
    for title, text, pictures in (
        ("Worst misses", missed, report.misses),
        ("Worst false alarms", alarms, report.false_alarms),
    ):
        figures = "".join(_figure(picture, report) for picture in pictures)
        body = f'<div class="pictures">{figures}</div>' if figures else "<p>None.</p>"
        parts.append(f"<section><h2>{title}</h2><p>{text}{drawn if figures else ''}</p>{body}</section>\n")
    return "".join(parts)


def _figure(picture: Picture, report: Report) -> str:
    mistake, truth = picture.mistake, report.truth
    if mistake.missed:
        level = truth.visibility[report.scores.object_rows[mistake.row]].removeprefix("v")
        fact = f"{mistake.weight:.0f} returns" + (f", {level} % visible" if level else "")
    else:
        fact = f"score {mistake.weight:.2f}"
    images = "".join(f'<img src="{view}" alt="">' for view in picture.views)
    place = f"{escape(truth.scenes[mistake.sample].name)} · {escape(picture.token)}"
    camera = f" · {escape(picture.camera)}" if picture.camera else ""
    name = escape(mistake.class_name.replace("_", " "))
    return f"<figure><div>{images}</div><figcaption><b>{name}</b> · {fact}<br>{place}{camera}</figcaption></figure>"
