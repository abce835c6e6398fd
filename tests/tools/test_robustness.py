"""tools/robustness.py: what it writes, what it takes up again, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.evaluation.metrics import Metrics
from perception.robustness import frames
from tests.commands import Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_network, tiny_yaml

CHOSEN = ("--corruptions", "lidar_beams,camera_drop", "--severities", "1,3")


@dataclass(frozen=True)
class Workplace:
    """Detectors, a dataset, and a place to write to."""

    folder: Path
    out: Path
    run: Callable[..., Finished]

    def robustness(self, *more: object, config: str | None = "tiny", out: Path | None = None) -> Finished:
        detector = []
        if config is not None:
            detector = [self.folder / f"{config}.yaml", "--checkpoint", self.folder / f"{config}.safetensors"]
        data = ["--data", self.folder / "root", "--version", VERSION, "--split", "tiny_val"]
        return self.run(*detector, *data, "--out", out or self.out, *more)

    def found(self) -> dict[str, Any]:
        return json.loads((self.out / "robustness.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for name, cameras in (("tiny", True), ("lidar", False)):
        config = tiny_yaml(folder / f"{name}.yaml", cameras=cameras)
        save_weights(folder / f"{name}.safetensors", tiny_network(load_config(config)).state_dict())
    write_nuscenes(folder / "root", samples=3)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    # An untrained detector finds nothing: its scores stand in, one number for whatever it detected.
    values = iter(range(1000))
    monkeypatch.setattr(Metrics, "nd_score", property(lambda metrics: 0.5 / (1 + 0.1 * next(values))))
    monkeypatch.setattr(Metrics, "mean_ap", property(lambda metrics: 0.25))
    return Workplace(
        made,
        tmp_path / "out",
        lambda *arguments: run_tool("robustness", *arguments, capture=capsys, monkeypatch=monkeypatch),
    )


def no_detecting(*arguments: object) -> None:
    raise AssertionError("a frame is made although its scores are there")


def test_scores_heat_map_and_report_are_written(place: Workplace) -> None:
    finished = place.robustness(*CHOSEN)
    assert finished.code == 0, finished.stderr
    assert sorted(path.name for path in place.out.iterdir()) == [
        "conditions",
        "heatmap.png",
        "report.html",
        "robustness.json",
    ]
    conditions = [path.name.rsplit("-", 1)[0] for path in sorted((place.out / "conditions").iterdir())]
    assert conditions == ["camera_drop-1", "camera_drop-3", "clean", "lidar_beams-1", "lidar_beams-3"]
    found = place.found()
    assert list(found["scores"]) == ["lidar_beams", "camera_drop"]
    nds = [found["scores"]["lidar_beams"][severity]["NDS"] for severity in ("1", "3")]
    assert found["clean"] == {"NDS": 0.5, "mAP": 0.25}
    assert nds == pytest.approx([0.5 / 1.1, 0.5 / 1.2])
    assert found["RA"]["NDS"]["lidar_beams"] == pytest.approx((1 / 1.1 + 1 / 1.2) / 2)
    assert found["mRA"] == pytest.approx({"NDS": (1 / 1.1 + 1 / 1.2 + 1 / 1.3 + 1 / 1.4) / 4, "mAP": 1.0})
    assert "mRRA" not in found
    assert f"{found['mRA']['NDS']:.3f}" in finished.stdout
    page = (place.out / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert cv2.imread(str(place.out / "heatmap.png")) is not None


def test_a_second_run_takes_up_what_is_there(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.robustness("--corruptions", "lidar_beams", "--severities", "2").code == 0
    first = place.found()
    with monkeypatch.context() as patch:
        patch.setattr("perception.robustness.run.detect_to_folder", no_detecting)
        assert place.robustness("--corruptions", "lidar_beams", "--severities", "2").code == 0
    assert place.found() == first
    made = []
    keep = frames.corrupted
    monkeypatch.setattr(frames, "corrupted", lambda *arguments: (made.append(arguments[1:4]), keep(*arguments))[1])
    assert place.robustness("--corruptions", "lidar_beams,lidar_dropout", "--severities", "2", "--seed", "1").code == 0
    of_detecting = made[: 2 * 3]  # the report's pictures follow
    assert of_detecting == [("lidar_beams", 2, 1)] * 3 + [("lidar_dropout", 2, 1)] * 3
    assert place.found()["clean"] == first["clean"]  # which has no seed


def test_an_interrupted_run_goes_on_after_the_last_frame(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, calls = frames.corrupted, []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments[0].token)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return keep(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "corrupted", interrupted)
        finished = place.robustness("--corruptions", "fog", "--severities", "1")
    assert finished.code == 130
    assert "the same command goes on from there" in finished.stderr
    assert not (place.out / "robustness.json").exists()
    again = []
    monkeypatch.setattr(frames, "corrupted", lambda *arguments: (again.append(arguments[0].token), keep(*arguments))[1])
    assert place.robustness("--corruptions", "fog", "--severities", "1").code == 0
    assert again[0] == calls[2]
    assert len(set(again) & set(calls[:2])) <= 1  # the report draws one of them
    assert list(place.found()["scores"]) == ["fog"]


def test_a_detector_without_cameras_needs_no_run_for_their_corruptions(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, made = frames.corrupted, []
    monkeypatch.setattr(frames, "corrupted", lambda *arguments: (made.append(arguments[1]), keep(*arguments))[1])
    choice = ("--corruptions", "darkness,lidar_beams", "--severities", "1")
    assert place.robustness(*choice, config="lidar").code == 0
    assert made == ["lidar_beams"] * 3 + ["darkness", "lidar_beams"]  # then the pictures
    found = place.found()
    assert found["scores"]["darkness"]["1"] == found["clean"]


def test_a_baseline_gives_relative_resistance_and_corruption_error(place: Workplace) -> None:
    assert place.robustness(*CHOSEN).code == 0
    shutil.move(place.out, place.out.with_name("theirs"))
    theirs = place.out.with_name("theirs")
    finished = place.robustness("--corruptions", "camera_drop", "--severities", "1,3", "--baseline", theirs)
    assert finished.code == 0, finished.stderr
    found, other = place.found(), json.loads((theirs / "robustness.json").read_text())
    mine, base = ([one["scores"]["camera_drop"][s]["NDS"] for s in ("1", "3")] for one in (found, other))
    assert mine != base
    assert found["mRRA"]["NDS"] == pytest.approx(sum(mine) / sum(base) - 1)
    assert found["mCE"]["NDS"] == pytest.approx((2 - sum(mine)) / (2 - sum(base)))
    assert "Beside" in (place.out / "report.html").read_text()

    refused = place.robustness("--corruptions", "fog", "--baseline", theirs / "robustness.json")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "baseline's severities" in refused.stderr
    refused = place.robustness("--corruptions", "fog", "--severities", "1", "--baseline", theirs)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "baseline's corruptions: expected fog" in refused.stderr
    refused = place.robustness(*CHOSEN, "--seed", "5", "--baseline", theirs)
    assert "baseline's seed: expected 5, got 0" in refused.stderr


def test_look_draws_each_corruption_without_a_detector(place: Workplace) -> None:
    finished = place.robustness("--look", "--corruptions", "rain,temporal_misalignment", config=None)
    assert finished.code == 0, finished.stderr
    assert sorted(path.name for path in place.out.iterdir()) == ["rain.png", "temporal_misalignment.png"]
    assert cv2.imread(str(place.out / "rain.png")).std() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--corruptions", "fog,snwo"), "corruption: expected a corruption's name, got 'snwo'; did you mean snow?"),
        (("--severities", "2,4"), "--severities: expected some of 1,2,3, got '2,4'"),
        (("--look",), "what to do: expected CONFIG of a detector, or --look without one, got both"),
        (("--baseline", "nowhere.json"), "nowhere.json: expected the robustness.json of another run, got no such file"),
        (("--checkpoint", "nowhere.safetensors"), "nowhere.safetensors: expected a file, got none"),
        (("--sample", "nothing"), "sample: expected one of the 3 of split tiny_val, got 'nothing'; see sample.json"),
    ],
)
def test_bad_input_is_one_line(place: Workplace, arguments: tuple[str, ...], message: str) -> None:
    finished = place.robustness(*arguments)
    assert finished.code == 2
    assert finished.stderr.strip().splitlines()[-1] == message
    assert "Traceback" not in finished.stderr
    assert not (place.out / "robustness.json").exists()


def test_a_baseline_that_is_something_else_is_refused(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"mean_ap": 0.3}')
    finished = place.robustness("--baseline", tmp_path / "metrics.json")
    assert finished.code == 2
    assert "expected the robustness.json of another run" in finished.stderr
