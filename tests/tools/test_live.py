"""tools/live.py refuses what can't work in one line, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.commands import Finished, run_tool
from tests.tiny import tiny_yaml

pytest.importorskip("rosbags")
NUSCENES = Path(__file__).resolve().parents[2] / "configs" / "rigs" / "nuscenes_ros.yaml"


def lacking(content: dict) -> None:
    del content["sensors"]["CAM_BACK"]


def misnamed(content: dict) -> None:
    content["sync"]["references"] = ["LIDAR_TOP", "CAM_FRNT"]


def doubled(content: dict) -> None:
    content["sensors"]["CAM_BACK"]["topic"] = content["sensors"]["CAM_FRONT"]["topic"]


def unplaced(content: dict) -> None:
    content["calibration"] = {"sensors": {}}


def careless(content: dict) -> None:
    content["sensors"]["CAM_BACK"]["missing"] = "forget"


@pytest.fixture
def live(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    def run(change: Callable[[dict], None], *arguments: object) -> Finished:
        content = yaml.safe_load(NUSCENES.read_text())
        change(content)
        (tmp_path / "rig.yaml").write_text(yaml.safe_dump(content))
        config = tiny_yaml(tmp_path / "tiny.yaml")
        rig = tmp_path / "rig.yaml"
        return run_tool("live", config, "--rig", rig, *arguments, capture=capsys, monkeypatch=monkeypatch)

    return run


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lacking, "rig: expected a rig with CAM_BACK, which the detector needs"),
        (misnamed, "expected sync.references to be sensors, got 'CAM_FRNT'"),
        (doubled, "expected each topic once, got /CAM_FRONT/image/compressed more than once"),
        (unplaced, "calibration"),
        (careless, "missing"),
    ],
)
def test_rigs_that_do_not_fit_are_refused(live: Callable[..., Finished], change: Callable, told: str) -> None:
    done = live(change)
    assert done.code == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
