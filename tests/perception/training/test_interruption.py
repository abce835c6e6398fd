"""Ctrl-C waits for the step to end; who presses it again doesn't want to wait."""

import os
import signal

import pytest

from perception.training import interruption
from perception.training.interruption import Interruption


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only the test moves."""
    now = [100.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks(clock, number):
    with Interruption() as noted:
        assert not noted.asked
        os.kill(os.getpid(), number)
        assert noted.asked


def test_the_same_key_counts_once_and_a_second_one_interrupts(clock):
    with Interruption() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        clock[0] += 0.5
        os.kill(os.getpid(), signal.SIGINT)  # as torchrun hands it on
        assert noted.asked
        clock[0] += 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_as_before_afterwards(clock):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
