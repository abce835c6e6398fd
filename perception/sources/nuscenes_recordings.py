"""What the sensors of a nuScenes dataset recorded, when, and from where."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.nuscenes import LIDAR
from perception.sources import FrameOptions, MissingDataError
from perception.sources.nuscenes_tables import Calibration, Pose, Sample, SampleData, Sensor, Table


class Recordings:
    """The sample_data of some scenes with the calibrations and ego poses that they lead to.

    Of cameras it knows the keyframes, of LIDAR_TOP also the sweeps between them if they are asked for.
    """

    def __init__(self, folder: Path, samples: Table[Sample], options: FrameOptions) -> None:
        """Read the tables for `samples`, whole scenes; InputError for what is missing, malformed or leads nowhere."""
        self._sensors = Table(folder, "sensor", Sensor)
        self._calibrations = Table(folder, "calibrated_sensor", Calibration)
        self._poses = Table(folder, "ego_pose", Pose)
        self._samples = samples
        self._mounts: dict[str, Transform] = {}  # of the calibrations that were asked for
        data = Table(folder, "sample_data", SampleData)
        data = data.where(data.follow("sample_token", samples) >= 0)
        sensors = self._sensors_of(data)
        lidar, cameras = self._called(LIDAR), self._called(*options.cameras)
        keyframe, between = data.column("is_key_frame"), options.lidar and options.sweeps > 0
        wanted = lidar[sensors] & (keyframe | between) | cameras[sensors] & keyframe
        self._data, sensors = data.where(wanted), sensors[wanted]
        self._keyframes = {name: self._of_samples(self._called(name)[sensors]) for name in (LIDAR, *options.cameras)}

    def _sensors_of(self, data: Table[SampleData]) -> np.ndarray:
        """Place in the table of sensors of each row's (rows,)."""
        calibrations = data.follow_surely("calibrated_sensor_token", self._calibrations)
        used, which = np.unique(calibrations, return_inverse=True)
        return self._calibrations.follow_surely("sensor_token", self._sensors, used)[which]

    def _called(self, *channels: str) -> np.ndarray:
        """Which of the sensors have one of these names (sensors,)."""
        return np.array([sensor.channel in channels for sensor in self._sensors], bool)

    def _of_samples(self, mask: np.ndarray) -> np.ndarray:
        """For each sample the place of its keyframe among the rows that a mask picks (samples,), -1 for none."""
        places = np.flatnonzero(mask & self._data.column("is_key_frame"))
        found = np.full(len(self._samples), -1)
        found[self._data.follow("sample_token", self._samples, places)] = places
        return found

    def keyframe(self, sample_token: str, channel: str) -> SampleData:
        """What a sensor recorded for a sample; MissingDataError if it didn't."""
        sample, of_channel = self._samples.place(sample_token), self._keyframes.get(channel)
        if of_channel is None or of_channel[sample] < 0:
            what = f"{self._data.path}: sample {sample_token}"
            raise MissingDataError(what, f"a keyframe of {channel}", "none")
        return self._data.at(of_channel[sample])

    def before(self, row: SampleData, count: int) -> list[SampleData]:
        """The same sensor's recordings before this one, newest first; fewer than `count` where the scene starts."""
        found = []
        while row.prev and len(found) < count:
            row = self._data[row.prev]
            found.append(row)
        return found

    def world_from_ego(self, row: SampleData) -> Transform:
        """The ego pose when this was recorded."""
        pose = self._poses[row.ego_pose_token]
        what = f"{self._poses.path}: {pose.token}"
        return Transform.from_quaternion(pose.rotation, pose.translation, what)

    def ego_from_sensor(self, row: SampleData) -> Transform:
        """Where the sensor that recorded this is mounted."""
        token = row.calibrated_sensor_token
        if token not in self._mounts:
            calibration, what = self._calibrations[token], f"{self._calibrations.path}: {token}"
            self._mounts[token] = Transform.from_quaternion(calibration.rotation, calibration.translation, what)
        return self._mounts[token]

    def world_from_sensor(self, row: SampleData) -> Transform:
        """Where the sensor was when it recorded this."""
        return self.world_from_ego(row) @ self.ego_from_sensor(row)

    def intrinsics(self, row: SampleData) -> Intrinsics:
        """Of a camera's image."""
        calibration = self._calibrations[row.calibrated_sensor_token]
        what = f"{self._calibrations.path}: camera_intrinsic of {calibration.token}"
        return Intrinsics.from_matrix(calibration.camera_intrinsic, row.width, row.height, what=what)
