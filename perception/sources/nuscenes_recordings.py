"""What the sensors of a nuScenes dataset recorded, when, and from where."""

from __future__ import annotations

from pathlib import Path

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
        cameras, sweeps = set(options.cameras), options.lidar and options.sweeps > 0

        def wanted(row: SampleData) -> bool:
            if row.sample_token not in samples:
                return False
            channel = self.channel(row)
            return (channel == LIDAR and (sweeps or row.is_key_frame)) or (channel in cameras and row.is_key_frame)

        self._data = Table(folder, "sample_data", SampleData, wanted)
        poses = {row.ego_pose_token for row in self._data}
        self._poses = Table(folder, "ego_pose", Pose, lambda row: row.token in poses)
        keyframes = (row for row in self._data if row.is_key_frame)
        self._keyframes = {(row.sample_token, self.channel(row)): row for row in keyframes}

    def channel(self, row: SampleData) -> str:
        """The name of the sensor that recorded this."""
        return self._sensors[self._calibrations[row.calibrated_sensor_token].sensor_token].channel

    def keyframe(self, sample_token: str, channel: str) -> SampleData:
        """What a sensor recorded for a sample; MissingDataError if it didn't."""
        try:
            return self._keyframes[sample_token, channel]
        except KeyError:
            what = f"{self._data.path}: sample {sample_token}"
            raise MissingDataError(what, f"a keyframe of {channel}", "none") from None

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
        calibration = self._calibrations[row.calibrated_sensor_token]
        what = f"{self._calibrations.path}: {calibration.token}"
        return Transform.from_quaternion(calibration.rotation, calibration.translation, what)

    def world_from_sensor(self, row: SampleData) -> Transform:
        """Where the sensor was when it recorded this."""
        return self.world_from_ego(row) @ self.ego_from_sensor(row)

    def intrinsics(self, row: SampleData) -> Intrinsics:
        """Of a camera's image."""
        calibration = self._calibrations[row.calibrated_sensor_token]
        what = f"{self._calibrations.path}: camera_intrinsic of {calibration.token}"
        return Intrinsics.from_matrix(calibration.camera_intrinsic, row.width, row.height, what=what)
