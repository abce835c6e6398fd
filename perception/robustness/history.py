"""What a drive's sensors recorded around a frame: for sensors that are late, and for where sweeps were taken."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import PoseTrack, Transform
from perception.nuscenes import LIDAR
from perception.sources import MissingDataError
from perception.sources.images import Shot, read_shot
from perception.sources.nuscenes_tables import Calibration, Pose, Sample, SampleData, Sensor, Table
from perception.types import CameraImage, Frame

EXTRAPOLATION_NS = 500_000_000  # before a drive's first pose and after its last one
AROUND = 2  # LiDAR poses to each side of a stamp: two tell a velocity beyond the last one


class History(Protocol):
    """What is known of a frame's drive."""

    def image(self, frame: Frame, camera: str, stamp_ns: int) -> CameraImage | None:
        """The camera's image taken nearest to a stamp, as it is: with its own stamp, and where it was taken from.

        None where the drive has none, or where it can't be read.
        """

    def world_from_ego(self, frame: Frame, stamp_ns: int) -> Transform:
        """Where the car was; InputError more than half a second outside of the drive."""


def required(history: History | None, what: str) -> History:
    """The history; InputError where there is none."""
    if history is None:
        raise InputError(what, "a history, which knows what sensors recorded before", "none", "give NuScenesHistory")
    return history


class NuScenesHistory:
    """The history of a nuScenes dataset's frames, images between keyframes included where it has them."""

    def __init__(self, folder: Path, tokens: Sequence[str]) -> None:
        """Read the tables of a version's folder for the drives of these samples; InputError as the source raises."""
        self._root = folder.parent
        every = Table(folder, "sample", Sample)
        scenes = {every[token].scene_token for token in tokens}
        self._samples = every.where(lambda sample: sample.scene_token in scenes)
        self._poses = Table(folder, "ego_pose", Pose)
        self._calibrations = Table(folder, "calibrated_sensor", Calibration)
        channels = {sensor.token: sensor.channel for sensor in Table(folder, "sensor", Sensor)}
        data = Table(folder, "sample_data", SampleData)
        self._data = data.where(data.follow("sample_token", self._samples) >= 0)
        self._rows = self._sorted(channels)

    def _sorted(self, channels: dict[str, str]) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
        """By scene and channel: the stamps [us], in order, and the rows in the table."""
        samples = self._samples.objects("scene_token", self._data.follow_surely("sample_token", self._samples))
        mounts = self._calibrations.objects(
            "sensor_token", self._data.follow_surely("calibrated_sensor_token", self._calibrations)
        )
        stamps, groups = self._data.column("timestamp"), {}
        for row, (scene, sensor) in enumerate(zip(samples, mounts, strict=True)):
            groups.setdefault((scene, channels[sensor]), []).append(row)
        found = {}
        for key, rows in groups.items():
            order = np.array(rows)[np.argsort(stamps[rows], kind="stable")]
            found[key] = stamps[order], order
        return found

    def image(self, frame: Frame, camera: str, stamp_ns: int) -> CameraImage | None:
        """See History."""
        stamps, rows = self._of(frame, camera)
        if not len(rows):
            return None
        row = self._data.at(int(rows[np.argmin(np.abs(stamps * 1000 - stamp_ns))]))
        world_from_camera = self._world_from_ego(row) @ self._mount(row)
        world_from_lidar = self.world_from_ego(frame, frame.stamp_ns) @ frame.ego_from_lidar
        calibration = self._calibrations[row.calibrated_sensor_token]
        what = f"{self._calibrations.path}: camera_intrinsic of {calibration.token}"
        intrinsics = Intrinsics.from_matrix(calibration.camera_intrinsic, row.width, row.height, what=what)
        path = self._root / row.filename
        try:
            return read_shot(
                Shot((path,), row.timestamp * 1000, intrinsics, world_from_camera.inverse() @ world_from_lidar)
            )
        except MissingDataError:
            return None

    def world_from_ego(self, frame: Frame, stamp_ns: int) -> Transform:
        """See History; poses are those of the LiDAR's sweeps."""
        stamps, rows = self._of(frame, LIDAR)
        low = max(0, bisect_left(stamps, stamp_ns // 1000) - AROUND)
        near = rows[low : bisect_right(stamps, stamp_ns // 1000) + AROUND]
        data = [self._data.at(int(row)) for row in near]
        track = PoseTrack(
            np.array([row.timestamp * 1000 for row in data], np.int64), tuple(self._world_from_ego(row) for row in data)
        )
        return track.at(stamp_ns, EXTRAPOLATION_NS)

    def _of(self, frame: Frame, channel: str) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
        return self._rows.get((self._samples[frame.token].scene_token, channel), nothing)

    def _world_from_ego(self, row: SampleData) -> Transform:
        pose = self._poses[row.ego_pose_token]
        return Transform.from_quaternion(pose.rotation, pose.translation, f"{self._poses.path}: {pose.token}")

    def _mount(self, row: SampleData) -> Transform:
        mount = self._calibrations[row.calibrated_sensor_token]
        return Transform.from_quaternion(mount.rotation, mount.translation, f"{self._calibrations.path}: {mount.token}")
