"""tools/evaluate.py: what it writes, what it takes up again, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception import offline
from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.evaluation.truth import load_truth
from tests.commands import TOOLS, Finished, run_tool
from tests.nuscenes_fixture import VERSION, edited, write_nuscenes
from tests.perception.evaluation.made import META, largest_difference, random_results, record, write_submission
from tests.tiny import tiny_network, tiny_yaml

FILES = ["metrics.json", "metrics_details.json", "pr_curves.svg", "report.html", "slices.json"]
DETECTED = sorted([*FILES, "detection.json", "results_nusc.json"])


@dataclass(frozen=True)
class Workplace:
    """A detector, a dataset, a submission for its split tiny_val, and a place to write to."""

    folder: Path
    out: Path
    run: Callable[..., Finished]

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def submission(self) -> Path:
        return self.folder / "submission.json"

    def score(self, *more: object, split: str = "tiny_val") -> Finished:
        return self.run("--results", self.submission, *self._where(split), *more)

    def evaluate(self, *more: object, split: str = "tiny_val") -> Finished:
        return self.run(*self.detector(), *self._where(split), *more)

    def detector(self) -> list[object]:
        return [self.folder / "tiny.yaml", "--checkpoint", self.folder / "tiny.safetensors"]

    def _where(self, split: str) -> list[object]:
        return ["--data", self.root, "--version", VERSION, "--split", split, "--out", self.out]

    def metrics(self) -> dict[str, Any]:
        return json.loads((self.out / "metrics.json").read_text())

    def results(self) -> dict[str, list[dict]]:
        return json.loads(self.submission.read_text())["results"]

    def rewrite(self, results: Any, meta: Any = META) -> None:
        write_submission(self.submission, results, meta)

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.out.parent.iterdir() if path.name != "in")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    config = tiny_yaml(folder / "tiny.yaml")
    save_weights(folder / "tiny.safetensors", tiny_network(load_config(config)).state_dict())
    root = write_nuscenes(folder / "root", samples=3)
    truth = load_truth(root, VERSION, "tiny_val")
    write_submission(folder / "submission.json", random_results(truth, 0, unknown_velocities=0))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    shutil.copytree(made, tmp_path / "in", copy_function=shutil.copy2)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return Workplace(
        tmp_path / "in",
        tmp_path / "out",
        lambda *arguments: run_tool("evaluate", *arguments, capture=capsys, monkeypatch=monkeypatch),
    )


class TestScoringAFile:
    def test_writes_the_kits_numbers_and_a_report(self, place: Workplace) -> None:
        finished = place.score()
        assert finished.code == 0, finished.stderr
        assert sorted(path.name for path in place.out.iterdir()) == FILES
        metrics = place.metrics()
        assert f"{metrics['nd_score']:.4f}" in finished.stdout
        assert str(place.out / "report.html") in finished.stdout
        assert place.left_behind() == ["out"]

    def test_the_official_scorer_writes_the_same(self, place: Workplace) -> None:
        pytest.importorskip("nuscenes")
        assert place.score().code == 0
        found, details = place.metrics(), json.loads((place.out / "metrics_details.json").read_text())
        shutil.rmtree(place.out)
        assert place.score("--scorer", "devkit").code == 0
        assert largest_difference(found, place.metrics(), but={"eval_time"}) <= 1e-9
        assert largest_difference(details, json.loads((place.out / "metrics_details.json").read_text())) <= 1e-9
        assert sorted(path.name for path in place.out.iterdir()) == FILES

    def test_needs_neither_torch_nor_the_kit(self, place: Workplace) -> None:
        code = f"import runpy, sys; sys.argv = {[str(a) for a in self._command(place)]!r}\n"
        code += "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        code += "except SystemExit as left: print(left.code, *{'torch', 'nuscenes', 'matplotlib'} & set(sys.modules))"
        environment = os.environ | {"PYTHONPATH": str(TOOLS.parent)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout.splitlines()[-1] == "0", done.stderr

    def _command(self, place: Workplace) -> list[object]:
        return [TOOLS / "evaluate.py", "--results", place.submission, *place._where("tiny_val")]

    def test_the_report_loads_nothing_from_elsewhere(self, place: Workplace) -> None:
        place.score()
        page = (place.out / "report.html").read_text()
        assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script|<link", page)
        outside = set(re.findall(r"https?://[^\"'\s<]*", page))
        assert outside <= {"http://www.w3.org/2000/svg"}  # a name, not an address

    def test_the_report_shows_scores_curves_slices_and_pictures(self, place: Workplace) -> None:
        place.score("--pictures", 3)
        page, metrics = (place.out / "report.html").read_text(), place.metrics()
        for number in (metrics["nd_score"], metrics["mean_ap"], *metrics["tp_errors"].values()):
            assert f"<b>{number:.3f}</b>" in page
        for name, ap in metrics["mean_dist_aps"].items():
            assert re.search(rf"<td>{name.replace('_', ' ')}</td>.*?{ap:.3f}", page)
        assert page.count("<polyline") > 10
        assert "<th>distance</th>" in page
        assert page.count("<figure>") == 6
        assert page.count('<img src="data:image/jpeg;base64,') >= 6

    def test_pictures_do_without_images_and_clouds(self, place: Workplace) -> None:
        shutil.rmtree(place.root / "samples")
        finished = place.score("--pictures", 2)
        assert finished.code == 0, finished.stderr
        assert (place.out / "report.html").read_text().count("<img ") == 4  # from above only

    def test_parts_of_the_split(self, place: Workplace) -> None:
        tokens = list(place.results())
        assert place.score("--limit", 2).code == 0
        first_two = place.metrics()
        assert place.score("--sample", tokens[1], "--sample", tokens[0]).code == 0
        assert largest_difference(place.metrics(), first_two, but={"eval_time"}) == 0
        assert place.score("--scenes", "scene-0002").code == 0
        whole = place.metrics()
        assert place.score().code == 0
        assert largest_difference(place.metrics(), whole, but={"eval_time"}) == 0
        assert whole["mean_ap"] != first_two["mean_ap"]

    def test_samples_of_other_splits_are_left_out_and_counted(self, place: Workplace) -> None:
        place.score()
        expected = place.metrics()
        others = load_truth(place.root, VERSION, "tiny_train").tokens
        place.rewrite(place.results() | {token: [record(token)] for token in others})
        finished = place.score()
        assert "3 samples that aren't among those to score are left out" in finished.stderr
        assert largest_difference(place.metrics(), expected, but={"eval_time"}) == 0

    def test_a_new_evaluation_replaces_the_old_one(self, place: Workplace) -> None:
        place.score()
        old = place.metrics()
        place.rewrite({token: [] for token in place.results()})
        assert place.score().code == 0
        assert place.metrics()["mean_ap"] == 0 < old["mean_ap"]


class TestDetecting:
    def test_detects_then_scores(self, place: Workplace) -> None:
        finished = place.evaluate()
        assert finished.code == 0, finished.stderr
        assert sorted(path.name for path in place.out.iterdir()) == DETECTED
        assert place.left_behind() == ["out"]
        results = json.loads((place.out / "results_nusc.json").read_text())
        assert results["meta"] == META
        assert list(results["results"]) == list(place.results())
        assert any(results["results"].values())
        assert place.metrics()["meta"] == META

    def test_detects_what_the_detect_command_does(
        self, place: Workplace, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.evaluate()
        tokens = [part for token in place.results() for part in ("--sample", token)]
        config, *rest = place.detector()
        arguments = (config, place.root, *rest, "--out", place.folder / "detected", "--no-pictures", *tokens)
        assert run_tool("detect", *arguments, capture=capsys, monkeypatch=monkeypatch).code == 0
        detected = (place.folder / "detected" / "results_nusc.json").read_text()
        assert (place.out / "results_nusc.json").read_text() == detected

    def test_finished_detections_are_taken_up(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        place.evaluate()
        expected = place.metrics()
        count = count_detections(monkeypatch)
        again = place.evaluate()
        assert (again.code, len(count)) == (0, 0)
        assert "made by these arguments before" in again.stderr
        assert largest_difference(place.metrics(), expected, but={"eval_time"}) == 0

    def test_detections_of_other_weights_are_not(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        place.evaluate()
        config = load_config(place.folder / "tiny.yaml")
        save_weights(place.folder / "tiny.safetensors", tiny_network(config, seed=1).state_dict())
        old = (place.out / "results_nusc.json").read_text()
        count = count_detections(monkeypatch)
        assert place.evaluate().code == 0
        assert len(count) == 3
        assert (place.out / "results_nusc.json").read_text() != old

    def test_an_interrupted_run_goes_on_where_it_stopped(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.evaluate()
        expected = (place.out / "results_nusc.json").read_bytes()
        shutil.rmtree(place.out)
        with monkeypatch.context() as patched:
            count_detections(patched, interrupt_at=2)
            stopped = place.evaluate()
        assert stopped.code == 130
        assert "1 finished frame kept; the same command goes on from there" in stopped.stderr
        assert not place.out.exists()
        count = count_detections(monkeypatch)
        assert place.evaluate().code == 0
        assert len(count) == 2
        assert (place.out / "results_nusc.json").read_bytes() == expected
        assert place.left_behind() == ["out"]

    def test_an_interruption_while_scoring_keeps_the_detections(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from perception.evaluation import run

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(run, "score", interrupted)
            assert place.evaluate().code == 130
        count = count_detections(monkeypatch)
        assert (place.evaluate().code, len(count)) == (0, 0)


def count_detections(monkeypatch: pytest.MonkeyPatch, interrupt_at: int | None = None) -> list[str]:
    """The tokens of the frames detected from now on; Ctrl-C at one of them."""
    detected: list[str] = []
    detect = offline.Detector.__call__

    def counted(detector: offline.Detector, frame: offline.Frame) -> offline.Boxes3D:
        detected.append(frame.token)
        if len(detected) == interrupt_at:
            raise KeyboardInterrupt
        return detect(detector, frame)

    monkeypatch.setattr(offline.Detector, "__call__", counted)
    return detected


class TestSeveralProcesses:
    @pytest.mark.parametrize("world", [2, 5])
    def test_make_the_same_files_as_one(self, place: Workplace, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
        """Five processes are more than there are samples."""
        place.evaluate()
        expected = {name: (place.out / name).read_bytes() for name in ("results_nusc.json", "metrics_details.json")}
        metrics = place.metrics()
        shutil.rmtree(place.out)
        count = count_detections(monkeypatch)
        for rank in reversed(range(world)):  # the first one waits for the others
            monkeypatch.setenv("RANK", str(rank))
            monkeypatch.setenv("WORLD_SIZE", str(world))
            finished = place.evaluate()
            assert finished.code == 0, finished.stderr
            assert (place.out / "metrics.json").exists() == (rank == 0)
        assert len(count) == len(set(count)) == 3
        assert {name: (place.out / name).read_bytes() for name in expected} == expected
        assert largest_difference(place.metrics(), metrics, but={"eval_time"}) == 0
        assert place.left_behind() == ["out"]

    def test_torchrun_makes_the_same_file(self, place: Workplace) -> None:
        place.evaluate()
        expected = (place.out / "results_nusc.json").read_bytes()
        shutil.rmtree(place.out)
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
        command = [*launch, TOOLS / "evaluate.py", *place.detector(), *place._where("tiny_val")]
        environment = os.environ | {"PYTHONPATH": str(TOOLS.parent), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert (place.out / "results_nusc.json").read_bytes() == expected
        assert place.left_behind() == ["out"]

    def test_shares_of_another_run_are_not_taken(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        assert place.evaluate("--limit", 2).code == 0
        count = count_detections(monkeypatch)
        assert place.evaluate().code == 0
        assert len(count) == 1

    @pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("a", "2"), ("0", "0")])
    def test_a_rank_that_cannot_be_is_refused(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, rank: str, world: str
    ) -> None:
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", world)
        check_refused(place, place.evaluate(), "RANK")


def first(results: dict[str, list[dict]]) -> dict:
    return next(box for boxes in results.values() for box in boxes)


def change(field: str, value: Any) -> Callable[[dict], None]:
    return lambda results: first(results).update({field: value})


def many(results: dict[str, list[dict]]) -> None:
    token = next(iter(results))
    results[token] = [record(token)] * 501


def without_field(results: dict[str, list[dict]]) -> None:
    del first(results)["size"]


BAD_RESULTS = {
    "unknown sample": (lambda results: results.update(nonsense=[]), "nonsense"),
    "missing sample": (lambda results: results.pop(next(iter(results))), "without"),
    "too many boxes": (many, "at most 500 boxes, got 501"),
    "NaN centre": (change("translation", [0.0, float("nan"), 0.0]), "translation of box 0"),
    "infinite size": (change("size", [1.0, float("inf"), 1.0]), "size of box 0"),
    "infinite velocity": (change("velocity", [float("inf"), 0.0]), "velocity of box 0"),
    "NaN score": (change("detection_score", float("nan")), "detection_score of box 0"),
    "huge integer": (change("detection_score", 10**400), "detection_score"),
    "negative score": (change("detection_score", -0.1), "detection_score of box 0"),
    "score as text": (change("detection_score", "0.5"), "detection_score"),
    "two numbers of three": (change("translation", [0.0, 1.0]), "translation"),
    "three of two": (change("velocity", [0.0, 1.0, 2.0]), "velocity"),
    "five of four": (change("rotation", [1.0, 0.0, 0.0, 0.0, 0.0]), "rotation"),
    "no list": (change("size", 3), "size"),
    "null in a vector": (change("size", [1.0, None, 1.0]), "size"),
    "true in a vector": (change("size", [1.0, True, 1.0]), "size"),
    "flat box": (change("size", [1.0, 0.0, 1.0]), "size of box 0: expected three sizes > 0"),
    "no rotation": (change("rotation", [0.0, 0.0, 0.0, 0.0]), "rotation of box 0"),
    "unknown class": (change("detection_name", "cars"), "did you mean car"),
    "class no string": (change("detection_name", ["car"]), "detection_name of box 0"),
    "unknown attribute": (change("attribute_name", "vehicle.moved"), "did you mean vehicle.moving"),
    "another sample's box": (change("sample_token", "other"), "sample_token of box 0"),
    "field missing": (without_field, "size"),
    "box no object": (lambda results: results.update({next(iter(results)): [3]}), "an object with"),
    "boxes no list": (lambda results: results.update({next(iter(results)): {}}), "a list of boxes"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", BAD_RESULTS)
    def test_a_submission_that_cannot_be_scored(self, place: Workplace, case: str) -> None:
        spoil, word = BAD_RESULTS[case]
        results = place.results()
        spoil(results)
        place.rewrite(results)
        finished = place.score()
        check_refused(place, finished, word)
        assert "submission.json" in finished.stderr

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("", "JSON"),
            ("not JSON", "JSON"),
            ("[]", "JSON"),
            ('{"meta": {}}', 'no "results"'),
            ('{"results": {}}', "meta"),
            ('{"meta": 3, "results": {}}', "meta"),
            ('{"meta": {}, "results": []}', "JSON"),
            ('{"meta": {}, "results": {}} x', "more after the end"),
            ('{"meta": {}, "results": {\n\n"a": [', "in line 3"),
            ("[" * 100_000, "JSON"),
            ('{"meta": ' + "[" * 100_000, "nested"),
        ],
    )
    def test_a_file_that_is_no_submission(self, place: Workplace, text: str, word: str) -> None:
        place.submission.write_text(text)
        check_refused(place, place.score(), word)

    def test_a_sample_that_comes_twice(self, place: Workplace) -> None:
        token = next(iter(place.results()))
        text = place.submission.read_text()
        place.submission.write_text(text.replace('"results": {', f'"results": {{"{token}": [], '))
        check_refused(place, place.score(), "second time")

    def test_a_file_that_is_not_there_or_not_text(self, place: Workplace) -> None:
        place.submission.write_bytes(b"\xff\xfe\x00")
        check_refused(place, place.score(), "UTF-8")
        place.submission.unlink()
        check_refused(place, place.score(), "submission.json")

    def test_an_empty_split(self, place: Workplace) -> None:
        (place.root / VERSION / "splits.json").write_text(
            '{"none": [], "gone": ["scene-0009"], "there": ["scene-0001"]}'
        )
        for split in ("none", "gone"):
            told = f"samples of split {split}: expected at least one, got none; there are scenes of there"
            check_refused(place, place.score(split=split), told)
            check_refused(place, place.evaluate(split=split), f"samples of split {split}: expected at least one")

    def test_an_unknown_split_scene_or_sample(self, place: Workplace) -> None:
        check_refused(place, place.score(split="tiny_vall"), "did you mean tiny_val")
        check_refused(place, place.score("--scene", "scene-0001"), "scene-0001")
        check_refused(place, place.score("--sample", "nonsense"), "nonsense")

    def test_a_split_without_annotations(self, place: Workplace) -> None:
        with edited(place.root, "sample_annotation") as rows:
            rows.clear()
        check_refused(place, place.score(), "annotations")

    @pytest.mark.parametrize(
        ("table", "field"),
        [
            ("sample", "scene_token"),
            ("sample_annotation", "sample_token"),
            ("sample_annotation", "instance_token"),
            ("sample_annotation", "visibility_token"),
            ("sample_annotation", "next"),
            ("instance", "category_token"),
            ("sample_data", "ego_pose_token"),
            ("sample_data", "calibrated_sensor_token"),
        ],
    )
    def test_tokens_that_lead_nowhere(self, place: Workplace, table: str, field: str) -> None:
        with edited(place.root, table) as rows:
            for row in rows:
                row[field] = "nowhere"
        check_refused(place, place.score(), "nowhere")

    def test_an_attribute_that_is_not_there(self, place: Workplace) -> None:
        with edited(place.root, "sample_annotation") as rows:
            next(row for row in reversed(rows) if row["attribute_tokens"])["attribute_tokens"] = ["nowhere"]
        check_refused(place, place.score(), "nowhere")

    @pytest.mark.parametrize("table", ["sample", "scene", "sample_annotation", "visibility", "ego_pose"])
    def test_a_dataset_half_written(self, place: Workplace, table: str) -> None:
        path = place.root / VERSION / f"{table}.json"
        path.write_text(path.read_text()[:-40])
        check_refused(place, place.score(), f"{table}.json")
        path.unlink()
        check_refused(place, place.score(), f"{table}.json")

    def test_other_splits_samples_where_the_split_is_official(self, place: Workplace) -> None:
        pytest.importorskip("nuscenes")
        with edited(place.root, "scene") as rows:
            rows[1]["name"] = "scene-0103"
        other = load_truth(place.root, VERSION, "tiny_train").tokens[0]
        assert place.score(split="mini_val").code == 0
        shutil.rmtree(place.out)
        place.rewrite(place.results() | {other: []})
        check_refused(place, place.score(split="mini_val"), other)

    def test_what_the_kit_refuses(self, place: Workplace) -> None:
        pytest.importorskip("nuscenes")
        (place.root / "maps" / "nowhere.png").unlink()
        check_refused(place, place.score("--scorer", "devkit"), "--scorer ours")

    def test_neither_or_both_of_detector_and_results(self, place: Workplace) -> None:
        check_refused(place, place.run(*place._where("tiny_val")), "none of them")
        check_refused(place, place.run(*place.detector()[:1], *place._where("tiny_val")), "--checkpoint")
        check_refused(place, place.score(*place.detector()), "--results")

    def test_a_file_where_the_folder_should_be(self, place: Workplace) -> None:
        place.out.write_text("mine")
        for finished in (place.score(), place.evaluate()):
            assert (finished.code, finished.stderr.count("\n")) == (2, 1)
        assert place.out.read_text() == "mine"

    def test_weights_that_are_not_there(self, place: Workplace) -> None:
        (place.folder / "tiny.safetensors").unlink()
        check_refused(place, place.evaluate(), "tiny.safetensors")

    def test_a_camera_that_is_not_there_unless_it_may_be_missing(self, place: Workplace) -> None:
        for path in (place.root / "samples" / "CAM_BACK").iterdir():
            path.unlink()
        check_refused(place, place.evaluate(), "CAM_BACK")
        forgiven = place.evaluate("--allow-missing")
        assert forgiven.code == 0
        assert "CAM_BACK" in forgiven.stderr


def check_refused(place: Workplace, finished: Finished, word: str) -> None:
    """Exit code 2, one line that says what was expected and got, nothing printed, nothing left behind."""
    assert finished.code == 2, finished
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert ": expected " in finished.stderr
    assert ", got " in finished.stderr
    assert word in finished.stderr
    assert finished.stdout == ""
    assert place.left_behind() == []


def test_scores_are_numbers_between_0_and_1(place: Workplace) -> None:
    place.score()
    metrics = place.metrics()
    assert 0.1 < metrics["mean_ap"] < 1
    assert all(0 <= value <= 1 for aps in metrics["label_aps"].values() for value in aps.values())
    assert np.isnan(metrics["label_tp_errors"]["traffic_cone"]["vel_err"])
