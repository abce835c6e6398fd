"""tools/replay.py: what it writes, what tools/detect.py makes of it, and what both say when they can't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.ros.bags import Bag
from tests.commands import Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_network, tiny_yaml

pytest.importorskip("rosbags")
RIG = Path(__file__).resolve().parents[2] / "configs" / "rigs" / "nuscenes_ros.yaml"


@dataclass(frozen=True)
class Workplace:
    """A dataset of one scene, a detector, and a place to write to."""

    made: Path
    folder: Path
    run: Callable[..., Finished]

    @property
    def root(self) -> Path:
        return self.made / "root"

    @property
    def bag(self) -> Path:
        return self.folder / "bag"

    def write(self, *more: object) -> Finished:
        return self.run("replay", "bag", self.root, "--out", self.bag, *more)

    def detect(self, *more: object, data: Path | None = None) -> Finished:
        checkpoint = ("--checkpoint", self.made / "tiny.safetensors")
        data = data or self.bag
        return self.run("detect", self.made / "tiny.yaml", data, *checkpoint, "--out", self.folder / "out", *more)

    def frames(self) -> list[dict]:
        return json.loads((self.folder / "out" / "boxes.json").read_text())["frames"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    config = tiny_yaml(folder / "tiny.yaml")
    save_weights(folder / "tiny.safetensors", tiny_network(load_config(config)).state_dict())
    write_nuscenes(folder / "root", scenes=1, samples=2)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    def run(name: str, *arguments: object) -> Finished:
        return run_tool(name, *arguments, capture=capsys, monkeypatch=monkeypatch)

    return Workplace(made, tmp_path, run)


def check_refused(finished: Finished, *words: str) -> None:
    assert finished.code == 2
    assert finished.stderr.count("\n") == 1
    assert all(word in finished.stderr for word in (": expected ", ", got ", *words)), finished.stderr
    assert finished.stdout == ""


def test_what_is_detected_in_a_bag_is_what_is_detected_in_its_dataset(place: Workplace) -> None:
    assert place.write("--version", VERSION).code == 0
    assert place.detect("--rig", RIG, "--no-pictures").code == 0
    from_bag = {frame["stamp_ns"]: frame for frame in place.frames()}
    assert place.detect("--no-pictures", data=place.root).code == 0
    for expected in place.frames():
        got = from_bag[expected["stamp_ns"]]["boxes"]
        assert len(got) == len(expected["boxes"]) > 0
        for one, other in zip(got, expected["boxes"], strict=True):
            np.testing.assert_allclose(one["center"], other["center"], atol=1e-3)
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_pictures_of_a_bag(place: Workplace) -> None:
    place.write()
    assert place.detect("--rig", RIG).code == 0
    assert len(list((place.folder / "out").glob("*.png"))) == len(place.frames())


def test_faults_are_put_in_by_their_seed(place: Workplace) -> None:
    counts = []
    for seed in (1, 1, 2):
        place.write("--fault", "drop:CAM_FRONT:0.5", "--fault", "kill:CAM_BACK:0:100", "--seed", seed)
        topics = Bag(place.bag).topics
        assert topics["/CAM_BACK/image/compressed"].count == 0
        counts.append([topic.count for topic in topics.values()])
        place.bag.rename(place.folder / f"bag{len(counts)}")
    assert counts[0] == counts[1]


def test_a_bag_can_be_replayed_into_another(place: Workplace) -> None:
    place.write("--clock")
    finished = place.run("replay", "bag", place.bag, "--out", place.folder / "copy", "--storage", "sqlite3")
    assert finished.code == 0
    copy, bag = Bag(place.folder / "copy"), Bag(place.bag)
    assert copy.topics == bag.topics
    assert "/clock" in bag.topics
    assert len(copy) == len(bag)


def test_what_cannot_be_written_is_refused_and_leaves_nothing(place: Workplace) -> None:
    check_refused(place.write("--scene", "scene-0007"), "scene-0007", "scene-0001")
    check_refused(place.write("--version", "v1.0-mini"), "v1.0-mini")
    check_refused(place.write("--fault", "kil:all:1:2"), "kil", "did you mean kill")
    check_refused(place.write("--fault", "drop:CAM_FRONTT:1"), "did you mean CAM_FRONT")
    check_refused(place.write("--storage", "paper"), "mcap or sqlite3")
    check_refused(place.run("replay", "bag", place.made, "--out", place.bag), "a nuScenes root")
    assert list(place.folder.iterdir()) == []
    place.write()
    check_refused(place.write(), "exists")


def test_a_bag_and_its_rig_go_together(place: Workplace) -> None:
    place.write()
    check_refused(place.detect(), "--rig", "configs/rigs")
    check_refused(place.detect("--rig", RIG, data=place.root), "--rig")
    check_refused(place.detect("--rig", place.folder / "nowhere.yaml"), "nowhere.yaml")
    check_refused(place.detect("--rig", RIG, "--sample", "anything"), "--sample")
    rig = yaml.safe_load(RIG.read_text())
    rig["sensors"]["CAM_BACK"]["topic"] = "/CAM_BACKK/image/compressed"
    (place.folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    check_refused(place.detect("--rig", place.folder / "rig.yaml"), "/CAM_BACKK", "did you mean /CAM_BACK/")
    assert not (place.folder / "out").exists()


def test_a_bag_with_faults_needs_permission_to_be_incomplete(place: Workplace) -> None:
    place.write("--fault", "kill:CAM_FRONT:0.2:100")
    part = place.detect("--rig", RIG, "--no-pictures")
    assert part.code == 0
    assert "moments after the last frame gave no frame" in part.stderr
    shutil.rmtree(place.bag)
    place.write("--fault", "kill:CAM_FRONT:0:100")
    check_refused(place.detect("--rig", RIG, "--no-pictures"), "CAM_FRONT")
    forgiven = place.detect("--rig", RIG, "--no-pictures", "--allow-missing")
    assert forgiven.code == 0
    assert "CAM_FRONT is left out: " in forgiven.stderr
