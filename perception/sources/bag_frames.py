"""Frames of the messages of a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.ros.codec import Codec
from perception.ros.rig_file import KINDS, LiveRig
from perception.ros.sensing import read_sensor
from perception.sources import FrameOptions, MissingDataError
from perception.sources.bag_index import BagIndex, Moment
from perception.sources.clouds import Sweep, as_of
from perception.types import CameraImage, Frame, PointCloud


class Scan:
    """A cloud that is decoded when it is first asked for."""

    def __init__(self, rig: LiveRig, data: bytes, sweep: Sweep) -> None:
        self.sweep = sweep
        self._rig, self._data = rig, data

    @cached_property
    def cloud(self) -> tuple[PointCloud, tuple[str, ...]]:
        """In its own frame, and notes; MissingDataError where it can't be decoded."""
        return read_message(self._rig, self._rig.lidar, self._data)


@dataclass(frozen=True)
class FrameMaker:
    """Makes frames out of what an index says."""

    rig: LiveRig
    index: BagIndex
    options: FrameOptions

    def scan(self, moment: Moment, data: Mapping[str, bytes]) -> Scan | None:
        """The moment's cloud, None if it has none or none is wanted."""
        lidar = self.rig.lidar
        if lidar not in data or not self.options.lidar:
            return None
        stamp_ns = moment.stamps_ns[lidar]
        return Scan(self.rig, data[lidar], Sweep((), stamp_ns, self._world_from(lidar, stamp_ns)))

    def frame(
        self,
        moment: Moment,
        data: Mapping[str, bytes],  # the messages of its sensors
        scan: Scan | None,
        previous: Sequence[Scan],  # newest first
    ) -> Frame:
        """The frame of a moment that has a pose; MissingDataError for broken data unless that may be missing."""
        notes = [f"{name} is left out: {why}." for name, why in moment.missing.items()]
        cameras = {}
        for name in self.options.cameras:
            if name in data:
                try:
                    cameras[name] = self._camera(moment, name, data[name])
                except MissingDataError as error:
                    self._forgive(error, f"{name} is left out: {error}.", notes)
        return Frame(
            moment.stamp_ns,
            moment.token,
            cameras,
            self._cloud(moment, scan, previous, notes) if scan is not None else None,
            self.index.vehicle.ego_from(self.rig.lidar),
            self.index.world_from_ego(moment.stamp_ns),
            notes=tuple(notes),
        )

    def _camera(self, moment: Moment, name: str, data: bytes) -> CameraImage:
        stamp_ns = moment.stamps_ns[name]
        pixels, _ = read_message(self.rig, name, data)
        camera_from_lidar = self._world_from(name, stamp_ns).inverse() @ self._world_from(
            self.rig.lidar, moment.stamp_ns
        )
        try:
            return CameraImage(pixels, stamp_ns, self.index.vehicle.intrinsics(name), camera_from_lidar)
        except InputError as error:  # of another size than its intrinsics
            raise MissingDataError(name, "an image that fits its calibration", str(error)) from error

    def _cloud(self, moment: Moment, scan: Scan, previous: Sequence[Scan], notes: list[str]) -> PointCloud | None:
        """The scan and those before it, as they are seen from the lidar at the moment's stamp."""
        key = Sweep((), moment.stamp_ns, self._world_from(self.rig.lidar, moment.stamp_ns))
        parts, dropped = [], 0
        for one in (scan, *previous):
            try:
                cloud, remarks = one.cloud
            except MissingDataError as error:
                self._forgive(error, f"{'The cloud' if one is scan else 'A sweep'} is left out: {error}.", notes)
                if one is scan:
                    return None
                continue
            if one is scan:
                notes += remarks
            sweep = key if one.sweep.stamp_ns == moment.stamp_ns else one.sweep
            parts.append(as_of(key, sweep, cloud.points[:, :4], self.options.remove_radius_m))
            dropped += cloud.dropped
        return PointCloud(np.concatenate(parts), dropped=dropped)

    def _forgive(self, error: MissingDataError, note: str, notes: list[str]) -> None:
        if not self.options.allow_missing:
            raise error
        notes.append(note)

    def _world_from(self, sensor: str, stamp_ns: int) -> Transform:
        return self.index.world_from_ego(stamp_ns) @ self.index.vehicle.ego_from(sensor)


def read_message(rig: LiveRig, sensor: str, data: bytes) -> tuple[PointCloud | np.ndarray, tuple[str, ...]]:
    """What a sensor's message holds; MissingDataError where it can't be used."""
    kind = rig.sensors[sensor].kind
    try:
        return read_sensor(kind, Codec().decode(data, KINDS[kind], sensor), sensor)
    except MissingDataError:
        raise
    except InputError as error:
        raise MissingDataError(sensor, "a message that can be used", str(error)) from error
