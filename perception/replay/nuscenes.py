"""A drive of a nuScenes root as the messages that its car would have sent.

    /LIDAR_TOP/points                  PointCloud2: x, y, z, intensity, ring
    /CAM_.../image/compressed          CompressedImage: the very JPEG files
    /CAM_.../camera_info               CameraInfo, one with each image
    /tf, /odom                         map -> base_link, at each recording's stamp
    /tf_static                         base_link -> each sensor, once
    /clock                             with `clock`, 100 times a second

Headers have the stamps of the tables. When messages arrive isn't recorded: it is the stamp and a latency that such a
sensor has, with a jitter that depends on nothing but the stamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from calibration.spelling import did_you_mean
from calibration.transform import Transform
from perception.nuscenes import CAMERAS, LIDAR
from perception.ros.bags import TimedMessage, Topic
from perception.ros.cameras import camera_info_message
from perception.ros.clouds import cloud_message
from perception.ros.codec import Codec
from perception.ros.fields import time_message
from perception.ros.images import compressed_message
from perception.ros.poses import odometry_message, transform_message
from perception.sources import MissingDataError
from perception.sources.clouds import COLUMNS
from perception.sources.nuscenes_tables import (
    Calibration,
    Named,
    Pose,
    Sample,
    SampleData,
    Table,
    find_version,
)
from perception.sources.nuscenes_tables import Sensor as SensorRow

MS = 1_000_000  # ns
WORLD, EGO = "map", "base_link"
LATENCY_NS = {"cloud": 15 * MS, "camera": 25 * MS, "pose": 2 * MS}  # of a spinning LiDAR, of exposure and compression
JITTER_NS = {"cloud": 2 * MS, "camera": 4 * MS, "pose": MS}
CLOCK_NS = 10 * MS
CLOUD_TOPIC, IMAGE_TOPIC, INFO_TOPIC = "/{}/points", "/{}/image/compressed", "/{}/camera_info"
TF, TF_STATIC, ODOM, CLOCK = "/tf", "/tf_static", "/odom", "/clock"


@dataclass(frozen=True)
class Planned:
    """A message that isn't made yet."""

    received_ns: int
    topic: str
    make: Callable[[], Any]


class Drive:
    """One scene; see perception.replay.stream.Stream."""

    def __init__(
        self, root: str | Path, version: str | None = None, scene: str | None = None, *, clock: bool = False
    ) -> None:
        """Read the tables, no image and no cloud yet.

        Raises InputError as perception.sources.nuscenes does, and where `scene` is none of the dataset's or is left out
        although there are several.
        """
        self.root, self._codec = Path(root), Codec()
        folder = find_version(self.root, version)
        self.scene = _choose_scene(folder, scene)
        samples = Table(folder, "sample", Sample)
        samples = samples.where(lambda row: row.scene_token == self.scene.token)
        data = Table(folder, "sample_data", SampleData)
        data = data.where(data.follow("sample_token", samples) >= 0)
        self._poses = Table(folder, "ego_pose", Pose)
        calibrations, sensors = Table(folder, "calibrated_sensor", Calibration), Table(folder, "sensor", SensorRow)
        self._rows: list[tuple[str, SampleData]] = []
        mounts: dict[str, tuple[Calibration, SampleData]] = {}
        for row in data:
            calibration = calibrations[row.calibrated_sensor_token]
            channel = sensors[calibration.sensor_token].channel
            if channel == LIDAR or channel in CAMERAS:
                self._rows.append((channel, row))
                mounts.setdefault(channel, (calibration, row))
        if not self._rows:
            raise InputError(f"{folder}: scene {self.scene.name}", "recordings of its sensors", "none")
        self.rig = Rig({name: _sensor(name, *mount) for name, mount in mounts.items()})
        self.topics = _topics(self.rig, clock)
        self._plan = sorted(self._planned(clock), key=lambda planned: (planned.received_ns, planned.topic))

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[TimedMessage]:
        """The messages; InputError where a file can't be read."""
        for planned in self._plan:
            data = self._codec.encode(planned.make())
            yield TimedMessage(planned.topic, self.topics[planned.topic].kind, planned.received_ns, data)

    def _planned(self, clock: bool) -> Iterator[Planned]:
        """All messages, in any order."""
        stamps_ns = [row.timestamp * 1000 for _, row in self._rows]
        first_ns, last_ns = min(stamps_ns), max(stamps_ns)
        yield Planned(first_ns, TF_STATIC, partial(self._mounts, first_ns))
        for channel, row in self._rows:
            stamp_ns = row.timestamp * 1000
            if channel == LIDAR:
                yield Planned(_received_ns(stamp_ns, "cloud"), CLOUD_TOPIC.format(channel), partial(self._cloud, row))
                continue
            received_ns = _received_ns(stamp_ns, "camera")
            yield Planned(received_ns, INFO_TOPIC.format(channel), partial(self._info, channel, stamp_ns))
            yield Planned(received_ns, IMAGE_TOPIC.format(channel), partial(self._image, channel, row))
        for stamp_ns, row in {row.timestamp * 1000: row for _, row in self._rows}.items():
            received_ns = _received_ns(stamp_ns, "pose")
            yield Planned(received_ns, TF, partial(self._pose, row))
            yield Planned(received_ns, ODOM, partial(self._odometry, row))
        for now_ns in range(first_ns, last_ns + CLOCK_NS, CLOCK_NS) if clock else ():
            yield Planned(now_ns, CLOCK, partial(self._clock, now_ns))

    def _cloud(self, row: SampleData) -> Any:
        data = self._file(row)
        if not data or len(data) % (4 * COLUMNS):
            raise MissingDataError(row.filename, f"points of {COLUMNS} float32 each", f"{len(data)} bytes")
        points = np.frombuffer(data, "<f4").reshape(-1, COLUMNS)
        return cloud_message(self._codec.make, row.timestamp * 1000, LIDAR, points, rings=points[:, 4])

    def _image(self, channel: str, row: SampleData) -> Any:
        return compressed_message(self._codec.make, row.timestamp * 1000, channel, self._file(row))

    def _info(self, channel: str, stamp_ns: int) -> Any:
        return camera_info_message(self._codec.make, stamp_ns, channel, self.rig[channel].intrinsics)

    def _pose(self, row: SampleData) -> Any:
        placed = transform_message(self._codec.make, row.timestamp * 1000, WORLD, EGO, self._world_from_ego(row))
        return self._codec.make("tf2_msgs/msg/TFMessage", transforms=[placed])

    def _odometry(self, row: SampleData) -> Any:
        return odometry_message(self._codec.make, row.timestamp * 1000, WORLD, EGO, self._world_from_ego(row))

    def _mounts(self, stamp_ns: int) -> Any:
        make = self._codec.make
        placed = [
            transform_message(make, stamp_ns, EGO, name, sensor.ego_from_sensor)
            for name, sensor in self.rig.sensors.items()
        ]
        return make("tf2_msgs/msg/TFMessage", transforms=placed)

    def _clock(self, now_ns: int) -> Any:
        return self._codec.make("rosgraph_msgs/msg/Clock", clock=time_message(self._codec.make, now_ns))

    def _world_from_ego(self, row: SampleData) -> Transform:
        pose = self._poses[row.ego_pose_token]
        return Transform.from_quaternion(pose.rotation, pose.translation, f"{self._poses.path}: {pose.token}")

    def _file(self, row: SampleData) -> bytes:
        try:
            return (self.root / row.filename).read_bytes()
        except OSError as error:
            raise MissingDataError(
                str(self.root / row.filename), "a readable file", error.strerror or "none"
            ) from error


def _choose_scene(folder: Path, name: str | None) -> Named:
    scenes = {scene.name: scene for scene in Table(folder, "scene", Named)}
    if name is None and len(scenes) == 1:
        name = next(iter(scenes))
    if name is None:
        known = sorted(scenes)
        got = f"{len(known)}, from {known[0]} to {known[-1]}" if known else "none"
        raise InputError(f"{folder}: scenes", "one, or the name of one", got, "choose with --scene")
    if name not in scenes:
        raise InputError(f"{folder}: scene", "one that is there", repr(name), did_you_mean(name, scenes))
    return scenes[name]


def _sensor(channel: str, calibration: Calibration, row: SampleData) -> Sensor:
    what = f"calibrated_sensor {calibration.token}"
    ego_from_sensor = Transform.from_quaternion(calibration.rotation, calibration.translation, what)
    if channel == LIDAR:
        return Sensor(channel, "lidar", ego_from_sensor)
    matrix = calibration.camera_intrinsic
    intrinsics = Intrinsics.from_matrix(matrix, row.width, row.height, what=f"{what} camera_intrinsic")
    return Sensor(channel, "camera", ego_from_sensor, intrinsics)


def _topics(rig: Rig, clock: bool) -> dict[str, Topic]:
    topics = {TF_STATIC: Topic("tf2_msgs/msg/TFMessage", latched=True), TF: Topic("tf2_msgs/msg/TFMessage")}
    topics[ODOM] = Topic("nav_msgs/msg/Odometry")
    for name, sensor in rig.sensors.items():
        if sensor.kind == "lidar":
            topics[CLOUD_TOPIC.format(name)] = Topic("sensor_msgs/msg/PointCloud2")
        else:
            topics[IMAGE_TOPIC.format(name)] = Topic("sensor_msgs/msg/CompressedImage")
            topics[INFO_TOPIC.format(name)] = Topic("sensor_msgs/msg/CameraInfo")
    return topics | ({CLOCK: Topic("rosgraph_msgs/msg/Clock")} if clock else {})


def _received_ns(stamp_ns: int, kind: str) -> int:
    """When a message of this stamp arrives."""
    share = np.random.default_rng(stamp_ns).random()
    return stamp_ns + LATENCY_NS[kind] + int(share * JITTER_NS[kind])
