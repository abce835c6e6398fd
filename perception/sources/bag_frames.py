"""Frames of the messages of a moment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.ros.codec import Codec
from perception.ros.rig_file import KINDS, MS, LiveRig
from perception.ros.sensing import read_sensor
from perception.sources import FrameOptions, MissingDataError
from perception.sources.bag_index import BagIndex, Moment
from perception.timing.deskew import deskewed
from perception.timing.sweeps import Sweeps
from perception.types import CameraImage, Frame, PointCloud


class FrameMaker:
    """Goes through moments in their order and makes frames of some."""

    def __init__(self, rig: LiveRig, index: BagIndex, options: FrameOptions) -> None:
        self._rig, self._index, self._options = rig, index, options
        self._sweeps = Sweeps(options.sweeps, options.remove_radius_m, round(rig.sweep_age_ms * MS))
        self._epoch = 0
        self._notes: list[str] = []  # for the next frame

    def pass_by(self, moment: Moment, data: Mapping[str, bytes]) -> None:
        """No frame of this moment, but its cloud is a sweep for later ones; raises as `frame` does."""
        cloud = self._cloud(moment, data, "A sweep")
        if cloud is not None:
            self._sweeps.keep(cloud, moment.stamp_ns, self._world_from_lidar(moment))

    def frame(self, moment: Moment, data: Mapping[str, bytes]) -> Frame:
        """The frame of a moment that has a pose, of the messages of its sensors.

        Raises MissingDataError for broken data, unless that may be missing.
        """
        self._notes += [f"{name} is left out: {why}." for name, why in moment.missing.items()]
        cameras = {name: self._camera(moment, name, data[name]) for name in self._options.cameras if name in data}
        cloud = self._cloud(moment, data, "The cloud")
        if cloud is not None:
            cloud = self._sweeps.add(cloud, moment.stamp_ns, self._world_from_lidar(moment))
        notes, self._notes = tuple(self._notes), []
        return Frame(
            moment.stamp_ns,
            moment.token,
            {name: camera for name, camera in cameras.items() if camera is not None},
            cloud,
            self._index.vehicle.ego_from(self._rig.lidar),
            self._index.motion.world_from_ego_at(moment.stamp_ns),
            notes=notes,
        )

    def _camera(self, moment: Moment, name: str, data: bytes) -> CameraImage | None:
        vehicle, stamp_ns = self._index.vehicle, moment.stamps_ns[name]
        camera_from_lidar = self._index.motion.camera_from_lidar(
            vehicle.ego_from(name), stamp_ns, vehicle.ego_from(self._rig.lidar), moment.stamp_ns
        )
        try:
            pixels, _ = self._read(name, data)
            return CameraImage(pixels, stamp_ns, vehicle.intrinsics(name), camera_from_lidar)
        except InputError as error:  # or of another size than its intrinsics
            self._forgive(name, error, name)
            return None

    def _cloud(self, moment: Moment, data: Mapping[str, bytes], called: str) -> PointCloud | None:
        """One sweep as of the moment's stamp, None without or if clouds aren't wanted."""
        lidar = self._rig.lidar
        if moment.epoch != self._epoch:
            self._sweeps.forget()
            self._epoch = moment.epoch
        if lidar not in data or not self._options.lidar:
            return None
        try:
            cloud, notes = self._read(lidar, data[lidar])
            if cloud.times_ns is not None:
                ego_from_lidar = self._index.vehicle.ego_from(lidar)
                cloud = deskewed(cloud, moment.stamp_ns, ego_from_lidar, self._index.motion.world_from_ego_at)
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
        if self._options.allow_missing:
            self._notes.append(f"{called} is left out: {error}.")
        elif isinstance(error, MissingDataError):
            raise error
        else:
            raise MissingDataError(sensor, "a message that can be used", str(error)) from error

    def _world_from_lidar(self, moment: Moment) -> Transform:
        return self._index.motion.world_from_ego_at(moment.stamp_ns) @ self._index.vehicle.ego_from(self._rig.lidar)
