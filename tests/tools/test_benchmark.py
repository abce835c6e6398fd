"""tools/benchmark.py: what it prints and writes, and what it says when it can't."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from perception.benchmark import command, roofline
from perception.benchmark.run import Stage
from perception.checkpoints.native import save_weights
from perception.config import load_config
from tests.commands import Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_network, tiny_yaml

STAGES = ["preprocess", "voxelise", "rulebooks", "LiDAR encoder", "BEV decoder", "head", "decode boxes", "end to end"]


@dataclass(frozen=True)
class Workplace:
    """A LiDAR detector, and a file to write to."""

    config: Path
    json: Path
    benchmark: Callable[..., Finished]

    def result(self) -> dict:
        return json.loads(self.json.read_text())


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setattr(roofline, "MATRIX", 64)
    monkeypatch.setattr(roofline, "MAP", 8)
    monkeypatch.setattr(roofline, "COPIED", 2**16)
    config, out = tiny_yaml(tmp_path / "tiny.yaml", cameras=False), tmp_path / "benchmark.json"

    def benchmark(*more: object) -> Finished:
        arguments = (config, "--repeats", 2, "--json", out, *more)
        return run_tool("benchmark", *arguments, capture=capsys, monkeypatch=monkeypatch)

    return Workplace(config, out, benchmark)


def test_everything_that_is_printed_is_written_too(place: Workplace) -> None:
    threads = torch.get_num_threads()
    finished = place.benchmark("--threads", 1)
    assert (finished.code, finished.stderr) == (0, "")
    assert "1 thread on" in finished.stdout
    result = place.result()
    assert {name: result[name] for name in ("format", "threads", "repeats", "weights")} == {
        "format": "bevfuse-benchmark-1",
        "threads": 1,
        "repeats": 2,
        "weights": "random",
    }
    assert result["machine"]["processor"] in finished.stdout
    assert result["machine"]["versions"]["torch"] == torch.__version__
    assert set(result["roofline"]) == {"operations_per_s", "bytes_per_s"}
    assert [stage["name"] for stage in result["stages"]] == STAGES
    for stage in result["stages"]:
        assert stage["name"] in finished.stdout
        assert f"{stage['median_ms']:.1f}" in finished.stdout
        assert len(stage["times_ms"]) == 2
        assert 0 <= stage["median_ms"] <= stage["p90_ms"] <= stage["p99_ms"]
    assert result["comparisons"] == []
    assert torch.get_num_threads() == threads


def test_stages_that_never_ran_are_named_below_the_table(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = command.measure_stages

    def with_an_idle_stage(*arguments: object) -> list[Stage]:
        return [Stage("image neck", (0.0, 0.0), 0, 0, 0), *measure(*arguments)]

    monkeypatch.setattr(command, "measure_stages", with_an_idle_stage)
    finished = place.benchmark()
    assert [line for line in finished.stdout.splitlines() if "image neck" in line] == [
        "not run in any pass: image neck"
    ]
    assert [stage["name"] for stage in place.result()["stages"]] == ["image neck", *STAGES]


def test_with_files_reading_them_is_a_stage(place: Workplace, tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "root", scenes=1, samples=2)
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, tiny_network(load_config(place.config)).state_dict())
    assert place.benchmark(tmp_path / "root", "--version", VERSION, "--checkpoint", weights).code == 0
    result = place.result()
    assert [stage["name"] for stage in result["stages"]] == ["decode", *STAGES]
    assert result["weights"] == str(weights)
    assert str(tmp_path / "root") in result["frame"]


def test_a_comparison_is_printed_and_written(place: Workplace) -> None:
    pytest.importorskip("spconv")
    finished = place.benchmark("--compare", "spconv")
    assert finished.code == 0, finished.stderr
    compared = {entry["what"]: entry for entry in place.result()["comparisons"]}
    encoder = compared["sparse encoder, fp32"]
    assert encoder["ratio"] == pytest.approx(encoder["theirs_ms"] / encoder["ours_ms"])
    assert len(encoder["ours_times_ms"]) == len(encoder["theirs_times_ms"]) == 2
    assert all(what in finished.stdout for what in compared)


def test_an_interrupted_run_writes_nothing(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure_stages", interrupted)
    finished = place.benchmark()
    assert (finished.code, finished.stdout, finished.stderr) == (130, "", "interrupted\n")
    assert not place.json.exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nowhere",), "nowhere"),
        (("--version", VERSION), "no INPUT"),
        (("--sample", "a"), "no INPUT"),
        (("--checkpoint", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--threads", 0), "--threads"),
        (("--repeats", 0), "--repeats"),
        (("--compare", "abacus"), "abacus"),
        (("--device", "abacus"), "abacus"),
        (("--json", "nowhere/benchmark.json"), "nowhere"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_bad_input_ends_in_one_line(place: Workplace, arguments: tuple, word: str) -> None:
    check_refused(place, place.benchmark(*arguments), word)


def test_what_cannot_be_compared_is_refused(place: Workplace) -> None:
    tiny_yaml(place.config, lidar=False)
    check_refused(place, place.benchmark("--compare", "spconv"), "sparse")


def test_a_configuration_that_is_not_there_is_refused(place: Workplace) -> None:
    place.config.unlink()
    check_refused(place, place.benchmark(), "tiny.yaml")


def check_refused(place: Workplace, finished: Finished, word: str) -> None:
    """Exit code 2, one line that names what is wrong, nothing printed, nothing written."""
    assert (finished.code, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)
    assert word in finished.stderr
    assert not place.json.exists()
