"""The node on real ROS topics. Needs the extra `ros2`; in a process of its own, away from the suite's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from perception.nuscenes import CAMERAS
from perception.replay.nuscenes import Drive
from tests.nuscenes_fixture import VERSION, write_nuscenes

CHECKOUT = Path(__file__).resolve().parents[3]
RIG = CHECKOUT / "configs" / "rigs" / "nuscenes_ros.yaml"
pytestmark = pytest.mark.skipif(
    find_spec("rclpy") is None or find_spec("rosbags") is None, reason="needs rclpy and rosbags"
)

# The node in the main thread, which signals go to. In another one a drive is played, with its /clock, again and again
# until the node has answered: each time its clock goes back.
LIVE = """
import json, os, signal, sys, threading, time
from pathlib import Path

import numpy as np
from rclpy.executors import SingleThreadedExecutor

from perception.live.core import NodeCore
from perception.live.node import asked_to_end, kinds_of, run_node
from perception.replay.nuscenes import Drive
from perception.replay.play import paced
from perception.replay.publish import Publisher, message_class, ros_node
from perception.ros.rig_file import load_live_rig
from perception.sources import FrameOptions
from perception.types import Boxes3D

root, rig = map(Path, sys.argv[1:])
heard = {"detections": [], "markers": [], "diagnostics": []}


def detector(frame):
    one, zero = np.ones(1), np.zeros(1, int)
    return Boxes3D(np.array([[1.0, 2, 3]]), np.array([[4.0, 2, 1.5]]), one, np.zeros((1, 2)), one, zero, ("car",))


def is_answered():
    answers = [json.loads(message.data) for message in heard["detections"]]
    return sum(a["state"] == "nominal" and len(a["made_from"]) == 7 for a in answers) >= 2 and heard["diagnostics"]


def play():
    stream = Drive(root, clock=True)
    with ros_node("listener") as listener, ros_node("player") as player:
        for topic, kind in (("/bevfuse/detections", "std_msgs/msg/String"),
                            ("/bevfuse/markers", "visualization_msgs/msg/MarkerArray"),
                            ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")):
            take = heard[topic.split("/")[-1]].append
            listener.create_subscription(message_class(kind), topic, take, 100)
        executor = SingleThreadedExecutor(context=listener.context)
        executor.add_node(listener)
        publisher = Publisher(player, stream.topics, lambda text: None)
        until = time.monotonic() + 90
        while time.monotonic() < until and not (publisher.is_heard("/clock") and publisher.is_heard("/odom")):
            time.sleep(0.05)
        while time.monotonic() < until and not is_answered():
            for message in paced(stream):
                publisher.publish(message)
                executor.spin_once(timeout_sec=0)
        executor.shutdown()
    os.kill(os.getpid(), signal.SIGTERM)


with asked_to_end() as end:
    core = NodeCore(load_live_rig(rig), FrameOptions(sweeps=2))
    kinds = kinds_of(core.topics)
    playing = threading.Thread(target=play)
    playing.start()
    count = run_node(core, kinds, detector, end, marker_threshold=0.5, sim_time=True)
    playing.join()
said = [json.loads(message.data) for message in heard["detections"]]
markers = [[marker.action for marker in message.markers] for message in heard["markers"]]
names = sorted({status.name for message in heard["diagnostics"] for status in message.status})
print(json.dumps({"count": count, "said": said, "markers": markers, "names": names, "alive": threading.active_count()}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("data") / "root", scenes=1, samples=4)


@pytest.fixture(scope="module")
def rig(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a calibration of its own, for wheels have no /tf, and cameras as slow as the drive's."""
    folder = tmp_path_factory.mktemp("rig")
    Drive(root, VERSION).rig.save(folder / "calibration.yaml")
    content = yaml.safe_load(RIG.read_text())
    content["calibration"] = "calibration.yaml"
    for name in CAMERAS:
        content["sensors"][name]["rate_hz"] = 2
    (folder / "rig.yaml").write_text(yaml.safe_dump(content))
    return folder / "rig.yaml"


def environment() -> dict[str, str]:
    alone = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(1 + (os.getpid() + 50) % 100)}
    return os.environ | alone | {"PYTHONPATH": str(CHECKOUT)}


def test_topics_in_detections_out_and_a_signal_ends_it(root: Path, rig: Path) -> None:
    command = [sys.executable, "-c", LIVE, str(root), str(rig)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=150)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    detections = [message for message in result["said"] if message["state"] != "blind"]
    blind = [message for message in result["said"] if message["state"] == "blind"]
    assert any(len(message["made_from"]) == 7 for message in detections), done.stderr
    assert {len(message["boxes"]) for message in detections} == {1}
    assert {len(message["boxes"]) for message in blind} <= {0}
    assert all(message["boxes"][0]["center"] == [1, 2, 3] for message in detections)
    places = [(message["epoch"], message["stamp_ns"]) for message in detections]
    assert places == sorted(set(places))
    assert [3, 0] in result["markers"]
    assert {"bevfuse: health", "bevfuse: CAM_BACK", "bevfuse: latency"} <= set(result["names"])
    assert result["alive"] == 1  # no thread is left
    for line in ("ready: 8 topics", "-> nominal", f"stopped: {result['count']} frames"):
        assert line in done.stderr


def test_a_kind_of_message_that_is_not_installed_ends_it_before_it_starts(root: Path, rig: Path) -> None:
    if find_spec("tf2_msgs") is not None:
        pytest.skip("tf2_msgs is installed")
    done = subprocess.run(
        [sys.executable, "-c", LIVE, str(root), str(RIG)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=150,
    )
    assert "InputError: topic /tf_static: expected tf2_msgs/msg/TFMessage to be installed" in done.stderr
    assert "ready" not in done.stderr
