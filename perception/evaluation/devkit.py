"""The official scorer, nuScenes development kit 1.2: the same results, by the code that defines them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import InputError
from perception.evaluation.curves import Curve
from perception.evaluation.definition import ERRORS, Definition
from perception.evaluation.metrics import Curves, Metrics
from perception.evaluation.truth import Truth


def score_with_devkit(results: Path, truth: Truth, definition: Definition) -> tuple[Metrics, Curves]:
    """Score a submission that `read_results` has accepted; minutes and gigabytes for the whole validation set.

    Raises InputError where the kit isn't installed, or refuses what ours accepts.
    """
    try:
        from nuscenes import NuScenes
    except ImportError as error:
        fix = "pip install nuscenes-devkit, or --scorer ours"
        raise InputError("scorer devkit", "the nuScenes development kit", str(error), fix) from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            kit = NuScenes(truth.folder.name, str(truth.folder.parent), verbose=False)
            evaluation = _evaluation(kit, results, truth, definition, folder)
            metrics, details = evaluation.evaluate()
        except AssertionError as error:
            raise InputError(str(results), "what the development kit accepts", str(error), "--scorer ours") from error
    curves = {key: _curve(data) for key, data in details.md.items()}
    aps = {name: dict(values) for name, values in metrics._label_aps.items()}
    errors = {name: dict(values) for name, values in metrics._label_tp_errors.items()}
    return Metrics(definition, aps, errors), curves


def _evaluation(kit: Any, results: Path, truth: Truth, definition: Definition, folder: str) -> Any:
    from nuscenes.eval.common import loaders
    from nuscenes.eval.detection.data_classes import DetectionBox, DetectionConfig
    from nuscenes.eval.detection.evaluate import DetectionEval

    class SubsetEval(DetectionEval):
        """The kit scores whole splits only; its own functions can do without."""

        def __init__(self) -> None:
            self.cfg, self.verbose = config, False
            most, tokens = config.max_boxes_per_sample, list(truth.tokens)
            loaded, self.meta = loaders.load_prediction_of_sample_tokens(str(results), most, DetectionBox, tokens)
            annotated = loaders.load_gt_of_sample_tokens(kit, tokens, DetectionBox)
            self.pred_boxes, self.gt_boxes = (
                loaders.filter_eval_boxes(kit, loaders.add_center_dist(kit, boxes), config.class_range)
                for boxes in (loaded, annotated)
            )
            self.sample_tokens = self.gt_boxes.sample_tokens

    config = DetectionConfig.deserialize(definition.as_json())
    if truth.subset.whole:
        return DetectionEval(kit, config, str(results), truth.split, folder, verbose=False)
    return SubsetEval()


def _curve(data: Any) -> Curve:
    return Curve(data.precision, data.confidence, np.stack([getattr(data, name) for name in ERRORS], axis=1))
