"""A submission scored, and everything about it written: what tools/evaluate.py does once there are detections."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from calibration.errors import InputError
from perception.evaluation.definition import OFFICIAL, Definition
from perception.evaluation.devkit import score_with_devkit
from perception.evaluation.outputs import write_outputs
from perception.evaluation.results_file import read_results
from perception.evaluation.scoring import Scores, score
from perception.evaluation.truth import Truth


def evaluate_results(
    results: Path,
    truth: Truth,
    out: Path,
    *,
    definition: Definition = OFFICIAL,
    official: bool = False,  # the development kit's numbers and curves instead of ours; slices are always ours
    pictures: int = 8,
    say: Callable[[str], None] = lambda remark: None,
) -> Scores:
    """Score `results` and write the files that perception/evaluation/outputs.py names.

    Raises InputError, and writes nothing, for a submission that can't be scored.
    """
    submission = read_results(results, truth, definition)
    if submission.left_out:
        say(f"{results}: {submission.left_out} samples that aren't among those to score are left out")
    scores = score(submission, truth, definition)
    if official:
        if not (len(submission.predictions) and len(truth.objects)):
            got = f"{len(submission.predictions)} and {len(truth.objects)}"
            raise InputError(str(results), "detections and objects, as the kit needs some", got, "--scorer ours")
        start = time.perf_counter()
        metrics, curves = score_with_devkit(results, truth, definition)
        scores = replace(scores, metrics=metrics, curves=curves, eval_time=time.perf_counter() - start)
    scorer = "devkit" if official else "ours"
    write_outputs(out, truth, scores, submission.meta, results_name=results.name, scorer=scorer, pictures=pictures)
    return scores
