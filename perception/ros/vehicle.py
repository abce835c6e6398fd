"""What messages tell of the vehicle: where its sensors sit, how its cameras image, and where it was."""

from __future__ import annotations

from typing import Any

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import Transform
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
        self._mounts: dict[str, Transform] = {}
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

    def ego_from(self, sensor: str) -> Transform:
        """Where a sensor is mounted; InputError where that isn't known."""
        if self._rig.calibration is not None:
            return self._rig.calibration[sensor].ego_from_sensor
        if sensor not in self._mounts:
            self._mounts[sensor] = self._poses.tree.fixed(self._rig.ego_frame, self._rig.sensors[sensor].frame)
        return self._mounts[sensor]

    def intrinsics(self, camera: str) -> Intrinsics:
        """How a camera images; InputError where that isn't known."""
        if self._rig.calibration is not None:
            return self._rig.calibration[camera].intrinsics
        if camera not in self._intrinsics:
            raise InputError(f"{camera}", f"a message on {self._rig.sensors[camera].camera_info}", "none")
        return self._intrinsics[camera]

    def check(self, sensor: str) -> None:
        """Raise InputError unless all is known of this sensor."""
        self.ego_from(sensor)
        if self._rig.sensors[sensor].is_camera:
            self.intrinsics(sensor)
