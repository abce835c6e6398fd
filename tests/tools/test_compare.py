"""tools/compare.py: what it makes of a file of methods, what it takes up again, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import yaml

from perception.checkpoints.native import save_weights
from perception.comparison import run as comparison
from perception.comparison.table import BEGIN, END
from perception.config import load_config
from perception.robustness import corruption_names
from tests.commands import Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_network, tiny_yaml

pytest.importorskip("lightning_fabric", reason="training needs the extra `train`")

BUDGET = (
    "view_transform.name=lss",
    "training.epochs=1",
    "training.epoch_frames=2",
    "training.batch_size=2",
    "training.workers=0",
)
METHODS = {
    "base": "fused.yaml",
    "weights": ["camera.safetensors", "lidar.safetensors"],
    "overrides": BUDGET,
    "methods": [
        {"name": "conv", "level": "maps", "overrides": ["fuser={name: conv}"]},
        {"name": "gating", "level": "maps", "overrides": ["fuser={name: gating}"]},
        {
            "name": "late boxes",
            "level": "boxes",
            "trained": False,
            "overrides": ["fuser=null", "late={name: boxes}"],
        },
    ],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, sensors in {"fused": {}, "camera": {"lidar": False}, "lidar": {"cameras": False}}.items():
        config = tiny_yaml(tmp_path / f"{name}.yaml", head="centerpoint", **sensors)
        save_weights(tmp_path / f"{name}.safetensors", tiny_network(load_config(config)).state_dict())
    write_nuscenes(tmp_path / "root", samples=3)
    (tmp_path / "methods.yaml").write_text(yaml.safe_dump(METHODS | {"overrides": list(BUDGET)}))
    return tmp_path


def compare(place: Path, *more: object, **how: object) -> Finished:
    data = ("--data", place / "root", "--version", VERSION, "--split", "tiny_val", "--train-split", "tiny_train")
    return run_tool("compare", place / "methods.yaml", *data, "--out", place / "out", *more, **how)


def test_methods_are_trained_scored_and_put_into_a_document(place: Path, capsys, monkeypatch) -> None:
    document = place / "fusion.md"
    document.write_text(f"# Fusion\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    finished = compare(place, "--document", document, capture=capsys, monkeypatch=monkeypatch)
    assert finished.code == 0, finished.stderr
    rows = json.loads((place / "out/comparison.json").read_text())
    assert [row["name"] for row in rows] == ["conv", "gating", "late boxes"]
    assert [row["trained"] for row in rows] == [2, 2, 0]
    assert list(rows[0]["scores"]) == list(comparison.CONDITIONS)
    assert all(row["parameters"] > 0 and row["ms"] > 0 for row in rows)
    text = document.read_text()
    assert text.startswith("# Fusion")
    assert text.endswith("The end.\n")
    assert "old" not in text
    assert "| late boxes | boxes |" in text
    assert (place / "out/table.md").read_text() in text.replace(f"{END}", "")
    assert cv2.imread(str(place / "out/comparison.png")) is not None


def test_a_second_run_takes_up_what_is_there(place: Path, capsys, monkeypatch) -> None:
    assert compare(place, "--only", "conv", capture=capsys, monkeypatch=monkeypatch).code == 0
    first = (place / "out/comparison.json").read_text()

    def nothing_new(*arguments: object, **more: object) -> None:
        raise AssertionError("a frame is looked at although its scores are there")

    monkeypatch.setattr("perception.robustness.run.detect_to_folder", nothing_new)
    monkeypatch.setattr("perception.comparison.run.load_detector", nothing_new)
    again = compare(place, "--only", "conv", capture=capsys, monkeypatch=monkeypatch)
    assert again.code == 0, again.stderr
    assert (place / "out/comparison.json").read_text() == first


def test_the_whole_suite_gives_mra(place: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(comparison, "corruption_names", lambda: ["fog", "lidar_beams"])
    finished = compare(place, "--only", "late boxes", "--suite", "2", capture=capsys, monkeypatch=monkeypatch)
    assert finished.code == 0, finished.stderr
    kept = [path.name.rsplit("-", 1)[0] for path in (place / "out/late_boxes/conditions").glob("*.json")]
    assert {"fog-2", "lidar_beams-2", "clean"} <= set(kept)
    (row,) = json.loads((place / "out/comparison.json").read_text())
    again = compare(place, "--only", "late boxes", capture=capsys, monkeypatch=monkeypatch)  # without the suite
    assert again.code == 0, again.stderr
    assert json.loads((place / "out/comparison.json").read_text()) == [row]
    assert row["mRA"] is not None


def test_samples_are_spread_evenly() -> None:
    assert comparison.spread("abcdefgh", 4) == ("a", "c", "e", "g")
    assert comparison.spread("abc", 9) == ("a", "b", "c")
    assert len(comparison.suite_of("1,3")) == 2 * len(corruption_names())
    assert comparison.suite_of("") == ()


@pytest.mark.parametrize(
    ("change", "more", "word"),
    [
        ({"methods": []}, (), "methods"),
        ({"base": "none.yaml"}, (), "none.yaml"),
        ({"weights": ["sim_lidra"]}, (), "sim_lidra"),
        ({"methods": [*METHODS["methods"], METHODS["methods"][0]]}, (), "twice"),
        ({"methods": [{"name": "a", "level": "maps", "config": "lidar.yaml", "overrides": ["x=1"]}]}, (), "both"),
        ({"methods": [{"name": "a", "level": "maps", "of": "b"}]}, (), "another method"),
        ({}, ("--only", "convv"), "conv"),
        ({}, ("--suite", "4"), "1,2,3"),
        ({}, ("--split", "no"), "no"),
    ],
)
def test_bad_input_ends_in_one_line(place: Path, capsys, monkeypatch, change, more, word) -> None:
    (place / "methods.yaml").write_text(yaml.safe_dump(METHODS | {"overrides": list(BUDGET)} | change))
    finished = compare(place, *more, capture=capsys, monkeypatch=monkeypatch)
    assert finished.code == 2
    assert finished.stderr.splitlines()[-1].count(word)


def test_a_document_without_marks_is_left_alone(place: Path, capsys, monkeypatch) -> None:
    (place / "other.md").write_text("nothing\n")
    finished = compare(
        place, "--only", "late boxes", "--document", place / "other.md", capture=capsys, monkeypatch=monkeypatch
    )
    assert finished.code == 2
    assert (place / "other.md").read_text() == "nothing\n"
    assert not (place / "out").exists()
