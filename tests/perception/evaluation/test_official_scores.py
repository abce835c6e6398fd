"""Every number is the development kit's, whatever is detected."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception.evaluation.definition import OFFICIAL
from perception.evaluation.devkit import score_with_devkit
from perception.evaluation.filtering import counted_objects, counted_predictions, in_racks
from perception.evaluation.measure import as_kit_boxes, kit_curves, made_up_boxes
from perception.evaluation.measure import largest_difference as difference_of_curves
from perception.evaluation.metrics import curves_of, match_all, metrics_of
from perception.evaluation.outputs import summary
from perception.evaluation.results_file import read_results
from perception.evaluation.scoring import score
from perception.evaluation.truth import Subset, Truth, load_truth
from tests.nuscenes_fixture import VERSION, edited, token, write_nuscenes
from tests.perception.evaluation.made import META, largest_difference, random_results, record, write_submission

pytest.importorskip("nuscenes")
EXACT = 1e-9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With bicycle racks, objects that nothing has hit, some far away, and some without an attribute."""
    root = write_nuscenes(tmp_path_factory.mktemp("data") / "nuscenes", samples=6, background_points=10, sweeps=0)
    with edited(root, "category") as rows:
        rows.append({"token": "rack", "name": "static_object.bicycle_rack", "description": ""})
    with edited(root, "instance") as rows:
        rows.append(rows[0] | {"token": "rack", "category_token": "rack"})
    rng = np.random.default_rng(0)
    with edited(root, "sample_annotation") as rows:
        racks = [
            row
            | {"token": f"rack{number}", "instance_token": "rack", "prev": "", "next": "", "size": [4.0, 4.0, 3.0]}
            | {"rotation": rng.normal(size=4).tolist()}
            for number, row in enumerate(rows)
            if row["instance_token"] == token("instance", 1, 6) and number % 2  # around the bicycle
        ]
        assert len(racks) == 3
        for row in rows:
            if rng.random() < 0.15:
                row["num_lidar_pts"] = 0
                row["num_radar_pts"] = int(rng.integers(0, 2))
            if rng.random() < 0.1:
                row["attribute_tokens"] = []
            if rng.random() < 0.1:
                row["translation"] = (np.array(row["translation"]) + rng.normal(0, 20, 3)).tolist()
        rows += racks
    return root


@pytest.fixture(scope="module")
def truth(root: Path) -> Truth:
    return load_truth(root, VERSION, "tiny_val")


@pytest.fixture(scope="module")
def kit(root: Path) -> Any:
    from nuscenes import NuScenes

    return NuScenes(VERSION, str(root), verbose=False)


def official(kit: Any, results: Path, folder: Path, split: str = "tiny_val") -> dict[str, Any]:
    """The metrics_summary.json that the kit writes."""
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    config = config_factory("detection_cvpr_2019")
    DetectionEval(kit, config, str(results), split, str(folder), verbose=False).main(0, render_curves=False)
    found = json.loads((folder / "metrics_summary.json").read_text())
    return found | {"details": json.loads((folder / "metrics_details.json").read_text())}


def ours(results: Path, truth: Truth) -> dict[str, Any]:
    submission = read_results(results, truth, OFFICIAL)
    scores = score(submission, truth)
    details = {f"{name}:{threshold}": curve.as_json() for (name, threshold), curve in scores.curves.items()}
    return summary(scores, submission.meta) | {"details": details}


CASES = {
    "false and double detections": {},
    "many ties": {"decimals": 1, "copies": 6},
    "nothing but ties": {"decimals": 0, "copies": 4},
    "no cars and no barriers": {"left_out": ("car", "barrier")},
    "samples without detections": {"empty": (0, 3)},
    "far off": {"spread": 3.0},
    "near": {"spread": 0.1, "wrong": 0},
    "velocities unknown": {"unknown_velocities": 1.0},
    "hardly any": {"copies": 1, "wrong": 0, "empty": (0, 1, 2, 3)},
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_the_development_kits(case: str, kit: Any, truth: Truth, tmp_path: Path) -> None:
    for seed in range(3):
        path = write_submission(tmp_path / "results.json", random_results(truth, seed, **CASES[case]))
        assert largest_difference(ours(path, truth), official(kit, path, tmp_path), but={"eval_time"}) <= EXACT


def test_the_cases_filter_what_they_should(truth: Truth, tmp_path: Path) -> None:
    """So that the comparison above says something: racks, ranges and unseen objects all take boxes away."""
    path = write_submission(tmp_path / "results.json", random_results(truth, 0))
    predictions = read_results(path, truth, OFFICIAL).predictions
    assert in_racks(truth.objects, truth.racks).any()
    assert in_racks(predictions, truth.racks).any()
    assert (truth.points == 0).any()
    assert 0 < counted_objects(truth, OFFICIAL).sum() < len(truth.objects)
    assert 0 < counted_predictions(predictions, truth, OFFICIAL).sum() < len(predictions)
    assert (truth.objects.attributes == -1).any()
    assert np.isnan(truth.objects.boxes.velocities).any()


def test_ties_across_samples_fall_as_in_an_official_split_too(root: Path, tmp_path: Path) -> None:
    """There the kit goes through the samples in the order of the file."""
    from nuscenes import NuScenes

    mini = Path(shutil.copytree(root, tmp_path / "mini"))
    with edited(mini, "scene") as rows:
        rows[1]["name"] = "scene-0103"
    (mini / VERSION).rename(mini / "v1.0-mini")
    truth = load_truth(mini, "v1.0-mini", "mini_val")
    results = random_results(truth, 5, decimals=1)
    path = write_submission(tmp_path / "results.json", dict(reversed(results.items())))
    theirs = official(NuScenes("v1.0-mini", str(mini), verbose=False), path, tmp_path, "mini_val")
    assert largest_difference(ours(path, truth), theirs, but={"eval_time"}) <= EXACT


@pytest.mark.parametrize("subset", [Subset(), Subset(limit=2), Subset(limit=1)])
def test_the_official_scorer_gives_the_same_for_subsets(subset: Subset, root: Path, tmp_path: Path) -> None:
    truth = load_truth(root, VERSION, "tiny_val", subset)
    path = write_submission(tmp_path / "results.json", random_results(truth, 1))
    scores = score(read_results(path, truth, OFFICIAL), truth)
    metrics, curves = score_with_devkit(path, truth, OFFICIAL)
    assert largest_difference(scores.metrics.as_json(), metrics.as_json()) <= EXACT
    for key, curve in curves.items():
        assert largest_difference(scores.curves[key].as_json(), curve.as_json()) <= EXACT


def test_detections_on_thresholds_and_equally_near_to_two_objects_fall_as_in_the_kit() -> None:
    """Centres on a grid of a tenth of a metre, so that distances equal thresholds and one another all the time."""
    rng = np.random.default_rng(0)
    predictions, truth = made_up_boxes(20, 60, 150, rng)

    def on_grid(boxes: Any) -> Any:
        centers = np.round(boxes.boxes.centers / 6, 1)
        return replace(boxes, boxes=replace(boxes.boxes, centers=centers))

    predictions, truth = on_grid(predictions), on_grid(truth)
    theirs = kit_curves(as_kit_boxes(predictions, 20, truth=False), as_kit_boxes(truth, 20, truth=True))
    assert difference_of_curves(curves_of(match_all(predictions, truth, OFFICIAL)), theirs) <= EXACT


@pytest.mark.parametrize("seed", range(4))
def test_made_up_sets_accumulate_to_the_same_curves(seed: int) -> None:
    predictions, truth = made_up_boxes(30, 25, 120, np.random.default_rng(seed))
    theirs = kit_curves(as_kit_boxes(predictions, 30, truth=False), as_kit_boxes(truth, 30, truth=True))
    curves = curves_of(match_all(predictions, truth, OFFICIAL))
    assert difference_of_curves(curves, theirs) <= EXACT
    assert 0.05 < metrics_of(curves, OFFICIAL).mean_ap < 0.9


def test_no_detection_at_all_scores_zero(truth: Truth, tmp_path: Path) -> None:
    path = write_submission(tmp_path / "results.json", {name: [] for name in truth.tokens})
    found = ours(path, truth)
    assert (found["mean_ap"], found["nd_score"]) == (0, 0)
    assert set(found["tp_errors"].values()) == {1.0}


def test_the_settings_are_the_official_ones() -> None:
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, TP_METRICS

    from perception.evaluation import definition
    from perception.nuscenes import OFFICIAL_SPLITS

    assert OFFICIAL.as_json() == config_factory("detection_cvpr_2019").serialize()
    assert list(definition.ATTRIBUTE_NAMES) == ATTRIBUTE_NAMES
    assert list(definition.ERRORS) == TP_METRICS
    from nuscenes.utils.splits import create_splits_scenes

    assert set(OFFICIAL_SPLITS) == set(create_splits_scenes())


def test_the_meta_of_the_submission_is_in_the_summary(truth: Truth, tmp_path: Path) -> None:
    results = {name: [record(name)] for name in truth.tokens}
    assert ours(write_submission(tmp_path / "results.json", results), truth)["meta"] == META
