"""A bag of a drive gives the dataset's own frames; with faults, the frames that are left, and says what is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.errors import InputError
from perception.replay.faults import Fault, Faulty
from perception.replay.nuscenes import Drive
from perception.replay.stream import Stream
from perception.ros.bags import Bag, TimedMessage, write_bag
from perception.ros.clouds import cloud_message
from perception.ros.codec import Codec, header_of
from perception.sources import FrameOptions, MissingDataError
from perception.sources.bag import Source
from perception.sources.nuscenes import Source as Tables
from perception.types import Frame
from tests.nuscenes_fixture import START_US, VERSION, ego_from_sensor, world_from_ego, write_nuscenes

pytest.importorskip("rosbags")
NUSCENES = Path(__file__).resolve().parents[3] / "configs" / "rigs" / "nuscenes_ros.yaml"
LIDAR_ONLY = FrameOptions(cameras=())
FORGIVING = FrameOptions(allow_missing=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("data") / "root", scenes=1, samples=4)


@pytest.fixture(scope="module")
def drive(root: Path) -> Drive:
    return Drive(root, VERSION)


@pytest.fixture(scope="module")
def bag(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "bag"
    write_bag(path, drive.topics, drive)
    return path


@pytest.fixture(scope="module")
def truth(root: Path) -> list[Frame]:
    return list(Tables(root, FrameOptions(truth=False), version=VERSION))


def rewritten(path: Path, stream: Stream, *faults: str, **options: object) -> Source:
    """The source of a stream with faults."""
    faulty = Faulty(stream, [Fault.parse(text) for text in faults])
    write_bag(path, faulty.topics, faulty)
    return Source(path, rig=NUSCENES, **options)


@dataclass(frozen=True)
class Changed:
    """A stream whose messages a function changes or, with None, leaves out."""

    stream: Stream
    change: Callable[[TimedMessage], TimedMessage | None]

    @property
    def topics(self) -> dict:
        return self.stream.topics

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[TimedMessage]:
        return (message for one in self.stream if (message := self.change(one)) is not None)


def changed_rig(tmp_path: Path, change: Callable[[dict], object]) -> Path:
    content = yaml.safe_load(NUSCENES.read_text())
    change(content)
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "rig.yaml"


def check_same(one: Frame, other: Frame) -> None:
    """The same sensor data from the same places."""
    assert (one.stamp_ns, set(one.cameras)) == (other.stamp_ns, set(other.cameras))
    np.testing.assert_allclose(one.cloud.points, other.cloud.points, atol=1e-4)
    np.testing.assert_allclose(one.world_from_ego.matrix, other.world_from_ego.matrix, atol=1e-9)
    np.testing.assert_allclose(one.ego_from_lidar.matrix, other.ego_from_lidar.matrix, atol=1e-9)
    for name, camera in one.cameras.items():
        np.testing.assert_array_equal(camera.image, other.cameras[name].image)
        assert (camera.stamp_ns, camera.intrinsics) == (other.cameras[name].stamp_ns, other.cameras[name].intrinsics)
        matrix = other.cameras[name].camera_from_lidar.matrix
        np.testing.assert_allclose(camera.camera_from_lidar.matrix, matrix, atol=1e-9)


@pytest.mark.parametrize("poses", [{"kind": "odometry", "topic": "/odom"}, {"kind": "tf"}], ids=lambda p: p["kind"])
def test_keyframes_come_back_as_the_tables_have_them(
    bag: Path, truth: list[Frame], poses: dict, tmp_path: Path
) -> None:
    rig = changed_rig(tmp_path, lambda content: content.update(poses=poses, sweep_age_ms=3000))
    found = {frame.stamp_ns: frame for frame in Source(bag, rig=rig)}
    assert set(found) >= {frame.stamp_ns for frame in truth}
    for frame in truth:
        check_same(found[frame.stamp_ns], frame)


def test_clouds_older_than_the_rig_says_are_not_added(bag: Path, tmp_path: Path) -> None:
    rig = changed_rig(tmp_path, lambda content: content.update(sweep_age_ms=120))
    for frame in Source(bag, LIDAR_ONLY, rig=rig):
        assert frame.cloud.points[:, 4].max() <= 0.12


def test_points_with_times_are_where_they_would_have_been_at_the_frames_time(drive: Drive, tmp_path: Path) -> None:
    """The car drives at 4 m/s: within a sweep of 50 ms what stands still would be smeared by 20 cm."""
    codec, share = Codec(), np.linspace(0, 1, 200)
    seen_from = world_from_ego(0, START_US + 500_000)
    standing = seen_from.apply(np.stack([20 * np.cos(6 * share), 20 * np.sin(6 * share), np.ones(200)], axis=1))

    def scanned(message: TimedMessage) -> TimedMessage:
        if message.topic != "/LIDAR_TOP/points":
            return message
        stamp_ns, frame_id = header_of(message.data)
        times_s = np.float32(0.05 * (share - 1))
        poses = [
            (world_from_ego(0, stamp_ns / 1000 + 1e6 * t) @ ego_from_sensor("LIDAR_TOP")).inverse() for t in times_s
        ]
        points = np.array([pose.apply(point) for pose, point in zip(poses, standing, strict=True)])
        points = np.c_[points, np.zeros(200)].astype(np.float32)
        return replace(
            message, data=codec.encode(cloud_message(codec.make, stamp_ns, frame_id, points, times_s=times_s))
        )

    options = FrameOptions(cameras=(), sweeps=2)
    frames = list(rewritten(tmp_path / "bag", Changed(drive, scanned), options=options))
    assert len(frames) > 5
    for frame in frames:
        world_from_lidar = frame.world_from_ego @ frame.ego_from_lidar
        places = world_from_lidar.apply(frame.cloud.points[:, :3]).reshape(-1, 200, 3)
        assert np.abs(places - standing).max() < 0.03
        assert frame.cloud.times_ns is None


def test_without_cameras_every_cloud_is_a_frame(bag: Path, root: Path) -> None:
    source = Source(bag, LIDAR_ONLY, rig=NUSCENES)
    clouds = len(list((root / "samples" / "LIDAR_TOP").iterdir())) + len(
        list((root / "sweeps" / "LIDAR_TOP").iterdir())
    )
    frames = list(source)
    assert len(source) == len(frames) == clouds
    assert [frame.token for frame in frames] == [str(frame.stamp_ns) for frame in frames]
    assert [frame.stamp_ns for frame in frames] == sorted(frame.stamp_ns for frame in frames)


def test_sweeps_are_as_many_as_asked_for(bag: Path) -> None:
    for sweeps in (0, 2):
        frames = list(Source(bag, FrameOptions(cameras=(), sweeps=sweeps), rig=NUSCENES))
        ages = [len(np.unique(frame.cloud.points[:, 4])) for frame in frames]
        assert ages == [min(number, sweeps) + 1 for number in range(len(frames))]


def test_left_out_frames_change_nothing_of_the_others(bag: Path) -> None:
    source = Source(bag, LIDAR_ONLY, rig=NUSCENES)
    frames = {frame.token: frame for frame in source}
    done = list(frames)[1:5]
    rest = list(source.without(done))
    assert [frame.token for frame in rest] == [token for token in frames if token not in done]
    for frame in rest:
        check_same(frame, frames[frame.token])
        assert frame.notes == frames[frame.token].notes


def test_a_dead_camera_costs_frames_unless_it_may_be_missing(drive: Drive, truth: list[Frame], tmp_path: Path) -> None:
    fault = "kill:CAM_BACK:0.3:0.8"
    strict = rewritten(tmp_path / "strict", drive, fault)
    stamps = [frame.stamp_ns for frame in strict]
    assert truth[0].stamp_ns in stamps
    assert truth[1].stamp_ns not in stamps
    frames = {frame.stamp_ns: frame for frame in rewritten(tmp_path / "forgiving", drive, fault, options=FORGIVING)}
    partial = frames[truth[1].stamp_ns]
    assert set(truth[1].cameras) - set(partial.cameras) == {"CAM_BACK"}
    assert any(note.startswith("CAM_BACK is left out: ") for note in partial.notes)
    np.testing.assert_allclose(partial.cloud.points, truth[1].cloud.points, atol=1e-4)


def test_where_many_clouds_become_no_frame_the_next_one_says_so(drive: Drive, tmp_path: Path) -> None:
    source = rewritten(tmp_path / "bag", drive, "kill:CAM_BACK:0.3:0.8")
    notes = [note for frame in source for note in frame.notes if "gave no frame" in note]
    assert len(notes) == 1
    assert re.fullmatch(r"(\d+) moments before it gave no frame, where at most 1 .*: \1 lacked CAM_BACK\.", notes[0])
    assert source.closing_notes == ()


def test_where_many_clouds_after_the_last_frame_become_none_the_source_says_so(drive: Drive, tmp_path: Path) -> None:
    source = rewritten(tmp_path / "bag", drive, "kill:CAM_BACK:0.8:100")
    assert not any("gave no frame" in note for frame in source for note in frame.notes)
    (note,) = source.closing_notes
    assert re.fullmatch(r"(\d+) moments after the last frame gave no frame, .*: \1 lacked CAM_BACK\.", note)


def test_nothing_is_said_of_clouds_that_only_come_oftener_than_images(drive: Drive, tmp_path: Path) -> None:
    keyframes_us = {START_US + 500_000 * number for number in range(4)}

    def keyframes_only(message: TimedMessage) -> TimedMessage | None:
        is_image = message.topic.endswith("compressed")
        near = is_image and min(abs(header_of(message.data)[0] // 1000 - us) for us in keyframes_us) < 60_000
        return None if is_image and not near else message

    source = rewritten(tmp_path / "bag", Changed(drive, keyframes_only))
    assert 2 <= len(source) <= 4
    assert not [note for frame in source for note in frame.notes] + list(source.closing_notes)


def test_messages_that_arrive_late_and_in_disorder_make_the_same_frames(
    bag: Path, drive: Drive, tmp_path: Path
) -> None:
    """As long as they are late by less than the budget leaves room for."""
    calm = list(Source(bag, rig=NUSCENES))
    shaken = list(rewritten(tmp_path / "bag", drive, "jitter:all:0.03", "duplicate:all:0.3"))
    assert len(calm) == len(shaken)
    for one, other in zip(calm, shaken, strict=True):
        check_same(one, other)


@pytest.mark.parametrize("fault", ["truncate:CAM_FRONT:1", "resize:CAM_FRONT:1"])
def test_a_broken_image_stops_the_source_unless_it_may_be_missing(drive: Drive, tmp_path: Path, fault: str) -> None:
    with pytest.raises(MissingDataError, match="CAM_FRONT: expected"):
        list(rewritten(tmp_path / "strict", drive, fault))
    frames = list(rewritten(tmp_path / "forgiving", drive, fault, options=FORGIVING))
    assert frames
    for frame in frames:
        assert "CAM_FRONT" not in frame.cameras
        assert any(note.startswith("CAM_FRONT is left out: ") for note in frame.notes)


def test_a_broken_cloud_stops_the_source_unless_it_may_be_missing(drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="LIDAR_TOP data: expected"):
        list(rewritten(tmp_path / "strict", drive, "truncate:LIDAR_TOP:1"))
    for frame in rewritten(tmp_path / "forgiving", drive, "truncate:LIDAR_TOP:1", options=FORGIVING):
        assert frame.cloud is None
        assert any(note.startswith("The cloud is left out: ") for note in frame.notes)


def test_points_that_are_not_finite_are_dropped_and_noted(drive: Drive, tmp_path: Path) -> None:
    first = next(iter(rewritten(tmp_path / "bag", drive, "nan:LIDAR_TOP:1", options=LIDAR_ONLY)))
    assert first.cloud.dropped > 0
    assert f"{first.cloud.dropped} points that were not finite are dropped." in first.notes


def test_a_message_cut_in_its_header_stops_the_source_unless_that_is_allowed(drive: Drive, tmp_path: Path) -> None:
    def cut(message: TimedMessage) -> TimedMessage:
        return replace(message, data=message.data[:9]) if message.topic == "/CAM_BACK/image/compressed" else message

    with pytest.raises(InputError, match=r"/CAM_BACK/image/compressed: expected a message with a header, got 9 bytes"):
        rewritten(tmp_path / "strict", Changed(drive, cut))
    frames = list(rewritten(tmp_path / "forgiving", Changed(drive, cut), options=FORGIVING))
    assert frames
    assert all("CAM_BACK" not in frame.cameras for frame in frames)
    assert frames[0].notes[0].startswith("A message is left out: /CAM_BACK/image/compressed: expected a message with a")
    assert frames[0].notes[1].endswith(" more messages are left out.")
    assert not any("more messages" in note for frame in frames[1:] for note in frame.notes)


def without(topic: str) -> Callable[[TimedMessage], TimedMessage | None]:
    return lambda message: None if message.topic == topic else message


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("/odom", "expected ego poses on /odom, got none"),
        ("/tf_static", "expected one named base_link, got no frame at all"),
        ("/CAM_BACK/camera_info", "CAM_BACK: expected a message on /CAM_BACK/camera_info, got none"),
        ("/CAM_BACK/image/compressed", "of them without CAM_BACK"),
        ("/LIDAR_TOP/points", "that belong together, got"),
    ],
)
def test_what_a_bag_says_nothing_of_is_named(drive: Drive, tmp_path: Path, topic: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        rewritten(tmp_path / "bag", Changed(drive, without(topic)))


def test_poses_that_are_no_poses_are_named(drive: Drive, tmp_path: Path) -> None:
    codec = Codec()

    def spoil(message: TimedMessage) -> TimedMessage:
        if message.topic != "/odom":
            return message
        odometry = codec.decode(message.data, message.kind)
        odometry.pose.pose.orientation.w = np.nan
        return replace(message, data=codec.encode(odometry))

    with pytest.raises(InputError, match="/odom quaternion: expected w x y z of length 1"):
        rewritten(tmp_path / "bag", Changed(drive, spoil))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["sensors"]["CAM_BACK"].update(topic="/CAM_BAKK/image"), "expected a topic /CAM_BAKK/image"),
        (lambda c: c["sensors"]["CAM_BACK"].update(kind="image"), "expected sensor_msgs/msg/Image, got"),
        (
            lambda c: c["sensors"]["CAM_BACK"].update(frame="back"),
            "frame id on /CAM_BACK/image/compressed: expected back",
        ),
        (lambda c: c.update(ego_frame="rear_axle"), "child_frame_id: expected 'rear_axle', got 'base_link'"),
        (lambda c: c.update(world_frame="earth"), "frame_id: expected 'earth', got 'map'"),
        (lambda c: c["sensors"].pop("CAM_BACK"), "expected a rig with CAM_BACK, which the detector needs"),
    ],
)
def test_a_rig_that_does_not_fit_the_bag_is_named(
    bag: Path, tmp_path: Path, change: Callable[[dict], object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        Source(bag, rig=changed_rig(tmp_path, change))


def test_a_bag_cut_short_is_named(bag: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bag, tmp_path / "copy"))
    (file,) = copy.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"copy: expected a rosbag2 folder .* got a broken one .*; copy it again"):
        Bag(copy)
    (copy / "metadata.yaml").write_text("nothing")
    with pytest.raises(InputError, match="got a broken one"):
        Bag(copy)
    with pytest.raises(InputError, match="got no such file or folder"):
        Bag(tmp_path / "nowhere")
