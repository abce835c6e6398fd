"""Messages go onto ROS topics byte by byte. Needs the extra `ros2`; in a process of its own, away from the suite's."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from perception.replay.nuscenes import Drive

CHECKOUT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(
    find_spec("rclpy") is None or find_spec("rosbags") is None, reason="needs rclpy and rosbags"
)

LISTEN = """
import sys
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from perception.replay.nuscenes import Drive
from perception.replay.publish import Publisher, message_class, publish_all, ros_node
from perception.ros.clouds import cloud_from_message
from perception.ros.codec import Codec
from perception.ros.fields import stamp_ns_of

stream = Drive(Path(sys.argv[1]), scene="scene-0001")
raw, clouds, said = [], [], []
quality = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
with ros_node("listener") as listener, ros_node() as node:
    publisher = Publisher(node, stream.topics, said.append)
    for topic in ("/odom", "/CAM_FRONT/image/compressed"):
        kind = message_class(stream.topics[topic].kind)
        take = lambda data, topic=topic: raw.append((topic, data))
        listener.create_subscription(kind, topic, take, quality, raw=True)
    listener.create_subscription(
        message_class("sensor_msgs/msg/PointCloud2"), "/LIDAR_TOP/points", clouds.append, quality
    )
    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    assert publisher.wait_for_subscriber(20)
    messages = list(stream)
    heard = {"/odom", "/CAM_FRONT/image/compressed", "/LIDAR_TOP/points"}
    expected = [message for message in messages if message.topic in heard]
    while not all(publisher.is_heard(topic) for topic in heard):
        executor.spin_once(timeout_sec=0.05)
    publish_all(publisher, messages)
    for _ in range(600):
        executor.spin_once(timeout_sec=0.05)
        if len(raw) + len(clouds) == len(expected):
            break
    executor.shutdown()

theirs = sorted((topic, bytes(data)) for topic, data in raw)
assert theirs == sorted((m.topic, m.data) for m in expected if m.topic != "/LIDAR_TOP/points")
codec = Codec()
ours = {}
for message in (m for m in expected if m.topic == "/LIDAR_TOP/points"):
    decoded = codec.decode(message.data, message.kind)
    ours[stamp_ns_of(decoded)] = cloud_from_message(decoded)[0].points
assert len(clouds) == len(ours)
for message in clouds:  # rclpy's own messages are read as rosbags' are
    assert (cloud_from_message(message)[0].points == ours[stamp_ns_of(message)]).all()
print(len(expected), *said, sep="\\n")
"""


def environment() -> dict[str, str]:
    alone = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    return os.environ | alone | {"PYTHONPATH": str(CHECKOUT)}


def test_subscribers_get_the_very_bytes_and_topics_without_a_kind_are_named(tiny_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, str(tiny_root)], capture_output=True, text=True, env=environment(), timeout=120
    )
    assert done.returncode == 0, done.stderr
    count, *said = done.stdout.splitlines()
    assert int(count) > 20
    if find_spec("tf2_msgs") is None:
        assert sorted(said) == [
            f"{topic} is left out: tf2_msgs/msg/TFMessage is not installed" for topic in ("/tf", "/tf_static")
        ]


def test_playing_to_nobody_ends_all_the_same(tiny_root: Path) -> None:
    command = ["tools/replay.py", "play", tiny_root, "--scene", "scene-0001", "--rate", "0", "--wait", "0"]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        cwd=CHECKOUT,
    )
    assert done.returncode == 0, done.stderr
    assert "nobody listens after 0 s" in done.stderr
    left_out = [line.split(" is left out: ")[0] for line in done.stderr.splitlines() if " is left out: " in line]
    published = [message for message in Drive(tiny_root, scene="scene-0001") if message.topic not in left_out]
    assert done.stdout == f"{len(published)} messages\n"
