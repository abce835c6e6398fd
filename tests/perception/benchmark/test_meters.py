"""Meters: what a stage within another takes isn't counted twice, and memory is what a stage really took."""

from __future__ import annotations

import numpy as np
import pytest

from perception.benchmark.meters import Counting, Memory, peak_can_be_reset
from perception.benchmark.stages import Call, entered, listening, replaced

MB = 2**20
tells_memory = pytest.mark.skipif(not peak_can_be_reset(), reason="this system doesn't tell memory by stage")


def test_a_stage_within_another_counts_for_itself_alone_and_the_outermost_is_all() -> None:
    readings = iter([0, 10, 11, 14, 20, 27])
    meter = Counting(lambda: next(readings))
    with entered(meter, "all"), entered(meter, "outer"), entered(meter, "inner"):
        pass
    assert meter.gained == {"inner": 14 - 11, "outer": (20 - 10) - (14 - 11), "all": 27}


def test_a_stage_that_comes_twice_is_added_up() -> None:
    readings = iter([0, 1, 3, 4, 9, 10])
    meter = Counting(lambda: next(readings))
    with entered(meter, "all"):
        for _ in range(2):
            with entered(meter, "again"):
                pass
    assert meter.gained == {"again": 2 + 5, "all": 10}


@tells_memory
def test_memory_that_was_given_back_shows_in_its_stage_and_in_those_around_it() -> None:
    memory = Memory()
    with entered(memory, "outer"):
        with entered(memory, "hungry"):
            np.ones(64 * MB, np.uint8)
        with entered(memory, "frugal"):
            np.ones(MB, np.uint8)
    assert 60 * MB < memory.growth["hungry"] < 80 * MB
    assert memory.growth["frugal"] < 20 * MB
    assert memory.growth["outer"] >= memory.growth["hungry"]
    assert memory.peak["outer"] >= memory.peak["hungry"]


class Thing:
    """Has a method to listen to."""

    def work(self, number: int, twice: bool = False) -> int:
        if number < 0:
            raise ValueError("negative")
        return number * (2 if twice else 1)


def test_listening_changes_no_result_and_ends_with_its_block() -> None:
    thing, meter = Thing(), Counting(lambda: 0.0)
    with listening([Call("work", thing, "work")], meter):
        assert thing.work(3, twice=True) == 6
    thing.work(3)
    assert list(meter.gained) == ["work"]
    assert vars(thing) == {}


def test_listening_ends_where_the_work_fails() -> None:
    thing, meter = Thing(), Counting(lambda: 0.0)
    with pytest.raises(ValueError, match="negative"), listening([Call("work", thing, "work")], meter):
        thing.work(-1)
    assert list(meter.gained) == ["work"]
    assert vars(thing) == {}


def test_an_objects_own_attribute_comes_back() -> None:
    thing = Thing()
    thing.own = 1
    with replaced(thing, "own", 2):
        assert thing.own == 2
    assert thing.own == 1
