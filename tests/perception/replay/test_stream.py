"""Streams that are repeated: the same drive again, and clocks that go on."""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType

import pytest

from calibration.errors import InputError
from perception.replay.stream import BETWEEN_NS, Repeated
from perception.ros.bags import TimedMessage, Topic
from perception.ros.codec import Codec, header_of
from perception.ros.fields import time_message
from tests.perception.live.made import MadeDrive

pytest.importorskip("rosbags")
CLOCK = "rosgraph_msgs/msg/Clock"


@pytest.fixture(scope="module")
def drive() -> MadeDrive:
    return MadeDrive(0.5)


def test_every_turn_is_the_drive_again_only_later(drive: MadeDrive) -> None:
    once, played = list(drive), list(Repeated(drive, 3))
    again = [message for message in once if not drive.topics[message.topic].latched]
    assert len(played) == len(once) + 2 * len(again)
    assert played[: len(once)] == once
    assert all(a.received_ns <= b.received_ns for a, b in pairwise(played))
    turn_ns = once[-1].received_ns - once[0].received_ns + BETWEEN_NS
    for later_ns, turn in ((turn_ns, played[len(once) :][: len(again)]), (2 * turn_ns, played[-len(again) :])):
        for before, after in zip(again, turn, strict=True):
            assert (after.topic, after.kind) == (before.topic, before.kind)
            assert after.received_ns == before.received_ns + later_ns
            if Codec().has_header(before.kind):
                assert header_of(after.data, "")[0] == header_of(before.data, "")[0] + later_ns


def test_clocks_go_on_and_what_has_no_stamp_stays() -> None:
    codec = Codec()
    ticks = [time_message(codec.make, ns) for ns in (7 * 10**9, 7 * 10**9 + 20_000_000)]

    class Ticking:
        topics = MappingProxyType({"/clock": Topic(CLOCK), "/words": Topic("std_msgs/msg/String")})

        def __len__(self) -> int:
            return 3

        def __iter__(self):
            for number, tick in enumerate(ticks):
                yield TimedMessage("/clock", CLOCK, 20_000_000 * number, codec.encode(codec.make(CLOCK, clock=tick)))
            yield TimedMessage("/words", "std_msgs/msg/String", 20_000_000, b"words")

    played = list(Repeated(Ticking(), 2))
    clocks = [codec.decode(m.data, CLOCK).clock for m in played if m.topic == "/clock"]
    assert [clock.sec * 10**9 + clock.nanosec for clock in clocks] == [7 * 10**9 + ms * 10**6 for ms in (0, 20, 70, 90)]
    assert [m.data for m in played if m.topic == "/words"] == [b"words"] * 2


def test_less_than_once_is_an_input_error(drive: MadeDrive) -> None:
    with pytest.raises(InputError, match="times: expected a number >= 1, got 0"):
        Repeated(drive, 0)
