"""What messages tell of the vehicle: where its sensors sit, how its cameras image, and where it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.rig import Rig, Sensor
from perception.ros.cameras import intrinsics_from_message
from perception.ros.frames import TreePoses
from perception.ros.poses import ego_pose_from_odometry
from perception.ros.rig_file import LiveRig
from perception.types import EgoPose


class Vehicle:
    """Listens to everything but the sensors' own data."""

    def __init__(self, rig: LiveRig) -> None:
        self._rig = rig
        self._poses = TreePoses(rig.world_frame, rig.ego_frame)
        self._intrinsics: dict[str, Intrinsics] = {}
        self._cameras = {sensor.camera_info: name for name, sensor in rig.sensors.items() if sensor.camera_info}

    def hear(self, topic: str, message: Any) -> list[EgoPose]:
        """Take a message in -> the ego poses that are known by it; InputError for what can't be."""
        rig = self._rig
        if topic in self._cameras:
            self._intrinsics[self._cameras[topic]] = intrinsics_from_message(message, topic)
            return []
        if topic == rig.poses.topic:
            return [ego_pose_from_odometry(message, rig.world_frame, rig.ego_frame, topic)]
        poses = list(self._poses.add(message.transforms, static=topic == rig.tf_static_topic))
        return poses if rig.poses.kind == "tf" else []

    def unknown(self, sensors: Iterable[str]) -> dict[str, InputError]:
        """What is missing of those sensors that can't be used yet."""
        unknown = {}
        for name in sensors:
            try:
                self._sensor(name)
            except InputError as error:
                unknown[name] = error
        return unknown

    def calibration(self, sensors: Iterable[str]) -> Rig:
        """Where sensors are mounted, and how the cameras among them image; InputError where that isn't known."""
        return Rig({name: self._sensor(name) for name in sensors})

    def _sensor(self, name: str) -> Sensor:
        rig, settings = self._rig, self._rig.sensors[name]
        if rig.calibration is not None:
            return rig.calibration[name]
        ego_from_sensor = self._poses.tree.fixed(rig.ego_frame, settings.frame)
        if not settings.is_camera:
            return Sensor(name, "lidar", ego_from_sensor)
        if name not in self._intrinsics:
            raise InputError(name, f"a message on {settings.camera_info}", "none")
        return Sensor(name, "camera", ego_from_sensor, self._intrinsics[name])
