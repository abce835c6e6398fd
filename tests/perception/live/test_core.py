"""Messages in, the newest frame out: the frames are those that a bag gives, and calibration may change under way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.errors import InputError
from calibration.transform import Transform
from perception.live.core import NodeCore, Work
from perception.live.diagnostics import statuses
from perception.live.health import Level
from perception.nuscenes import CAMERAS
from perception.replay.nuscenes import Drive
from perception.ros.bags import TimedMessage, write_bag
from perception.ros.cameras import camera_info_message
from perception.ros.codec import Codec, header_of
from perception.ros.poses import transform_message
from perception.ros.rig_file import LiveRig, load_live_rig
from perception.sources import FrameOptions
from perception.sources.bag import Source
from perception.types import Boxes3D
from tests.nuscenes_fixture import VERSION, write_nuscenes

pytest.importorskip("rosbags")
NUSCENES = Path(__file__).resolve().parents[3] / "configs" / "rigs" / "nuscenes_ros.yaml"
OPTIONS = FrameOptions(sweeps=3)
ALL = {"LIDAR_TOP", *CAMERAS}
TICK_NS = 20_000_000
NOTHING = Boxes3D.empty(("car",))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return Drive(write_nuscenes(tmp_path_factory.mktemp("data") / "root", scenes=1, samples=5), VERSION)


@pytest.fixture(scope="module")
def messages(drive: Drive) -> list[TimedMessage]:
    return list(drive)


def rig_with(change: Callable[[dict], object], folder: Path) -> LiveRig:
    """The nuScenes car's, with cameras as slow as the tiny drive's, and changed."""
    content = yaml.safe_load(NUSCENES.read_text())
    for name in CAMERAS:
        content["sensors"][name]["rate_hz"] = 2
    change(content)
    (folder / "rig.yaml").write_text(yaml.safe_dump(content))
    return load_live_rig(folder / "rig.yaml")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> LiveRig:
    return rig_with(lambda content: None, tmp_path_factory.mktemp("rig"))


def hear(core: NodeCore, messages: list[TimedMessage]) -> Iterator[int]:
    """Let the core hear messages at their times, a timer's ticks in between -> the time, after each."""
    now_ns = messages[0].received_ns
    for message in messages:
        for tick_ns in range(now_ns, message.received_ns, TICK_NS):
            core.advance(tick_ns)
        if message.topic in core.topics:
            core.hear(message.topic, message.data, message.received_ns)
        now_ns = message.received_ns
        yield now_ns


def works(core: NodeCore, messages: list[TimedMessage]) -> list[Work]:
    """What there is to detect in, by one that is always ready."""
    return [work for _ in hear(core, messages) if core.wait(0) and (work := core.take()) is not None]


def test_frames_are_those_of_the_bag_of_the_same_messages(
    drive: Drive, messages: list[TimedMessage], rig: LiveRig, tmp_path: Path
) -> None:
    write_bag(tmp_path / "bag", drive.topics, messages)
    offline = {frame.token: frame for frame in Source(tmp_path / "bag", OPTIONS, rig=rig)}
    live = {work.frame.token: work.frame for work in works(NodeCore(rig, OPTIONS), messages)}
    whole = {token for token, frame in live.items() if set(frame.cameras) == set(CAMERAS)}
    assert len(whole & set(offline)) >= 5
    for token in whole & set(offline):
        one, other = live[token], offline[token]
        np.testing.assert_allclose(one.cloud.points, other.cloud.points, atol=1e-3)
        np.testing.assert_allclose(one.world_from_ego.matrix, other.world_from_ego.matrix, atol=1e-3)
        for name in CAMERAS:
            np.testing.assert_array_equal(one.cameras[name].image, other.cameras[name].image)
            matrix = other.cameras[name].camera_from_lidar.matrix
            np.testing.assert_allclose(one.cameras[name].camera_from_lidar.matrix, matrix, atol=1e-3)


def test_it_soon_sees_with_all_sensors_and_says_what_it_saw_with(messages: list[TimedMessage], rig: LiveRig) -> None:
    core = NodeCore(rig, OPTIONS)
    work = works(core, messages)[-1]
    assert (work.detect, set(work.made_from)) == (True, ALL)
    report = json.loads(core.finish(work, NOTHING).json())
    assert (report["format"], report["state"], report["missing"]) == ("bevfuse-live-1", "nominal", {})
    assert (report["stamp_ns"], report["frame"]) == (work.frame.stamp_ns, "LIDAR_TOP")
    assert report["made_from"] == work.made_from
    assert report["made_from"]["LIDAR_TOP"] == work.frame.stamp_ns
    assert report["boxes"] == []
    assert set(report["latency_ms"]) == {"wait", "queue", "frame", "detect", "total"}
    assert [line for line in core.remarks() if line.startswith("state: ")][-1].endswith("-> nominal")
    found = {status.name: status for status in statuses(core)}
    assert set(found) == {f"bevfuse: {name}" for name in (*ALL, "health", "frames", "latency", "poses")}
    assert {status.level for status in found.values()} == {0}
    assert found["bevfuse: frames"].values["detected"] == "1"
    since_ns = messages[-1].received_ns - 2_000_000_000
    clouds = [m for m in messages if m.topic == "/LIDAR_TOP/points" and m.received_ns >= since_ns]
    assert float(found["bevfuse: LIDAR_TOP"].values["rate_hz"]) == len(clouds) / 2


def test_one_that_is_slow_gets_the_newest_frame_and_the_clouds_before_it(
    messages: list[TimedMessage], rig: LiveRig
) -> None:
    ready, slow = (NodeCore(rig, OPTIONS) for _ in range(2))
    newest = {work.frame.token: work.frame for work in works(ready, messages)}
    for _ in hear(slow, messages):
        pass
    work = slow.take()
    assert work.frame.token == list(newest)[-1]
    np.testing.assert_allclose(work.frame.cloud.points, newest[work.frame.token].cloud.points, atol=1e-3)
    assert slow.take() is None
    assert slow.counts.passed_over > 3
    assert len(newest) > 5


@pytest.mark.parametrize(("patience_ms", "whole"), [(700, True), (50, False)])
def test_one_that_is_slow_rather_gets_a_whole_frame_that_is_nearly_as_new(
    messages: list[TimedMessage], patience_ms: float, whole: bool, tmp_path: Path
) -> None:
    until_ns = max(m.received_ns for m in messages if m.topic == "/LIDAR_TOP/points") - 400_000_000
    fading = [m for m in messages if m.topic != "/CAM_BACK/image/compressed" or m.received_ns < until_ns]
    core = NodeCore(rig_with(lambda content: content["health"].update(patience_ms=patience_ms), tmp_path), OPTIONS)
    for _ in hear(core, fading):
        pass
    assert core.state().level is Level.NOMINAL  # it isn't known yet that it died
    work = core.take()
    assert ("CAM_BACK" in work.made_from) == whole
    assert (messages[-1].received_ns - work.frame.stamp_ns < 200_000_000) == (not whole)


def test_what_was_detected_before_something_newer_was_said_is_not_said(
    messages: list[TimedMessage], rig: LiveRig
) -> None:
    core, held = NodeCore(rig, OPTIONS), []
    for work in works(core, messages):
        held.append(work)
    assert core.finish(held[-1], NOTHING) is not None
    assert core.finish(held[-2], NOTHING) is None
    assert (core.counts.detected, core.counts.overtaken) == (1, 1)


def test_while_nothing_comes_it_says_again_and_again_that_it_is_blind(
    messages: list[TimedMessage], rig: LiveRig
) -> None:
    core = NodeCore(rig, OPTIONS)
    held = works(core, messages)[-1]
    assert core.blind() is None
    end_ns = messages[-1].received_ns
    said = []
    for now_ns in range(end_ns, end_ns + 2_000_000_000, TICK_NS):
        core.advance(now_ns)
        if (report := core.blind()) is not None:
            said.append(json.loads(report.json()))
    assert len(said) > 50
    assert {(report["state"], len(report["boxes"]), len(report["made_from"])) for report in said} == {("blind", 0, 0)}
    stamps = [report["stamp_ns"] for report in said]
    assert stamps == sorted(set(stamps))
    assert stamps[0] > held.frame.stamp_ns
    assert core.finish(held, NOTHING) is None  # its boxes are stale


def test_a_calibration_that_changes_is_noticed_and_used(
    drive: Drive, messages: list[TimedMessage], rig: LiveRig
) -> None:
    core = NodeCore(rig, OPTIONS)
    before = works(core, messages)[-1].frame
    core.remarks()
    last, make, codec = messages[-1], Codec.make, Codec()
    wider = replace(drive.rig["CAM_FRONT"].intrinsics, fx=500.0)
    moved = Transform(np.eye(3), [0.1, 0, 0]) @ drive.rig["CAM_BACK"].ego_from_sensor
    info = camera_info_message(make, last.received_ns, "CAM_FRONT", wider)
    placed = transform_message(make, last.received_ns, "base_link", "CAM_BACK", moved)
    core.hear("/CAM_FRONT/camera_info", codec.encode(info), last.received_ns)
    core.hear("/CAM_FRONT/camera_info", codec.encode(info), last.received_ns)
    tf = make("tf2_msgs/msg/TFMessage", transforms=[placed])
    core.hear("/tf_static", codec.encode(tf), last.received_ns)
    told = core.remarks()
    assert len(told) == 2
    assert told[0].startswith("calibration of CAM_FRONT changed: intrinsics")
    assert "500.0" in told[0]
    assert told[1] == "calibration of CAM_BACK changed: moved by 0.100 m, turned by 0.00 degrees"
    assert core.hearing.calibrated.rig["CAM_FRONT"].intrinsics.fx == 500.0 != before.cameras["CAM_FRONT"].intrinsics.fx
    np.testing.assert_allclose(core.hearing.calibrated.rig["CAM_BACK"].ego_from_sensor.matrix, moved.matrix, atol=1e-9)


def test_messages_of_another_frame_are_left_out_and_told_once(messages: list[TimedMessage], tmp_path: Path) -> None:
    def rename(content: dict) -> None:
        content["sensors"]["CAM_BACK"]["frame"] = "rear_view"

    core = NodeCore(rig_with(rename, tmp_path), OPTIONS)
    seen = works(core, messages)
    assert set(seen[-1].made_from) == ALL - {"CAM_BACK"}
    told = [line for line in core.remarks() if line.startswith("left out: /CAM_BACK/image")]
    assert len(told) == 1
    assert "frame id: expected 'rear_view', got 'CAM_BACK'; correct CAM_BACK's in the rig" in told[0]
    (status,) = (status for status in statuses(core) if status.name == "bevfuse: CAM_BACK")
    assert (status.level, status.values["lost"]) == (1, "true")
    assert int(status.values["left_out"]) == sum(m.topic.startswith("/CAM_BACK/image") for m in messages)


def test_a_sensor_to_be_ignored_keeps_nobody_waiting(messages: list[TimedMessage], tmp_path: Path) -> None:
    def ignore(content: dict) -> None:
        content["sensors"]["CAM_BACK"]["missing"] = "ignore"

    core = NodeCore(rig_with(ignore, tmp_path), OPTIONS)
    seen = works(core, [m for m in messages if not m.topic.startswith("/CAM_BACK/")])
    assert core.state().level is Level.NOMINAL
    assert set(seen[-1].made_from) == ALL - {"CAM_BACK"}


def test_a_sensor_without_which_it_is_blind(messages: list[TimedMessage], tmp_path: Path) -> None:
    def forbid(content: dict) -> None:
        content["sensors"]["CAM_BACK"]["missing"] = "blind"

    core = NodeCore(rig_with(forbid, tmp_path), OPTIONS)
    seen = works(core, [m for m in messages if not m.topic.startswith("/CAM_BACK/")])
    assert seen
    assert not any(work.detect for work in seen)
    assert core.blind().state.level is Level.BLIND


@pytest.mark.parametrize("policy", ["blind", "degrade"])
def test_without_poses_it_goes_on_as_if_it_stood_still_if_it_may(
    drive: Drive, messages: list[TimedMessage], policy: str, tmp_path: Path
) -> None:
    core = NodeCore(rig_with(lambda content: content["poses"].update(missing=policy), tmp_path), OPTIONS)
    seen = works(core, [m for m in messages if m.topic != "/odom"])
    assert "poses" in core.state().lost
    if policy == "blind":
        assert seen == []
        return
    frame = seen[-1].frame
    assert seen[-1].detect
    assert core.state().level is Level.DEGRADED
    assert frame.world_from_ego is None
    assert not frame.cloud.points[:, 4].any()
    expected = drive.rig.transform("CAM_FRONT", "LIDAR_TOP").matrix
    np.testing.assert_allclose(frame.cameras["CAM_FRONT"].camera_from_lidar.matrix, expected, atol=1e-9)


def test_a_frame_waits_for_its_poses_but_not_for_long(messages: list[TimedMessage], rig: LiveRig) -> None:
    clouds = [m for m in messages if m.topic == "/LIDAR_TOP/points"]
    last = clouds[-1]
    early = [m for m in messages if m.topic != "/odom" or m.received_ns < clouds[-2].received_ns]
    core = NodeCore(rig, replace(OPTIONS, cameras=()))
    works(core, [m for m in early if m.received_ns <= last.received_ns])
    now_ns = last.received_ns + TICK_NS
    core.advance(now_ns)
    assert core.wait(0)
    assert core.take() is None  # the poses of the last cloud aren't there
    for message in messages:
        if message.topic == "/odom" and message.received_ns >= clouds[-2].received_ns:
            core.hear(message.topic, message.data, now_ns)
    assert core.take().frame.stamp_ns == header_of(last.data)[0]


def test_a_detector_that_takes_images_only_does_not_miss_the_lidar(messages: list[TimedMessage], rig: LiveRig) -> None:
    core = NodeCore(rig, replace(OPTIONS, lidar=False))
    seen = works(core, [m for m in messages if not m.topic.startswith("/LIDAR")])
    assert core.state().level is Level.NOMINAL
    assert seen[-1].detect
    assert set(seen[-1].made_from) == set(CAMERAS)


def test_a_camera_that_the_rig_lacks_is_named_before_anything_starts(rig: LiveRig) -> None:
    with pytest.raises(InputError, match=r"expected a rig with CAM_FRNT, which the detector needs.*CAM_FRONT"):
        NodeCore(rig, FrameOptions(cameras=("CAM_FRNT",)))
