"""Streams driven through the node's core at their own times: no clock is read, no middleware is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from perception.live.core import NodeCore
from perception.live.reports import Report
from perception.replay.faults import Fault, Faulty
from perception.ros.bags import TimedMessage
from perception.ros.rig_file import MS, LiveRig
from perception.sources import FrameOptions
from perception.types import Boxes3D, Frame
from tests.perception.live.made import (
    BEGIN_NS,
    FIRES_IN,
    TURN_NS,
    MadeDrive,
    brightness,
    stamp_of,
    turn_of,
)

TICK_NS = 10 * MS  # of the node's timer
BLIND_NS = 200 * MS  # from one message that nothing is seen to the next
DETECTING_NS = 80 * MS  # for so long the detector is busy with a frame
OLDEST_NS = (
    400 * MS
)  # what is said may be of: waited for, then detected in, and a whole frame before a newer partial one
OPTIONS = FrameOptions(sweeps=2, truth=False, allow_missing=True)


@dataclass(frozen=True)
class Answer:
    """A frame that the detector took, and what was said of it when it was done."""

    now_ns: int
    frame: Frame
    said: Report

    @property
    def at_s(self) -> float:
        """When it was said, since the drive's begin."""
        return (self.now_ns - BEGIN_NS) / 1e9

    @property
    def place(self) -> tuple[int, int]:
        """What only grows."""
        return self.said.epoch, self.said.stamp_ns

    @property
    def made_from(self) -> Mapping[str, int]:
        return self.said.made_from


@dataclass(frozen=True)
class Driven:
    """What came of a drive."""

    core: NodeCore
    answers: list[Answer]
    blinds: list[tuple[float, Report]]  # what was said while blind, and when [s]
    states: list[tuple[float, str, frozenset[str]]]  # at each tick: when [s], state, what is lost

    def between(self, from_s: float, until_s: float) -> list[Answer]:
        return [answer for answer in self.answers if from_s <= answer.at_s < until_s]

    def states_between(self, from_s: float, until_s: float) -> set[tuple[str, frozenset[str]]]:
        return {(state, lost) for at_s, state, lost in self.states if from_s <= at_s < until_s}

    def longest_gap_s(self, from_s: float, until_s: float) -> float:
        """The longest time without an answer."""
        times = [from_s, *(answer.at_s for answer in self.between(from_s, until_s)), until_s]
        return float(np.diff(times).max())


def drive(messages: Iterable[TimedMessage], rig: LiveRig, detecting_ns: int = DETECTING_NS) -> Driven:
    """Let a node hear messages as they come; its detector is busy for a while with each frame."""
    core, last_ns = NodeCore(rig, OPTIONS), None
    detector = _Detector(core, detecting_ns)
    states, blinds, blind_ns = [], [], 0
    for message in messages:
        for now_ns in _ticks(last_ns, message.received_ns):
            core.advance(now_ns)
            detector.turn(now_ns)
            if not 0 <= now_ns - blind_ns < BLIND_NS and (said := core.blind()) is not None:
                blinds.append(((now_ns - BEGIN_NS) / 1e9, said))
                blind_ns = now_ns
            state = core.state()
            states.append(((now_ns - BEGIN_NS) / 1e9, state.level.value, frozenset(state.lost)))
        core.hear(message.topic, message.data, message.received_ns)
        last_ns = message.received_ns
    return Driven(core, detector.answers, blinds, states)


class _Detector:
    """The thread that detects, at its work whenever the timer goes off."""

    def __init__(self, core: NodeCore, detecting_ns: int) -> None:
        self._core, self._busy_ns, self._work, self._since_ns = core, detecting_ns, None, 0
        self.answers: list[Answer] = []

    def turn(self, now_ns: int) -> None:
        if self._work is not None and not 0 <= now_ns - self._since_ns < self._busy_ns:
            said = self._core.finish(self._work, Boxes3D.empty(("car",)))
            if said is not None:
                self.answers.append(Answer(now_ns, self._work.frame, said))
            self._work = None
        if self._work is None:
            work, self._since_ns = self._core.take(), now_ns
            self._work = work if work is not None and work.detect else None


def _ticks(last_ns: int | None, next_ns: int) -> Iterator[int]:
    """When the node's timer goes off until the next message comes."""
    if last_ns is not None:  # nothing where time goes back
        yield from range(last_ns // TICK_NS * TICK_NS + TICK_NS, next_ns + 1, TICK_NS)


def with_faults(made: MadeDrive, *texts: str) -> list[TimedMessage]:
    """A drive's messages with faults."""
    return list(Faulty(made, [Fault.parse(text) for text in texts]))


def with_faults_between(made: MadeDrive, from_s: float, until_s: float, *texts: str) -> list[TimedMessage]:
    """The same for faults that leave messages their number and their times, in this time only."""
    messages = []
    for whole, broken in zip(made, with_faults(made, *texts), strict=True):
        is_hit = from_s <= (whole.received_ns - BEGIN_NS) / 1e9 < until_s
        messages.append(broken if is_hit else whole)
    return messages


def check_made_of_its_moment(answer: Answer, rig: LiveRig, back_ns: int = 0) -> None:
    """The frame holds what its sensors measured at its stamp, and says so: nothing of it is stale.

    `back_ns` is by how much all clocks are behind the drive's.
    """
    frame, sensors = answer.frame, rig.sensors
    turn = turn_of(frame.stamp_ns + back_ns)
    assert frame.stamp_ns + back_ns == stamp_of(turn)
    assert 0 <= answer.now_ns - stamp_of(turn) <= OLDEST_NS
    assert set(answer.made_from) == set(frame.cameras) | ({rig.lidar} if frame.cloud is not None else set())
    assert answer.made_from
    if frame.cloud is not None:
        assert answer.made_from[rig.lidar] == frame.stamp_ns
        turns, ages = frame.cloud.points[:, 3], frame.cloud.points[:, 4]
        assert ages.min() == 0
        np.testing.assert_array_equal((turn - np.rint(ages * 1e9 / TURN_NS)) % 256, turns)
    for name, camera in frame.cameras.items():
        assert answer.made_from[name] == camera.stamp_ns
        off_ns = camera.stamp_ns - round(sensors[name].offset_ms * MS) - frame.stamp_ns
        assert abs(off_ns) <= sensors[name].tolerance_ms * MS
        fired = turn_of(camera.stamp_ns - round(sensors[name].offset_ms * MS) + back_ns)
        assert brightness(picture_of(fired)) == camera.image.mean(), name


def picture_of(turn: int) -> int:
    """The number of the picture that a camera takes in a turn of the LiDAR."""
    return turn // 10 * len(FIRES_IN) + FIRES_IN.index(turn % 10)
