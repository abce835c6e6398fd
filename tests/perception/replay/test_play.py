"""A stream is played at the pace that is asked for, and delays don't add up."""

from __future__ import annotations

import pytest

from calibration.errors import InputError
from perception.replay.play import paced
from perception.ros.bags import TimedMessage

STEPS_NS = [0, 100_000_000, 100_000_000, 250_000_000]
MESSAGES = [TimedMessage("/a", "b/msg/C", 10**18 + step, b"") for step in STEPS_NS]


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 7.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
def test_messages_come_when_they_are_due(rate: float) -> None:
    clock = Clock()
    times = [clock.now - 7 for _ in paced(MESSAGES, rate, clock, clock.sleep)]
    assert times == pytest.approx([step / 1e9 / rate for step in STEPS_NS])


def test_at_rate_0_nobody_waits() -> None:
    clock = Clock()
    assert list(paced(MESSAGES, 0, clock, clock.sleep)) == MESSAGES
    assert clock.now == 7


def test_who_is_slow_does_not_delay_what_follows() -> None:
    clock, times = Clock(), []
    for message in paced(MESSAGES, 1, clock, clock.sleep):
        times.append(clock.now - 7)
        if message is MESSAGES[1]:
            clock.sleep(0.08)
    assert times == pytest.approx([0, 0.1, 0.18, 0.25])


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_an_input_error(rate: float) -> None:
    with pytest.raises(InputError, match="rate: expected a number >= 0"):
        paced(MESSAGES, rate)
