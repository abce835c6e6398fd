"""Three processes and a real middleware: a player, the node, and a peer by Cyclone DDS that checks what comes out."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import dropwhile, groupby, pairwise
from pathlib import Path

import pytest
import yaml

from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.ros.bags import write_bag
from tests.perception.live.made import BEGIN_NS, RIG, TURN_NS, MadeDrive, stamp_of
from tests.perception.live.processes import PATIENCE_S, Process, listening, needs_middleware, new_domain, running
from tests.tiny import tiny_network, tiny_yaml

DELETE_ALL = 3  # of visualization_msgs/msg/Marker
SHOWN_FROM = 0.25  # score
pytestmark = needs_middleware


@pytest.fixture(scope="module")
def made() -> MadeDrive:
    return MadeDrive(2.0)


@pytest.fixture
def domain() -> int:
    return new_domain()


def stamp_ns_of(message: dict) -> int:
    stamp = message["header"]["stamp"]
    return stamp["sec"] * 10**9 + stamp["nanosec"]


def test_the_peer_hears_what_is_played(made: MadeDrive, domain: int, tmp_path) -> None:
    write_bag(tmp_path / "bag", made.topics, made)
    points, image = "/LIDAR_TOP/points", "/CAM_FRONT/image/compressed"
    with listening(domain, {points: "PointCloud2", image: "CompressedImage"}) as heard:
        play = ("tools/replay.py", "play", tmp_path / "bag", "--wait", PATIENCE_S, "--rate", 4)
        with running(*play, domain=domain) as player:
            assert player.wait() == 0
        heard.until(points, made.turns)
        heard.until(image, 24)
        stamps = [stamp_ns_of(message) for message in heard.of(points)]
        assert stamps == [BEGIN_NS + turn * TURN_NS for turn in range(made.turns)]
        assert {message["width"] for message in heard.of(points)} == {60}
        assert len(heard.of(image)) == 24


@dataclass(frozen=True)
class Workplace:
    """A detector, a rig whose calibration is in a file, and a drive's bag."""

    folder: Path
    made: MadeDrive

    def node(self, domain: int) -> AbstractContextManager[Process]:
        checkpoint, rig = self.folder / "tiny.safetensors", self.folder / "rig.yaml"
        command = ("tools/live.py", self.folder / "tiny.yaml", "--checkpoint", checkpoint, "--rig", rig)
        return running(*command, domain=domain)

    def player(self, domain: int, *faults: str) -> AbstractContextManager[Process]:
        options = [part for fault in faults for part in ("--fault", fault)]
        return running("tools/replay.py", "play", self.folder / "bag", "--wait", PATIENCE_S, *options, domain=domain)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder, made = tmp_path_factory.mktemp("live"), MadeDrive(6.0)
    config = tiny_yaml(folder / "tiny.yaml")
    save_weights(folder / "tiny.safetensors", tiny_network(load_config(config)).state_dict())
    made.calibration.save(folder / "calibration.json")
    rig = yaml.safe_load(RIG.read_text())
    rig["calibration"] = "calibration.json"  # wheels have no tf2_msgs
    rig["sync"]["skip_silent"] = True
    rig["health"] = {"lost_ms": 700, "recover_ms": 300}  # a busy machine is no dead sensor
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    write_bag(folder / "bag", made.topics, made)
    return Workplace(folder, made)


def check_honest(place: Workplace, detections: list[dict]) -> None:
    """Each message is of a moment of its own, and its sensors measured at that moment."""
    sensors = place.made.rig.sensors
    for message in detections:
        assert message["format"] == "bevfuse-live-1"
        assert message["frame"] == "LIDAR_TOP"
        if message["state"] == "blind":
            assert (message["boxes"], message["made_from"]) == ([], {})
            continue
        assert (message["stamp_ns"] - BEGIN_NS) % TURN_NS == 0
        assert message["made_from"]
        for name, stamp_ns in message["made_from"].items():
            off_ms = (stamp_ns - message["stamp_ns"]) / 1e6 - sensors[name].offset_ms
            assert abs(off_ms) <= sensors[name].tolerance_ms
    # Before anything came, the sensors' clock isn't known.
    for earlier, later in pairwise(dropwhile(lambda message: message["state"] == "blind", detections)):
        assert (later["epoch"], later["stamp_ns"]) > (earlier["epoch"], earlier["stamp_ns"])


def test_the_node_goes_on_with_what_is_left_and_says_so(place: Workplace, domain: int) -> None:
    """A camera is dead for a while, everything jitters and comes twice, and some clouds are cut short."""
    faults = ("kill:CAM_BACK:1.2:3.4", "jitter:all:0.03", "duplicate:all:0.2", "truncate:LIDAR_TOP:0.1")
    with listening(domain) as heard, place.node(domain) as node:
        node.until(lambda: node.said("ready: "))
        with place.player(domain, *faults) as player:
            player.until(lambda: heard.detections)
            assert player.wait() == 0
        node.until(lambda: heard.detections[-1]["state"] == "blind")  # for nothing comes any more
        assert node.end() == 0
        detections, markers, statuses = heard.detections, heard.markers, heard.statuses
    check_honest(place, detections)
    dead = [m for m in detections if stamp_of(22) < m["stamp_ns"] < stamp_of(62) and m["state"] != "blind"]
    assert dead
    for message in dead:
        assert "CAM_BACK" not in message["made_from"]
    assert any(message["state"] == "degraded" and set(message["missing"]) == {"CAM_BACK"} for message in dead)
    after = [message for message in detections if message["stamp_ns"] > stamp_of(80)]
    assert any(message["state"] == "nominal" and "CAM_BACK" in message["made_from"] for message in after)
    check_markers_show(detections, markers)
    check_diagnostics_tell(statuses)
    for text in ("state: nominal -> degraded: CAM_BACK", "left out: /LIDAR_TOP/points: ", "stopped: "):
        assert node.said(text), node.stderr


def check_markers_show(detections: list[dict], markers: list[list[dict]]) -> None:
    """For each message of detections there is one of markers, which clears what was shown and shows the likely ones."""
    assert len(markers) == len(detections)
    for message, (first, *shown) in zip(detections, markers, strict=True):
        assert (first["action"], first["header"]["frame_id"]) == (DELETE_ALL, "LIDAR_TOP")
        assert {stamp_ns_of(marker) for marker in shown} <= {message["stamp_ns"]}
        places = [[marker["pose"]["position"][axis] for axis in "xyz"] for marker in shown]
        likely = [box["center"] for box in message["boxes"] if box["score"] >= SHOWN_FROM]
        assert sorted(places) == sorted(likely)


def check_diagnostics_tell(statuses: list[dict[str, dict]]) -> None:
    levels = {"nominal": 0, "degraded": 1, "blind": 2}
    healths = [message["bevfuse: health"] for message in statuses]
    assert set(levels) <= {status["values"]["state"] for status in healths}
    for status in healths:
        assert status["level"] == levels[status["values"]["state"]]
        assert status["hardware_id"] == "bevfuse"
    last = statuses[-1]
    assert int(last["bevfuse: LIDAR_TOP"]["values"]["left_out"]) > 0
    assert int(last["bevfuse: CAM_FRONT"]["values"]["duplicated"]) > 0
    assert float(last["bevfuse: latency"]["values"]["total_p50_ms"]) > 0


def test_a_node_that_was_killed_is_replaced_by_another(place: Workplace, domain: int) -> None:
    with listening(domain) as heard:
        with place.node(domain) as first, place.player(domain):
            first.until(lambda: [message for message in heard.detections if message["boxes"]])
            first.end(signal.SIGKILL)
        before = heard.detections
        with place.node(domain) as second:
            second.until(lambda: second.said("ready: "))
            with place.player(domain):
                second.until(lambda: [message for message in heard.detections[len(before) :] if message["boxes"]])
            assert second.end(signal.SIGTERM) == 0
        after = heard.detections[len(before) :]
    check_honest(place, before)
    check_honest(place, after)


def test_with_every_sensor_dead_no_box_is_shown(place: Workplace, domain: int) -> None:
    with listening(domain) as heard, place.node(domain) as node:
        node.until(lambda: heard.detections)
        with place.player(domain, "kill:image:1.2:3.4", "kill:LIDAR_TOP:1.2:3.4") as player:
            assert player.wait() == 0
        assert node.end() == 0
        detections = heard.detections
    check_honest(place, detections)
    states = [state for state, _ in groupby(message["state"] for message in detections)]
    assert states[0] == "blind"  # nothing came yet
    seen = [m["stamp_ns"] for m in detections if m["state"] != "blind"]
    assert [stamp for stamp in seen if stamp < stamp_of(22)]
    assert [stamp for stamp in seen if stamp > stamp_of(64)]
    assert not [stamp for stamp in seen if stamp_of(22) < stamp < stamp_of(62)]
    assert [m for m in detections if m["state"] == "blind" and stamp_of(30) < m["stamp_ns"] < stamp_of(70)]
