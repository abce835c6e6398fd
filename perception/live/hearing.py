"""What becomes of messages before anything belongs together: measurements, poses, calibration, and counts."""

from __future__ import annotations

from typing import NamedTuple

from calibration.errors import InputError
from perception.live.calibrated import Calibrated
from perception.live.health import Health
from perception.live.tally import Tally
from perception.ros.codec import Codec, header_of
from perception.ros.rig_file import MS, LiveRig
from perception.ros.vehicle import Vehicle
from perception.timing.ego_motion import EgoMotion
from perception.types import Measurement

POSES = "poses"  # as health calls them, beside the sensors
HEADER_END = 12  # bytes of a message with a header, after which only its contents follow


class Arrival(NamedTuple):
    """A sensor's message."""

    data: bytes
    at_s: float  # when it came, on the clock that durations are measured by


class Hearing:
    """Takes messages in; those that can't be used are counted, told, and blamed on their sensor."""

    def __init__(self, rig: LiveRig, sensors: tuple[str, ...], health: Health) -> None:
        self.rig, self.topics = rig, rig.topics(sensors)
        self.tallies = {topic: Tally() for topic in self.topics}
        self.calibrated = Calibrated(sensors)
        self.motion = EgoMotion(
            max_extrapolation_ns=round(rig.poses.max_extrapolation_ms * MS),
            max_gap_ns=round(rig.poses.max_gap_ms * MS),
            jump_ns=round(rig.sync.jump_ms * MS),
        )
        self.remarks: list[str] = []  # what is to be told
        self._health, self._vehicle = health, Vehicle(rig)
        self._sensor_of = {rig.sensors[name].topic: name for name in sensors}
        self._contents: dict[str, bytes] = {}  # of the last message on a topic that repeats itself
        if rig.calibration is not None:
            self._recalibrate()

    def hear(self, topic: str, data: bytes, now_ns: int, at_s: float) -> Measurement | None:
        """Take the CDR bytes of a message in -> what it measured, if it is a sensor's."""
        self.tallies[topic].count(now_ns)
        try:
            if topic in self._sensor_of:
                return self._measurement(topic, data, at_s)
            self._learn(topic, data, now_ns)
        except InputError as error:
            self.leave_out(topic, str(error), now_ns)
        return None

    def leave_out(self, topic: str, error: str, now_ns: int) -> None:
        """A message on a topic turned out to be of no use."""
        tally = self.tallies[topic]
        if tally.leave_out(error, now_ns):
            self.remarks.append(f"left out: {topic}: {error} ({tally.left_out} so far)")
        if topic in self._sensor_of:
            self._health.blame(self._sensor_of[topic], error, now_ns)
        elif topic == self.rig.pose_topic:
            self._health.blame(POSES, error, now_ns)

    def _measurement(self, topic: str, data: bytes, at_s: float) -> Measurement:
        name = self._sensor_of[topic]
        stamp_ns, frame = header_of(data, topic)
        expected = self.rig.sensors[name].frame
        if frame.lstrip("/") != expected:
            raise InputError("frame id", repr(expected), repr(frame), f"correct {name}'s in the rig")
        return Measurement(name, stamp_ns, Arrival(data, at_s))

    def _learn(self, topic: str, data: bytes, now_ns: int) -> None:
        """Of poses and calibrations."""
        repeats = topic not in (self.rig.pose_topic, self.rig.tf_static_topic)
        if repeats and self._contents.get(topic) == data[HEADER_END:]:
            return
        for pose in self._vehicle.hear(topic, Codec().decode(data, self.topics[topic], topic)):
            if self.motion.add(pose):
                self._health.usable(POSES, now_ns)
        if topic != self.rig.pose_topic:
            self._contents[topic] = data[HEADER_END:]
            self._recalibrate()

    def _recalibrate(self) -> None:
        self.remarks += self.calibrated.update(self._vehicle)
