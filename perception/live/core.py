"""The node without ROS: messages in, the newest frame out, by event time.

    core = NodeCore(rig, options)
    core.hear(topic, data, received_ns)      # from the thread that hears messages
    core.advance(now_ns)                     # from time to time, from the same
    work = core.take()                       # from the thread that detects, when core.wait says so
    report = core.finish(work, detector(work.frame) if work.detect else None)

Frames are made by the parts that make a bag's: of the same messages come the same frames. choice.py says which bundle
becomes one; those between are sweeps.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from calibration.rig import Rig
from perception.live.choice import is_whole, next_frame
from perception.live.health import Health, Level, State
from perception.live.hearing import POSES, Hearing
from perception.live.latencies import Latencies
from perception.live.reports import Report, blind_report, detection_report
from perception.live.tally import Tally
from perception.ros.codec import Codec
from perception.ros.moments import Moment, moment_of
from perception.ros.rig_file import MS, LiveRig
from perception.sources import FrameOptions
from perception.sources.bag_frames import FrameMaker
from perception.timing.bundle import Bundle
from perception.timing.ego_motion import EgoMotion
from perception.timing.sync import Statistics, Synchroniser
from perception.types import Boxes3D, Frame

LEAST_KEPT = 10  # bundles that wait for the detecting thread


class Waiting(NamedTuple):
    """A bundle that nobody looked at yet."""

    bundle: Bundle
    out_ns: int  # when it went out, by event time
    out_s: float


@dataclass(frozen=True)
class Work:
    """A frame to detect in."""

    frame: Frame
    epoch: int
    made_from: Mapping[str, int]  # by sensor, when it measured [ns]
    detect: bool  # False while blind
    arrived_s: float  # the bundle's reference
    out_s: float  # the bundle
    taken_s: float  # by the detecting thread
    made_s: float  # the frame


@dataclass
class Counts:
    """What became of bundles."""

    detected: int = 0
    partial: int = 0  # of those, without a sensor that the detector looks through
    passed_over: int = 0  # good for a frame, but a newer one was there
    overtaken: int = 0  # detected, but of before what was said meanwhile


class NodeCore:
    """Everything that the node remembers. Safe to call from two threads, one that hears and one that detects."""

    def __init__(self, rig: LiveRig, options: FrameOptions, clock: Callable[[], float] = time.perf_counter) -> None:
        """Raises InputError for a rig without a camera that the frames shall have."""
        rig.check_sensors(options.cameras)
        Codec()  # says so where rosbags isn't installed
        self.rig, self.options = rig, replace(options, allow_missing=True, truth=False)
        self.sensors = (rig.lidar, *options.cameras)
        self.counts, self.latencies = Counts(), Latencies()
        self.frame_rate = Tally()
        self.made_from: tuple[str, ...] = ()  # the last detections
        self.health = _health(rig, self.sensors, options)
        self.hearing = Hearing(rig, self.sensors, self.health)
        self._clock, self._maker = clock, FrameMaker(rig, self.options)
        self._synchroniser = Synchroniser(rig.sync_settings(self.sensors, live=True))
        self._waiting: deque[Waiting] = deque(maxlen=max(LEAST_KEPT, options.sweeps + 1))
        self._failing: dict[str, str] = {}  # why a sensor's last message couldn't be used
        self._now_ns = 0
        self._ahead_ns: int | None = None  # the sensors' clock less the receiver's
        self._last_frame: tuple[int, int] | None = None  # epoch and stamp
        self._last_said: tuple[int, int] = (-1, 0)
        self._state: State | None = None
        self._something = threading.Condition()

    @property
    def topics(self) -> Mapping[str, str]:
        """What to hear, and the messages' kinds."""
        return self.hearing.topics

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """What came on each topic."""
        return self.hearing.tallies

    # From the thread that hears

    def hear(self, topic: str, data: bytes, received_ns: int) -> None:
        """Take the CDR bytes of a message on one of `topics`; what can't be used is counted and told."""
        with self._something:
            self._now_ns = received_ns
            measurement = self.hearing.hear(topic, data, received_ns, self._clock())
            if measurement is not None:
                self._take_in(self._synchroniser.add(measurement, received_ns))
            elif topic == self.rig.pose_topic:
                self._something.notify_all()  # what waits for poses may be ripe
            self._look()

    def advance(self, now_ns: int) -> None:
        """Let time go on."""
        with self._something:
            self._now_ns = now_ns
            self._take_in(self._synchroniser.advance(now_ns))
            self._look()

    def remarks(self) -> list[str]:
        """What is to be told since the last call."""
        with self._something:
            remarks, self.hearing.remarks = self.hearing.remarks, []
            return remarks

    def state(self) -> State:
        """Of the sensors, as of the last call of any kind."""
        with self._something:
            return self._look()

    def now(self) -> tuple[int, State, Statistics]:
        """What time it is [ns], the state, and the synchroniser's counts."""
        with self._something:
            return self._now_ns, self._look(), self._synchroniser.statistics()

    def blind(self) -> Report | None:
        """What to say while nothing is detected, None if that isn't so."""
        with self._something:
            state = self._look()
            if state.level is not Level.BLIND:
                return None
            epoch = self._synchroniser.statistics().resets
            if self._ahead_ns is None:
                return blind_report(self._now_ns, epoch, self._frame_id, state)
            said = (epoch, self._now_ns + self._ahead_ns)
            if said <= self._last_said:
                return None
            self._last_said = said
            return blind_report(said[1], epoch, self._frame_id, state)

    # From the thread that detects

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be something to take."""
        with self._something:
            return self._something.wait_for(lambda: bool(self._waiting), timeout_s)

    def take(self) -> Work | None:
        """The newest frame there is; the clouds before it become its sweeps. None if there is none yet."""
        with self._something:
            chosen, passed = self._choose()
            vehicle, motion = self.hearing.calibrated.rig, self._known_motion()
            motion = motion.copy() if motion is not None else None
            taken_s = self._clock()
        for moment in passed if motion is not None else ():
            self._pass_by(moment, vehicle, motion)
        if chosen is None:
            return None
        waiting, moment = chosen
        data = {name: arrival.data for name, arrival in moment.payloads.items()}
        frame = self._maker.frame(moment, data, vehicle, motion)
        with self._something:
            self._judge(moment)
            state = self._look()
        made_from = {name: moment.stamps_ns[name] for name in frame.cameras}
        if frame.cloud is not None:
            made_from = {self.rig.lidar: moment.stamps_ns[self.rig.lidar], **made_from}
        arrived_s = waiting.bundle.measurements[waiting.bundle.reference].payload.at_s
        detect = state.level is not Level.BLIND and bool(made_from)
        return Work(frame, moment.epoch, made_from, detect, arrived_s, waiting.out_s, taken_s, self._clock())

    def finish(self, work: Work, boxes: Boxes3D) -> Report | None:
        """What to say of a frame; None if something newer was said meanwhile."""
        with self._something:
            said, state = (work.epoch, work.frame.stamp_ns), self._look()
            if said <= self._last_said or state.level is Level.BLIND:
                self.counts.overtaken += 1
                return None
            self._last_said = said
            self.counts.detected += 1
            self.counts.partial += any(name not in work.made_from for name in self.health.eyes)
            report = detection_report(work, boxes, self._frame_id, state, self._clock())
            self.latencies.add(report.latency_ms)
            self.frame_rate.count(self._now_ns)
            self.made_from = tuple(report.made_from)
            return report

    def leave_out(self, work: Work, why: str) -> None:
        """A frame turned out to be of no use."""
        with self._something:
            self.hearing.remarks.append(f"left out: frame {work.frame.token}: {why}")

    # Inside

    @property
    def _frame_id(self) -> str:
        return self.rig.sensors[self.rig.lidar].frame

    def _take_in(self, bundles: list[Bundle]) -> None:
        for bundle in bundles:
            self._note(bundle)
            self._ahead_ns = bundle.stamp_of(bundle.reference) - (self._now_ns - bundle.waited_ns)
            if len(self._waiting) == self._waiting.maxlen:
                self.counts.passed_over += 1
            self._waiting.append(Waiting(bundle, self._now_ns, self._clock()))
        if bundles:
            self._something.notify_all()

    def _note(self, bundle: Bundle) -> None:
        """What a bundle tells of the sensors' health."""
        unknown = self.hearing.calibrated.unknown
        unplaced = unknown.get(self.rig.lidar)
        for name in self.sensors:
            why = bundle.missing.get(name) or unknown.get(name) or unplaced or self._failing.get(name)
            if why:
                self.health.blame(name, why, self._now_ns)
            else:
                self.health.usable(name, self._now_ns)

    def _look(self) -> State:
        """The state; a change of it is told."""
        state, before = self.health.state(self._now_ns), self._state
        if before is not None and (state.level, set(state.lost)) != (before.level, set(before.lost)):
            self.hearing.remarks.append(f"state: {before.summary} -> {state}")
        self._state = state
        return state

    def _choose(self) -> tuple[tuple[Waiting, Moment] | None, list[Moment]]:
        """The newest of those in wait that is good for a frame, and those before it, which are let go."""
        self._look()
        unknown, motion, moments = self.hearing.calibrated.unknown, self._known_motion(), []
        while len(moments) < len(self._waiting) and self._is_ripe(self._waiting[len(moments)]):
            moments.append(moment_of(self._waiting[len(moments)].bundle, motion, unknown, {}))
        patience_ns, needs_pose = round(self.rig.health.patience_ms * MS), motion is not None
        number = None
        if self.rig.lidar not in unknown:  # the frame is its
            number = next_frame(moments, self.health, self._last_frame, patience_ns, needs_pose)
        gone = [self._waiting.popleft() for _ in moments[: None if number is None else number + 1]]
        if number is None:
            return None, moments
        chosen, passed = moments[number], moments[:number]
        self.counts.passed_over += sum(is_whole(moment, self.health, needs_pose) for moment in passed)
        self._last_frame = chosen.epoch, chosen.stamp_ns
        return (gone[-1], chosen), passed

    def _known_motion(self) -> EgoMotion | None:
        """None while it isn't known and frames are made all the same."""
        return None if self.health.is_lost(POSES) and not self.health.must_not_lack(POSES) else self.hearing.motion

    def _is_ripe(self, waiting: Waiting) -> bool:
        """Whether the poses around it are there, or have had their time; so they have where the clock went back."""
        waited_ns = self._now_ns - waiting.out_ns
        if not 0 <= waited_ns < self.rig.poses.wait_ms * MS or self.health.is_lost(POSES):
            return True
        bundle = waiting.bundle
        newest_ns = max(bundle.stamp_of(name) for name in bundle.measurements)
        return (self.hearing.motion.newest_ns or 0) >= newest_ns

    def _pass_by(self, moment: Moment, vehicle: Rig, motion: EgoMotion) -> None:
        lidar = self.rig.lidar
        if self.options.sweeps == 0 or not self.options.lidar or not moment.has_pose or lidar not in moment.payloads:
            return
        self._maker.pass_by(moment, {lidar: moment.payloads[lidar].data}, vehicle, motion)
        with self._something:
            self._judge(moment, (lidar,))

    def _judge(self, moment: Moment, tried: tuple[str, ...] | None = None) -> None:
        """What reading a moment's messages told of their sensors."""
        for name in tried or moment.payloads:
            why = self._maker.failed.get(name)
            if why is not None:
                self._failing[name] = why
                self.hearing.leave_out(self.rig.sensors[name].topic, why, self._now_ns)
            elif self._failing.pop(name, None):
                self.health.usable(name, self._now_ns)


def _health(rig: LiveRig, sensors: tuple[str, ...], options: FrameOptions) -> Health:
    """Poses are watched like a sensor; the LiDAR of a detector that doesn't look through it is ignored."""
    slowest_hz = {name: min(rig.sensors[name].rate_hz, rig.sensors[rig.lidar].rate_hz) for name in sensors}
    lost_ns = round(rig.health.lost_ms * MS)
    lost_after_ns = {name: max(lost_ns, round(3e9 / rate_hz)) for name, rate_hz in slowest_hz.items()}
    policies = {name: rig.sensors[name].missing for name in sensors}
    eyes = [name for name in sensors if name != rig.lidar or options.lidar]
    if not options.lidar:
        policies[rig.lidar] = "ignore"
    return Health(
        lost_after_ns | {POSES: max(lost_ns, round(rig.poses.max_extrapolation_ms * MS))},
        policies | {POSES: rig.poses.missing},
        eyes,
        round(rig.health.recover_ms * MS),
    )
