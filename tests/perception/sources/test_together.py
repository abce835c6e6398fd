"""Things read at a time come back in their order, with their errors."""

from __future__ import annotations

import os
import threading

import pytest

from calibration.errors import InputError
from perception.sources.together import outcomes


@pytest.mark.parametrize("processors", [1, 3])
def test_each_item_has_its_outcome(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))

    def halved(number: int) -> int:
        if number % 2:
            raise InputError("number", "an even one", str(number))
        return number // 2

    found = outcomes(halved, [4, 5, 6, 8])
    assert [found[0], found[2], found[3]] == [2, 3, 4]
    assert isinstance(found[1], InputError)
    assert outcomes(halved, []) == []


def test_they_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    both = threading.Barrier(2, timeout=60)
    assert sorted(outcomes(lambda _: both.wait(), range(2))) == [0, 1]


def test_what_is_no_bad_input_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        outcomes(lambda number: 1 // number, [1, 0])
