"""What an evaluation leaves behind.

OUT/metrics.json          the official numbers, with the keys of the development kit's metrics_summary.json
OUT/metrics_details.json  every class's curves, as the kit's file of this name
OUT/slices.json           scores of parts of the data, see slices.py
OUT/pr_curves.svg         precision over recall of every class
OUT/report.html           all of it to look at
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from calibration.errors import InputError
from calibration.files import make_folder
from perception.evaluation.charts import precision_recall_chart
from perception.evaluation.misses import working_points, worst_false_alarms, worst_misses
from perception.evaluation.pictures import draw_mistakes
from perception.evaluation.report import Report, write_report
from perception.evaluation.scoring import Scores
from perception.evaluation.slices import score_slices
from perception.evaluation.truth import Truth


def write_outputs(
    out: Path,
    truth: Truth,
    scores: Scores,
    meta: dict[str, Any],  # of the submission
    *,
    results_name: str,
    scorer: str,
    pictures: int = 8,  # of missed objects, and as many of false alarms
) -> None:
    """Write all files, metrics.json last: where it is, all are there. InputError where they can't be written."""
    points = working_points(scores)
    misses = worst_misses(scores, truth, points, pictures)
    alarms = worst_false_alarms(scores, truth, points, pictures)
    slices = score_slices(scores, truth)
    drawn = {picture.mistake: picture for picture in draw_mistakes([*misses, *alarms], scores, truth, points)}
    report = Report(
        truth,
        scores,
        scorer,
        results_name,
        slices,
        points,
        [drawn[mistake] for mistake in misses],
        [drawn[mistake] for mistake in alarms],
    )
    details = {f"{name}:{threshold}": curve.as_json() for (name, threshold), curve in scores.curves.items()}
    _write_together(
        out,
        {
            "report.html": write_report(report),
            "pr_curves.svg": precision_recall_chart(scores.curves, scores.metrics),
            "slices.json": json.dumps([part.as_json() for part in slices], indent=2),
            "metrics_details.json": json.dumps(details, indent=2),
            "metrics.json": json.dumps(summary(scores, meta), indent=2),
        },
    )


def summary(scores: Scores, meta: dict[str, Any]) -> dict[str, Any]:
    """The content of metrics.json."""
    return scores.metrics.as_json() | {"eval_time": scores.eval_time, "meta": meta}


def _write_together(out: Path, files: dict[str, str]) -> None:
    """Write files into a folder of their own first, so that a full disk leaves nothing of this run in `out`."""
    try:
        make_folder(out)
        beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=out))
        try:
            for name, text in files.items():
                (beside / name).write_text(text, encoding="utf-8")
            for name in files:
                (beside / name).replace(out / name)
        finally:
            shutil.rmtree(beside)
    except OSError as error:
        raise InputError(str(out), "a folder to write to", error.strerror or type(error).__name__) from error
