"""What is measured of two detectors whose boxes are fused: how often a score is right, and how far boxes are off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.errors import InputError
from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.detector import load_detector
from perception.model.late.boxes import Settings
from perception.refining.calibrate import found_apart, measured
from perception.types import Boxes3D, Truth
from tests.perception.training.scenes import random_boxes
from tests.tiny import tiny_data, tiny_frame, tiny_network


def streams(rng: np.random.Generator):
    """Detectors whose boxes are 0.2 m off, and the camera's 0.1 of the distance along its ray; half of their boxes are
    of nothing, by scores that are twice as sure as they should be."""

    def found(frame) -> dict[str, Boxes3D]:
        truth, result = frame.truth.boxes, {}
        ray = truth.centers[:, :2] / np.linalg.norm(truth.centers[:, :2], axis=1, keepdims=True)
        for name, share in {"main": 0.0, "camera": 0.1}.items():
            chance = rng.uniform(0.1, 0.9, len(truth))
            right = rng.random(len(truth)) < chance
            distance = np.linalg.norm(truth.centers[:, :2], axis=1)
            centers = truth.centers.copy()
            centers[:, :2] += rng.normal(0, 0.1, (len(truth), 2))
            centers[:, :2] += ray * (share * distance * rng.normal(0, 0.3, len(truth)))[:, None]
            centers[~right, :2] += 500
            odds = 2 * np.log(chance / (1 - chance))
            result[name] = replace(truth, centers=centers, scores=1 / (1 + np.exp(-odds)))
        return result

    return found


def frames(count: int):
    for seed in range(count):
        boxes = random_boxes(20, seed, reach=40.0)
        yield replace(tiny_frame(seed, cameras=()), truth=Truth(boxes, np.ones(20, int), np.zeros(20, int)))


def test_scores_become_probabilities_and_errors_are_told() -> None:
    apart = streams(np.random.default_rng(0))
    found = measured((frame, apart(frame)) for frame in frames(60))
    assert found["main"].scale == pytest.approx(0.5, abs=0.12)
    assert found["main"].offset == pytest.approx(0.0, abs=0.3)
    assert found["main_errors"].across_m == pytest.approx(0.1, abs=0.03)
    assert found["main_errors"].along_share < 0.005
    assert found["camera_errors"].along_share == pytest.approx(0.03, abs=0.012)
    assert Settings(**found).main == found["main"]


def test_too_little_is_refused() -> None:
    apart = streams(np.random.default_rng(0))
    with pytest.raises(InputError, match="at least 20"):
        measured((frame, apart(frame)) for frame in frames(1))


def test_both_detectors_are_heard_apart(tmp_path: Path) -> None:
    data = tiny_data(head="centerpoint") | {"late": {"name": "boxes"}}
    del data["fuser"]
    (tmp_path / "late.yaml").write_text(yaml.safe_dump(data))
    save_weights(tmp_path / "late.safetensors", tiny_network(load_config(tmp_path / "late.yaml")).state_dict())
    detector = load_detector(tmp_path / "late.yaml", tmp_path / "late.safetensors")
    frame = tiny_frame()
    apart = found_apart(detector, frame)
    assert len(apart["main"])
    assert len(apart["camera"])
    alone = detector(replace(frame, cameras={}))
    np.testing.assert_allclose(np.sort(alone.scores), np.sort(apart["main"].scores), atol=1e-5)
