"""tools/detect.py: what it writes, what it survives, and what it says when it can't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from perception import offline
from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.detector import load_detector
from perception.sources import FrameOptions, open_source
from tests.commands import Finished, run_tool
from tests.info_fixture import write_info
from tests.nuscenes_fixture import VERSION, edited, write_nuscenes
from tests.tiny import tiny_network, tiny_yaml


@dataclass(frozen=True)
class Workplace:
    """A detector, a dataset, and a place to write to."""

    config: Path
    checkpoint: Path
    root: Path
    out: Path
    detect: Callable[..., Finished]

    def result(self) -> dict:
        return json.loads((self.out / "boxes.json").read_text())

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.out.parent.iterdir() if path.name.startswith(self.out.name))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector with its checkpoint, and a tiny dataset; tests copy what they break."""
    folder = tmp_path_factory.mktemp("made")
    config = tiny_yaml(folder / "tiny.yaml")
    save_weights(folder / "tiny.safetensors", tiny_network(load_config(config)).state_dict())
    write_nuscenes(folder / "root", scenes=1, samples=2)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    shutil.copytree(made, tmp_path / "in")
    config, checkpoint, root = (tmp_path / "in" / name for name in ("tiny.yaml", "tiny.safetensors", "root"))
    out = tmp_path / "out"

    def detect(*more: object, data: Path = root) -> Finished:
        arguments = (config, data, "--checkpoint", checkpoint, "--out", out, *more)
        return run_tool("detect", *arguments, capture=capsys, monkeypatch=monkeypatch)

    return Workplace(config, checkpoint, root, out, detect)


def file_of(root: Path, channel: str) -> Path:
    """The first keyframe's file of a sensor."""
    return sorted((root / "samples" / channel).iterdir())[0]


def test_every_frame_gets_its_boxes_a_submission_and_a_picture(place: Workplace) -> None:
    assert place.detect("--version", VERSION).code == 0
    result = place.result()
    tokens = [frame["token"] for frame in result["frames"]]
    assert result["format"] == "bevfuse-boxes-1"
    assert len(tokens) == 2
    assert sorted(path.name for path in place.out.iterdir()) == sorted(
        ["boxes.json", "results_nusc.json", *(f"{token}.png" for token in tokens)]
    )
    assert set(json.loads((place.out / "results_nusc.json").read_text())["results"]) == set(tokens)
    with Image.open(place.out / f"{tokens[0]}.png") as picture:
        assert min(picture.size) > 500
    assert place.left_behind() == ["out"]


def test_the_boxes_are_the_detectors(place: Workplace) -> None:
    place.detect("--no-pictures")
    detector = load_detector(place.config, place.checkpoint)
    source = open_source("nuscenes", place.root, FrameOptions(sweeps=1))
    for frame, written in zip(source, place.result()["frames"], strict=True):
        boxes = detector(frame)
        best = np.argmax(boxes.scores)
        first = written["boxes"][0]
        assert (written["token"], written["stamp_ns"], written["frame"]) == (frame.token, frame.stamp_ns, "lidar")
        assert len(written["boxes"]) == len(boxes) > 0
        assert first["label"] == boxes.class_names[boxes.labels[best]]
        np.testing.assert_allclose(first["center"], boxes.centers[best], rtol=1e-6)
        np.testing.assert_allclose(first["size"], boxes.sizes[best], rtol=1e-6)
        np.testing.assert_allclose([first["score"], first["yaw"]], [boxes.scores[best], boxes.yaws[best]], rtol=1e-6)
        scores = [box["score"] for box in written["boxes"]]
        assert scores == sorted(scores, reverse=True)


def test_the_threshold_leaves_out_what_scores_less(place: Workplace) -> None:
    place.detect("--no-pictures")
    scores = [box["score"] for frame in place.result()["frames"] for box in frame["boxes"]]
    middle = float(np.median(scores))
    place.detect("--no-pictures", "--score-threshold", middle)
    kept = [box["score"] for frame in place.result()["frames"] for box in frame["boxes"]]
    assert sorted(kept) == sorted(score for score in scores if score >= middle)


def test_chosen_samples_only(place: Workplace) -> None:
    tokens = open_source("nuscenes", place.root).tokens
    assert place.detect("--no-pictures", "--sample", tokens[1]).code == 0
    assert [frame["token"] for frame in place.result()["frames"]] == [tokens[1]]


def test_an_interrupted_run_goes_on_where_it_stopped(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = place.detect()
    expected = {path.name: path.read_bytes() for path in place.out.iterdir()}
    assert whole.code == 0
    shutil.rmtree(place.out)

    detected: list[str] = []
    detect_one = offline.Detector.__call__

    def interrupted_at_second(detector: offline.Detector, frame: offline.Frame) -> offline.Boxes3D:
        detected.append(frame.token)
        if len(detected) == 2:
            raise KeyboardInterrupt
        return detect_one(detector, frame)

    monkeypatch.setattr(offline.Detector, "__call__", interrupted_at_second)
    stopped = place.detect()
    assert (stopped.code, place.left_behind()) == (130, ["out.partial"])
    assert "interrupted" in stopped.stderr

    second = place.detect()
    assert second.code == 0
    assert "1 finished" in second.stderr
    assert detected[1:] == [detected[1]] * 2  # the second frame twice, the first once
    assert {path.name: path.read_bytes() for path in place.out.iterdir()} == expected
    assert place.left_behind() == ["out"]


def test_a_run_killed_while_it_wrote_loses_only_that_frame(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_first(monkeypatch)
    assert place.detect("--no-pictures").code == 130
    monkeypatch.undo()
    with (place.out.with_name("out.partial") / "frames.jsonl").open("a") as lines:
        lines.write('{"token": "cut sho')
    assert place.detect("--no-pictures").code == 0
    assert len(place.result()["frames"]) == 2


def test_unfinished_work_of_other_arguments_is_not_taken_up(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_first(monkeypatch)
    assert place.detect("--no-pictures").code == 130
    monkeypatch.undo()
    again = place.detect("--no-pictures", "--score-threshold", 0.1)
    assert (again.code, "finished" in again.stderr) == (0, False)


def stop_after_first(monkeypatch: pytest.MonkeyPatch) -> None:
    add = offline.Journal.add

    def add_and_stop(journal: offline.Journal, frame: offline.Frame, boxes: offline.Boxes3D) -> None:
        add(journal, frame, boxes)
        raise KeyboardInterrupt

    monkeypatch.setattr(offline.Journal, "add", add_and_stop)


def test_points_that_are_not_numbers_are_dropped_and_counted(place: Workplace) -> None:
    path = file_of(place.root, "LIDAR_TOP")
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    points[3, 0], points[5, 2] = np.nan, np.inf
    points.tofile(path)
    finished = place.detect("--no-pictures")
    assert finished.code == 0
    assert "2 points" in finished.stderr


@pytest.mark.parametrize("trouble", ["missing", "unreadable", "smaller"])
def test_a_camera_in_trouble_ends_the_run_unless_it_may_be_missing(place: Workplace, trouble: str) -> None:
    path = file_of(place.root, "CAM_BACK")
    spoil_image(path, trouble)
    finished = place.detect()
    check_refused(place, finished, path.name)
    forgiven = place.detect("--allow-missing")
    assert forgiven.code == 0
    assert "CAM_BACK" in forgiven.stderr
    assert len(place.result()["frames"]) == 2


def spoil_image(path: Path, trouble: str) -> None:
    if trouble == "missing":
        path.unlink()
    elif trouble == "unreadable":
        path.write_bytes(path.read_bytes()[:200])
    else:
        Image.new("RGB", (32, 18)).save(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 30], ids=["empty", "truncated"])
def test_a_cloud_cut_short_is_refused(place: Workplace, content: bytes) -> None:
    path = file_of(place.root, "LIDAR_TOP")
    path.write_bytes(content)
    check_refused(place, place.detect(), path.name)


def test_intrinsics_without_an_inverse_are_refused(place: Workplace) -> None:
    with edited(place.root, "calibrated_sensor") as rows:
        row = next(row for row in rows if row["camera_intrinsic"])
        row["camera_intrinsic"][0][0] = 0.0
    check_refused(place, place.detect(), "singular")


def test_a_pose_that_is_no_rotation_is_refused(place: Workplace) -> None:
    with edited(place.root, "ego_pose") as rows:
        for row in rows:
            row["rotation"] = [0.0, 0.0, 0.0, 0.0]
    check_refused(place, place.detect(), "quaternion")


def test_a_version_that_is_not_there_is_refused(place: Workplace) -> None:
    check_refused(place, place.detect("--version", "v1.0-mini"), VERSION)


def test_an_unknown_sample_is_refused(place: Workplace) -> None:
    told = "expected a sample with token 'nonsense', got none; take the token of a row of this file"
    check_refused(place, place.detect("--sample", "nonsense"), told)


def test_a_misspelt_key_is_refused_with_the_right_one(place: Workplace) -> None:
    place.config.write_text(place.config.read_text().replace("resized_width", "resized_widht"))
    check_refused(place, place.detect(), "resized_width")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "expected a configuration file (.yaml), got no such file"),
        ("grid: [", "expected valid YAML"),
        ("- grid", "expected a mapping of sections, got list"),
    ],
    ids=["missing", "broken", "a list"],
)
def test_a_configuration_that_cannot_be_used_is_told_before_that_it_has_no_weights(
    place: Workplace,
    content: str | None,
    word: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = place.config.with_name("nope.yaml")
    if content is not None:
        config.write_text(content)
    arguments = (config, place.root, "--out", place.out)
    check_refused(place, run_tool("detect", *arguments, capture=capsys, monkeypatch=monkeypatch), word)


@pytest.mark.parametrize("trouble", ["missing", "extra", "misshapen", "text", "absent"])
def test_a_checkpoint_that_does_not_fit_is_refused(place: Workplace, trouble: str) -> None:
    weights = tiny_network(load_config(place.config)).state_dict()
    name = "head.shared_conv.bias"
    if trouble == "missing":
        del weights[name]
    elif trouble == "extra":
        name = "head.another"
        weights[name] = torch.zeros(3)
    elif trouble == "misshapen":
        weights[name] = torch.zeros(3)
    save_weights(place.checkpoint, weights)
    if trouble == "text":
        place.checkpoint.write_text("not a checkpoint")
    elif trouble == "absent":
        place.checkpoint.unlink()
    check_refused(place, place.detect(), place.checkpoint.name if trouble in ("text", "absent") else name)


def test_an_info_file_gives_the_same_boxes_as_the_tables(place: Workplace) -> None:
    place.detect("--no-pictures")
    expected = place.result()
    assert place.detect("--no-pictures", data=write_info(place.root)).code == 0
    for one, other in zip(place.result()["frames"], expected["frames"], strict=True):
        assert one["token"] == other["token"]
        for box, same in zip(one["boxes"], other["boxes"], strict=True):
            np.testing.assert_allclose(box["center"], same["center"], atol=1e-3)


def spoil_version(info: dict) -> None:
    info["metainfo"]["info_version"] = "9.9"


def remove_camera(info: dict) -> None:
    del info["data_list"][0]["images"]["CAM_BACK"]


def make_singular(info: dict) -> None:
    info["data_list"][0]["images"]["CAM_BACK"]["cam2img"][0][0] = 0.0


def shear(info: dict) -> None:
    info["data_list"][0]["images"]["CAM_BACK"]["lidar2cam"][0][1] += 0.5


@pytest.mark.parametrize(
    ("change", "word"),
    [(spoil_version, "9.9"), (remove_camera, "CAM_BACK"), (make_singular, "singular"), (shear, "rotation")],
)
def test_a_broken_info_file_is_refused(place: Workplace, change: Callable[[dict], None], word: str) -> None:
    check_refused(place, place.detect(data=write_info(place.root, change=change)), word)


def test_input_that_is_neither_is_refused(place: Workplace) -> None:
    check_refused(place, place.detect(data=place.config), "tiny.yaml")


def test_a_device_that_is_not_there_is_refused(place: Workplace) -> None:
    told = "device: expected cpu, cuda, or cuda:0, cuda:1, ..., got {}; use --device cpu"
    for name in ("abacus", "tpu", "mps"):
        check_refused(place, place.detect("--device", name), told.format(repr(name)))


def test_a_precision_that_does_not_exist_is_refused_in_plain_words(place: Workplace) -> None:
    finished = place.detect("--precision", "fp8")
    assert finished.stderr.startswith("Invalid value for '--precision': 'fp8' is not one of ")


def test_a_place_that_cannot_hold_a_folder_is_told_as_such(
    place: Workplace, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "file").write_text("mine")
    for out, got in (
        (place.root / "file" / "out", "a file above it"),
        (Path("/proc/out"), "a place where none can be"),
    ):
        arguments = (place.config, place.root, "--checkpoint", place.checkpoint, "--out", out)
        finished = run_tool("detect", *arguments, capture=capsys, monkeypatch=monkeypatch)
        check_refused(place, finished, f"{out}: expected a folder to write to, got {got}")


def test_a_file_where_the_folder_should_be_is_refused(place: Workplace) -> None:
    place.out.write_text("mine")
    finished = place.detect()
    assert (finished.code, finished.stderr.count("\n")) == (2, 1)
    assert place.out.read_text() == "mine"


def check_refused(place: Workplace, finished: Finished, word: str) -> None:
    """Exit code 2, one line that says what was expected and got, nothing printed, nothing left behind."""
    assert finished.code == 2
    assert finished.stderr.count("\n") == 1
    assert ": expected " in finished.stderr
    assert ", got " in finished.stderr
    assert word in finished.stderr
    assert finished.stdout == ""
    assert place.left_behind() == []


def test_options_that_mean_nothing_for_an_info_file_are_refused(place: Workplace) -> None:
    check_refused(place, place.detect("--sample", "anything", data=write_info(place.root)), "--sample")


def test_a_sample_asked_for_twice_is_refused(place: Workplace) -> None:
    token = open_source("nuscenes", place.root).tokens[0]
    check_refused(place, place.detect("--sample", token, "--sample", token), token)


def test_a_matrix_without_its_translation_is_refused(place: Workplace) -> None:
    def cut(info: dict) -> None:
        camera = info["data_list"][0]["images"]["CAM_BACK"]
        camera["lidar2cam"] = [row[:3] for row in camera["lidar2cam"][:3]]

    check_refused(place, place.detect(data=write_info(place.root, change=cut)), "lidar2cam")


def test_weights_that_are_not_numbers_are_refused(place: Workplace) -> None:
    weights = tiny_network(load_config(place.config)).state_dict()
    weights["head.shared_conv.bias"][0] = np.nan
    save_weights(place.checkpoint, weights)
    check_refused(place, place.detect(), "head.shared_conv.bias")


def test_work_on_tables_that_changed_since_is_done_again(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_first(monkeypatch)
    assert place.detect("--no-pictures").code == 130
    monkeypatch.undo()
    with edited(place.root, "ego_pose") as rows:
        for row in rows:
            row["translation"][0] += 1.0
    again = place.detect("--no-pictures")
    assert (again.code, "finished" in again.stderr) == (0, False)


def test_a_link_to_a_folder_is_written_through(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.out.symlink_to(tmp_path / "elsewhere")
    assert place.detect("--no-pictures").code == 0
    assert (tmp_path / "elsewhere" / "boxes.json").is_file()
