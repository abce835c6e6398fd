"""What is in a bag, by its headers: which messages belong together, where the car was, how its sensors are mounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from calibration.errors import InputError
from calibration.rig import Rig
from calibration.transform import Transform
from perception.ros.bags import Bag, TimedMessage
from perception.ros.clouds import has_times
from perception.ros.codec import Codec, header_of
from perception.ros.moments import Moment, moment_of
from perception.ros.rig_file import MS, LiveRig
from perception.ros.vehicle import Vehicle
from perception.timing.bundle import Bundle
from perception.timing.ego_motion import EgoMotion
from perception.timing.sync import Synchroniser
from perception.types import EgoPose, Measurement


class BagIndex:
    """Everything of a bag but its images and clouds."""

    def __init__(self, bag: Bag, rig: LiveRig, sensors: tuple[str, ...], forgiving: bool) -> None:
        """Go through the bag; InputError for topics that are missing, sensors that aren't calibrated, and poses and
        headers that can't be, of which the last two are left out if it is forgiving, which `troubles` tell.
        """
        self._left_out: list[str] = []
        self._vehicle, self.topics = Vehicle(rig), rig.topics(sensors)
        rig.check_topics({name: topic.kind for name, topic in bag.topics.items()}, sensors, str(bag.path))
        self._rig, self._sensors, self._forgiving = rig, sensors, forgiving
        self._clouds_have_times = False
        self._sensor_of = {rig.sensors[name].topic: name for name in sensors}
        self._poses: dict[int, Transform] = {}
        self._stamps_ns: dict[str, list[int]] = {name: [] for name in sensors}
        bundles = list(self._bundles(bag))
        self.vehicle, self._unknown = self._calibrated(sensors)
        if not self._poses:
            raise InputError(str(bag.path), f"ego poses on {rig.pose_topic}", "none", "see poses in the rig")
        self.motion = self._ego_motion()
        self.moments = tuple(map(self._moment, bundles))

    def _ego_motion(self) -> EgoMotion:
        """All poses in the order of their stamps, in which they needn't have come."""
        poses = self._rig.poses
        motion = EgoMotion(
            max(len(self._poses), 2),
            max_extrapolation_ns=round(poses.max_extrapolation_ms * MS),
            max_gap_ns=round(poses.max_gap_ms * MS),
            jump_ns=max(self._poses) - min(self._poses),  # none: a bag's poses are all of one clock
        )
        for stamp_ns in sorted(self._poses):
            motion.add(EgoPose(stamp_ns, self._poses[stamp_ns]))
        return motion

    def usable(self, partial: bool) -> list[Moment]:
        """Those that frames can be made of: with a pose, and with all sensors unless they may be `partial`."""
        return [moment for moment in self.moments if moment.has_pose and (partial or moment.is_complete)]

    def troubles(self) -> tuple[str, ...]:
        """What was left out of the bag, in at most two sentences."""
        more = len(self._left_out) - 1
        return (*self._left_out[:1], *([f"{more} more messages are left out."] if more > 0 else []))

    def usual_gap(self) -> int:
        """How many clouds come for one measurement of the slowest sensor."""
        return ceil(max(map(self._period_s, self._sensors)) / self._period_s(self._rig.lidar))

    def what_lacked(self, moments: Sequence[Moment]) -> str:
        """What most of these moments lacked to become frames."""
        counts = Counter(name for moment in moments for name in moment.missing)
        counts["an ego pose"] = sum(not moment.has_pose for moment in moments)
        most = max(counts.values())
        return f"{most} lacked {', '.join(name for name, count in counts.items() if count == most)}"

    def _period_s(self, name: str) -> float:
        """From one measurement of a sensor to the next: as the rig says, or longer where it never comes as often.

        A quarter of the steps are no longer, however many messages were lost.
        """
        steps_ns = np.diff(np.unique(self._stamps_ns[name]))
        seen_s = float(np.quantile(steps_ns, 0.25)) / 1e9 if len(steps_ns) else 0.0
        return max(1 / self._rig.sensors[name].rate_hz, seen_s)

    def why_none(self) -> str:
        """Why nothing is usable."""
        if not self.moments:
            return " ".join(("no cloud at all", *self.troubles()))
        reasons = Counter(f"{name}: {why}" for moment in self.moments for name, why in moment.missing.items())
        if not reasons:
            return f"{len(self.moments)} clouds without an ego pose near them"
        (reason, count), *_ = reasons.most_common(1)
        return f"{len(self.moments)} clouds, {count} of them without {reason}"

    def _calibrated(self, sensors: tuple[str, ...]) -> tuple[Rig, dict[str, str]]:
        """The sensors of which all is known, and why cameras aren't among them, if it is forgiving."""
        unknown = self._vehicle.unknown(sensors)
        for name, error in unknown.items():
            if not self._forgiving or name == self._rig.lidar:
                raise error
        known = [name for name in sensors if name not in unknown]
        return self._vehicle.calibration(known), {name: str(error) for name, error in unknown.items()}

    def _bundles(self, bag: Bag) -> Iterator[Bundle]:
        codec, synchroniser = Codec(), Synchroniser(self._rig.sync_settings(self._sensors))
        for number, message in enumerate(bag.messages(self.topics)):
            try:
                if message.topic not in self._sensor_of:
                    decoded = codec.decode(message.data, message.kind, message.topic)
                    self._remember(self._vehicle.hear(message.topic, decoded))
                    continue
                measurement = self._measurement(message, number)
            except InputError as error:
                if not self._forgiving:
                    raise
                self._left_out.append(f"A message is left out: {error}.")
                continue
            yield from synchroniser.add(measurement, message.received_ns)
        yield from synchroniser.flush()

    def _measurement(self, message: TimedMessage, number: int) -> Measurement:
        name = self._sensor_of[message.topic]
        stamp_ns, frame = header_of(message.data, message.topic)
        expected = self._rig.sensors[name].frame
        if frame.lstrip("/") != expected:
            raise InputError(f"frame id on {message.topic}", expected, repr(frame), f"correct {name}'s in the rig")
        if name == self._rig.lidar and not self._clouds_have_times:
            self._clouds_have_times = has_times(Codec().decode(message.data, message.kind, message.topic))
        self._stamps_ns[name].append(stamp_ns)
        return Measurement(name, stamp_ns, number)

    def _remember(self, poses: list[EgoPose]) -> None:
        self._poses.update((pose.stamp_ns, pose.world_from_ego) for pose in poses)

    def _moment(self, bundle: Bundle) -> Moment:
        turn_ns = round(1e9 / self._rig.sensors[self._rig.lidar].rate_hz)
        return moment_of(
            bundle, self.motion, self._unknown, {self._rig.lidar: turn_ns} if self._clouds_have_times else {}
        )
