"""A nuScenes drive becomes the messages that its car would have sent, and a bag that other readers understand."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.replay.faults import Fault, Faulty
from perception.replay.nuscenes import Drive
from perception.replay.stream import open_stream
from perception.ros.bags import Bag, TimedMessage, Topic, write_bag
from perception.ros.clouds import cloud_from_message
from perception.ros.codec import Codec, header_of
from perception.sources import MissingDataError
from tests.nuscenes_fixture import CAMERAS, VERSION, ego_from_sensor

pytest.importorskip("rosbags")
CODEC = Codec()


@pytest.fixture(scope="module")
def drive(tiny_root: Path) -> Drive:
    return Drive(tiny_root, VERSION, "scene-0001")


@pytest.fixture(scope="module")
def messages(drive: Drive) -> list[TimedMessage]:
    return list(drive)


def test_a_path_may_be_text(tiny_root: Path, messages: list[TimedMessage]) -> None:
    assert list(Drive(str(tiny_root), VERSION, "scene-0001"))[:9] == messages[:9]
    assert list(open_stream(str(tiny_root), VERSION, "scene-0001"))[:9] == messages[:9]


def rows_of_scene(root: Path) -> list[dict]:
    rows = json.loads((root / VERSION / "sample_data.json").read_text())
    first = min(row["timestamp"] for row in rows)
    return [row for row in rows if row["timestamp"] < first + 50_000_000]


def test_every_recording_of_the_scene_is_a_message(tiny_root: Path, messages: list[TimedMessage]) -> None:
    stamps = Counter()
    for message in messages:
        if message.topic.endswith(("points", "compressed")):
            stamps[message.topic.split("/")[1], header_of(message.data)[0]] += 1
    expected = Counter((row["filename"].split("/")[1], row["timestamp"] * 1000) for row in rows_of_scene(tiny_root))
    assert stamps == expected


def test_files_are_carried_as_they_are(tiny_root: Path, messages: list[TimedMessage]) -> None:
    files = {
        (row["filename"].split("/")[1], row["timestamp"] * 1000): row["filename"] for row in rows_of_scene(tiny_root)
    }
    for message in messages:
        if not message.topic.endswith(("points", "compressed")):
            continue
        file = (tiny_root / files[message.topic.split("/")[1], header_of(message.data)[0]]).read_bytes()
        decoded = CODEC.decode(message.data, message.kind)
        if message.topic.endswith("compressed"):
            assert decoded.data.tobytes() == file
        else:
            points = np.frombuffer(file, "<f4").reshape(-1, 5)
            np.testing.assert_array_equal(cloud_from_message(decoded)[0].points[:, :4], points[:, :4])
            rings = np.ndarray(len(points), "<u2", decoded.data, 16, (decoded.point_step,))
            np.testing.assert_array_equal(rings, points[:, 4])


def test_messages_arrive_in_order_and_some_milliseconds_after_their_stamps(messages: list[TimedMessage]) -> None:
    received = [message.received_ns for message in messages]
    assert received == sorted(received)
    for message in messages:
        if "tf" not in message.topic:
            late_ns = message.received_ns - header_of(message.data)[0]
            assert 1e6 < late_ns < 50e6


def test_sensors_are_mounted_where_the_tables_say(drive: Drive, messages: list[TimedMessage]) -> None:
    assert messages[0].topic == "/tf_static"
    assert drive.topics["/tf_static"].latched
    placed = CODEC.decode(messages[0].data, messages[0].kind).transforms
    assert {transform.child_frame_id for transform in placed} == {*CAMERAS, "LIDAR_TOP"}
    for name in (*CAMERAS, "LIDAR_TOP"):
        np.testing.assert_allclose(drive.rig[name].ego_from_sensor.matrix, ego_from_sensor(name).matrix, atol=1e-12)


def test_the_clock_ticks_from_the_first_stamp_to_the_last(tiny_root: Path) -> None:
    drive = Drive(tiny_root, VERSION, "scene-0001", clock=True)
    ticks = [message for message in drive if message.topic == "/clock"]
    stamps = [row["timestamp"] * 1000 for row in rows_of_scene(tiny_root)]
    seen = [CODEC.decode(message.data, message.kind).clock for message in ticks]
    times = [clock.sec * 10**9 + clock.nanosec for clock in seen]
    assert times == [message.received_ns for message in ticks]
    assert times[0] == min(stamps)
    assert times[-1] >= max(stamps)
    assert set(np.diff(times)) == {10_000_000}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_gives_back_what_was_written(
    drive: Drive, messages: list[TimedMessage], tmp_path: Path, storage: str
) -> None:
    count = write_bag(tmp_path / "bag", drive.topics, drive, storage)
    bag = Bag(tmp_path / "bag")
    assert count == len(bag) == len(drive) == len(messages)
    assert {name: (topic.kind, topic.latched) for name, topic in bag.topics.items()} == {
        name: (topic.kind, topic.latched) for name, topic in drive.topics.items()
    }
    key = lambda message: (message.received_ns, message.topic)  # noqa: E731
    assert sorted(bag, key=key) == sorted(messages, key=key)
    (file,) = (tmp_path / "bag").glob("bag.*")
    assert sorted(Bag(file), key=key) == sorted(messages, key=key)


def test_a_bag_of_messages_that_nobody_here_knows_can_be_replayed(tmp_path: Path) -> None:
    kind, topics = "odd_msgs/msg/Odd", {"/odd": Topic("odd_msgs/msg/Odd", definition=("int32 number\n", "RIHS01_0"))}
    messages = [TimedMessage("/odd", kind, number, bytes([0, 1, 0, 0, number, 0, 0, 0])) for number in (1, 2)]
    write_bag(tmp_path / "bag", topics, messages)
    first = Bag(tmp_path / "bag")
    write_bag(tmp_path / "copy", first.topics, Faulty(first, [Fault.parse("delay:all:1")]))
    assert [message.data for message in Bag(tmp_path / "copy")] == [message.data for message in messages]
    with pytest.raises(InputError, match="expected a target that this kind of fault can hit"):
        Faulty(first, [Fault.parse("offset:all:1")])
    with pytest.raises(InputError, match="expected one of the usual packages, got odd_msgs/msg/Odd"):
        write_bag(tmp_path / "third", {"/odd": Topic(kind)}, messages)
    assert not (tmp_path / "third").exists()


def test_another_reader_understands_the_bag(drive: Drive, messages: list[TimedMessage], tmp_path: Path) -> None:
    reader = pytest.importorskip("mcap_ros2.reader")
    write_bag(tmp_path / "bag", drive.topics, drive)
    theirs = Counter()
    for one in reader.read_ros2_messages(tmp_path / "bag" / "bag.mcap"):
        theirs[one.channel.topic] += 1
        if one.channel.topic == "/CAM_FRONT/camera_info":
            np.testing.assert_array_equal(one.ros_msg.k, drive.rig["CAM_FRONT"].intrinsics.matrix.reshape(-1))
    assert theirs == Counter(message.topic for message in messages)


def test_an_interrupted_bag_leaves_nothing_behind(drive: Drive, messages: list[TimedMessage], tmp_path: Path) -> None:
    def interrupted() -> object:
        yield from messages[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bag(tmp_path / "bag", drive.topics, interrupted())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_not_overwritten(drive: Drive, tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(InputError, match="bag: expected a new folder's name, got one that exists"):
        write_bag(tmp_path / "bag", drive.topics, drive)


def test_one_scene_must_be_chosen_of_several(tiny_root: Path) -> None:
    with pytest.raises(InputError, match="got 2, from scene-0001 to scene-0002; choose with --scene"):
        Drive(tiny_root, VERSION)
    with pytest.raises(InputError, match="got 'scene-0003'; known: scene-0001, scene-0002"):
        Drive(tiny_root, VERSION, "scene-0003")


def test_a_file_that_is_not_there_is_named(tiny_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_root, tmp_path / "root"))
    next((root / "samples" / "CAM_BACK").iterdir()).unlink()
    with pytest.raises(MissingDataError, match="CAM_BACK"):
        [list(Drive(root, VERSION, scene)) for scene in ("scene-0001", "scene-0002")]
