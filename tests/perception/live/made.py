"""A drive made up in memory, of the real car's rhythm: a LiDAR at 20 Hz, six cameras at 12 Hz, odometry at 50 Hz.

Every measurement says which it is, so that a frame shows whether it was made of what belongs to its stamp: all points
of the LiDAR's n-th turn have the intensity n, and the n-th picture of a camera has the brightness `brightness(n)`.
Topics, frames, offsets and latencies are those of configs/rigs/nuscenes_ros.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.camera import Intrinsics
from calibration.rig import Rig, Sensor
from calibration.transform import Transform
from perception.ros.bags import TimedMessage, Topic
from perception.ros.cameras import camera_info_message
from perception.ros.clouds import cloud_message
from perception.ros.codec import Codec
from perception.ros.images import compressed_message
from perception.ros.poses import odometry_message, transform_message
from perception.ros.rig_file import MS, LiveRig, load_live_rig
from tests.nuscenes_fixture import ego_from_sensor

RIG = Path(__file__).resolve().parents[3] / "configs" / "rigs" / "nuscenes_ros.yaml"
BEGIN_NS = 1_533_000_000_000_000_000
TURN_NS, ODOMETRY_NS = 50 * MS, 20 * MS
FIRES_IN = (0, 1, 3, 5, 6, 8)  # of ten turns of the LiDAR: 12 Hz, in step with it
ODOMETRY_LATENCY_NS = 2 * MS
SPEED_M_S = 5.0
INTRINSICS = Intrinsics(32, 18, 25.6, 25.6, 15.5, 8.5)
BRIGHTNESSES = 8  # brightness starts again after so many pictures


def brightness(number: int) -> int:
    """Of a camera's picture."""
    return 20 + 30 * (number % BRIGHTNESSES)


def turn_of(stamp_ns: int) -> int:
    """Which turn of the LiDAR a frame goes by."""
    return (stamp_ns - BEGIN_NS) // TURN_NS


def stamp_of(turn: int) -> int:
    """When a turn of the LiDAR ends [ns]."""
    return BEGIN_NS + turn * TURN_NS


def world_from_ego(stamp_ns: int) -> Transform:
    """Straight ahead at constant speed."""
    return Transform(np.eye(3), ((stamp_ns - BEGIN_NS) / 1e9 * SPEED_M_S, 0.0, 0.0))


@dataclass(frozen=True)
class MadeDrive:
    """See perception.replay.stream.Stream."""

    seconds: float = 3.0
    rig: LiveRig = field(default_factory=partial(load_live_rig, RIG))

    @cached_property
    def topics(self) -> Mapping[str, Topic]:
        kinds = self.rig.topics(tuple(self.rig.sensors))
        return {name: Topic(kind, latched=name == self.rig.tf_static_topic) for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[TimedMessage]:
        return iter(self.messages)

    @cached_property
    def messages(self) -> list[TimedMessage]:
        """In the order of their arrival."""
        return sorted(self._messages(), key=lambda message: (message.received_ns, message.topic))

    @property
    def calibration(self) -> Rig:
        """What /tf_static and the cameras' infos tell."""
        lidar = Sensor(self.rig.lidar, "lidar", ego_from_sensor(self.rig.lidar))
        cameras = {name: Sensor(name, "camera", ego_from_sensor(name), INTRINSICS) for name in self.rig.cameras}
        return Rig({lidar.name: lidar, **cameras})

    @property
    def turns(self) -> int:
        return round(self.seconds * 1e9) // TURN_NS

    def _messages(self) -> Iterator[TimedMessage]:
        yield self._timed(self.rig.tf_static_topic, BEGIN_NS - 200 * MS, self._mounts())
        for number in range(-5, round(self.seconds * 1e9) // ODOMETRY_NS):
            stamp_ns = BEGIN_NS + number * ODOMETRY_NS
            pose = world_from_ego(stamp_ns)
            message = odometry_message(Codec.make, stamp_ns, self.rig.world_frame, self.rig.ego_frame, pose)
            yield self._timed(self.rig.poses.topic, stamp_ns + ODOMETRY_LATENCY_NS, message)
        for turn in range(self.turns):
            yield self._cloud(turn)
        for name in self.rig.cameras:
            for number, turn in enumerate(turn for turn in range(self.turns) if turn % 10 in FIRES_IN):
                yield from self._picture(name, number, turn)

    def _cloud(self, turn: int) -> TimedMessage:
        lidar = self.rig.sensors[self.rig.lidar]
        points = np.full((60, 4), turn % 256, np.float32)
        points[:, :3] = np.random.default_rng(0).uniform((-30, -30, -2), (30, 30, 1), (60, 3))
        message = cloud_message(Codec.make, stamp_of(turn), lidar.frame, points)
        return self._timed(lidar.topic, stamp_of(turn) + round(lidar.latency_ms * MS), message)

    def _picture(self, name: str, number: int, turn: int) -> Iterator[TimedMessage]:
        camera = self.rig.sensors[name]
        stamp_ns = stamp_of(turn) + round(camera.offset_ms * MS)
        received_ns = stamp_ns + round(camera.latency_ms * MS)
        info = camera_info_message(Codec.make, stamp_ns, camera.frame, INTRINSICS)
        yield self._timed(camera.camera_info, received_ns, info)
        pixels = np.full((INTRINSICS.height, INTRINSICS.width, 3), brightness(number), np.uint8)
        file = cv2.imencode(".png", pixels)[1].tobytes()
        yield self._timed(
            camera.topic, received_ns, compressed_message(Codec.make, stamp_ns, camera.frame, file, "png")
        )

    def _mounts(self) -> Any:
        placed = [
            transform_message(Codec.make, BEGIN_NS, self.rig.ego_frame, sensor.frame, ego_from_sensor(name))
            for name, sensor in self.rig.sensors.items()
        ]
        return Codec.make("tf2_msgs/msg/TFMessage", transforms=placed)

    def _timed(self, topic: str, received_ns: int, message: Any) -> TimedMessage:
        return TimedMessage(topic, self.topics[topic].kind, received_ns, Codec().encode(message))
