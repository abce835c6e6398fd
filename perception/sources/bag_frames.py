"""Frames of the messages of a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calibration.errors import InputError
from calibration.rig import Rig
from calibration.transform import Transform
from perception.ros.codec import Codec
from perception.ros.moments import Moment
from perception.ros.rig_file import KINDS, MS, LiveRig
from perception.ros.sensing import read_sensor
from perception.sources import FrameOptions, MissingDataError
from perception.sources.together import outcomes
from perception.timing.deskew import deskewed
from perception.timing.ego_motion import EgoMotion
from perception.timing.sweeps import Sweeps
from perception.types import CameraImage, Frame, PointCloud


class FrameMaker:
    """Goes through moments in their order and makes frames of some."""

    def __init__(self, rig: LiveRig, options: FrameOptions) -> None:
        self._rig, self._options = rig, options
        self._sweeps = Sweeps(options.sweeps, options.remove_radius_m, round(rig.sweep_age_ms * MS))
        self._epoch = 0
        self._notes: list[str] = []  # for the next frame
        self.failed: dict[str, str] = {}  # why messages of the last moment couldn't be used, by sensor

    def pass_by(self, moment: Moment, data: Mapping[str, bytes], vehicle: Rig, motion: EgoMotion) -> None:
        """No frame of this moment, but its cloud is a sweep for later ones; raises as `frame` does."""
        self.failed = {}
        cloud = self._cloud(moment, data, vehicle, motion, "A sweep")
        if cloud is not None:
            world_from_ego = motion.world_from_ego_at(moment.stamp_ns)
            self._sweeps.keep(cloud, moment.stamp_ns, world_from_ego @ self._ego_from_lidar(vehicle))

    def frame(self, moment: Moment, data: Mapping[str, bytes], vehicle: Rig, motion: EgoMotion | None) -> Frame:
        """The frame of a moment that has a pose, of the messages of its sensors.

        Without `motion` it needs no pose: the car is taken to stand still, and the cloud is a single sweep.

        Raises MissingDataError for broken data, unless that may be missing.
        """
        self.failed = {}
        self._notes += [f"{name} is left out: {why}." for name, why in moment.missing.items()]
        ego_from_lidar = self._ego_from_lidar(vehicle)
        world_from_ego = motion.world_from_ego_at(moment.stamp_ns) if motion is not None else None
        names = [name for name in self._options.cameras if name in data]
        read = outcomes(lambda name: self._read(name, data[name])[0], names)
        cameras = {
            name: self._camera(moment, name, pixels, vehicle, motion) for name, pixels in zip(names, read, strict=True)
        }
        cloud = self._cloud(moment, data, vehicle, motion, "The cloud")
        if motion is None:
            self._sweeps.forget()
        elif cloud is not None:
            cloud = self._sweeps.add(cloud, moment.stamp_ns, world_from_ego @ ego_from_lidar)
        notes, self._notes = tuple(self._notes), []
        return Frame(
            moment.stamp_ns,
            moment.token,
            {name: camera for name, camera in cameras.items() if camera is not None},
            cloud,
            ego_from_lidar,
            world_from_ego,
            notes=notes,
        )

    def _camera(
        self, moment: Moment, name: str, pixels: np.ndarray | InputError, vehicle: Rig, motion: EgoMotion | None
    ) -> CameraImage | None:
        camera, stamp_ns = vehicle[name], moment.stamps_ns[name]
        if motion is None:
            camera_from_lidar = vehicle.transform(name, self._rig.lidar)
        else:
            camera_from_lidar = motion.camera_from_lidar(
                camera.ego_from_sensor, stamp_ns, self._ego_from_lidar(vehicle), moment.stamp_ns
            )
        try:
            if isinstance(pixels, InputError):
                raise pixels
            return CameraImage(pixels, stamp_ns, camera.intrinsics, camera_from_lidar)
        except InputError as error:  # or of another size than its intrinsics
            self._forgive(name, error, name)
            return None

    def _cloud(
        self, moment: Moment, data: Mapping[str, bytes], vehicle: Rig, motion: EgoMotion | None, called: str
    ) -> PointCloud | None:
        """One sweep as of the moment's stamp, None without or if clouds aren't wanted."""
        lidar = self._rig.lidar
        if moment.epoch != self._epoch:
            self._sweeps.forget()
            self._epoch = moment.epoch
        if lidar not in data or not self._options.lidar:
            return None
        try:
            cloud, notes = self._read(lidar, data[lidar])
            if cloud.times_ns is not None and motion is None:
                cloud = replace(cloud, times_ns=None)
            elif cloud.times_ns is not None:
                cloud = deskewed(cloud, moment.stamp_ns, self._ego_from_lidar(vehicle), motion.world_from_ego_at)
        except InputError as error:
            self._forgive(called, error, lidar)
            return None
        if called == "The cloud":
            self._notes += notes
        return cloud

    def _read(self, sensor: str, data: bytes) -> tuple[PointCloud | np.ndarray, tuple[str, ...]]:
        kind = self._rig.sensors[sensor].kind
        return read_sensor(kind, Codec().decode(data, KINDS[kind], sensor), sensor)

    def _forgive(self, called: str, error: InputError, sensor: str) -> None:
        self.failed[sensor] = str(error)
        if self._options.allow_missing:
            self._notes.append(f"{called} is left out: {error}.")
        elif isinstance(error, MissingDataError):
            raise error
        else:
            raise MissingDataError(sensor, "a message that can be used", str(error)) from error

    def _ego_from_lidar(self, vehicle: Rig) -> Transform:
        return vehicle[self._rig.lidar].ego_from_sensor
