"""Measure a detector, stage by stage: warm up, count memory and operations, then time pass after pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from perception.benchmark.meters import Counting, Memory, peak_can_be_reset
from perception.benchmark.operations import counting
from perception.benchmark.stages import DECODE, WHOLE, Meter, calls_of, entered, listening
from perception.detector import Detector
from perception.types import Frame

WARM_UP = 2  # passes that nobody measures: caches, and what torch prepares at first
Progress = Callable[[Iterable[int], int], Iterable[int]]  # gets the passes and their number


@dataclass(frozen=True)
class Stage:
    """What a stage takes, without the stages within it."""

    name: str
    seconds: tuple[float, ...]  # of each repeat
    memory_growth: int | None  # bytes above what the process held before; None where the system doesn't tell
    memory_peak: int | None  # bytes the process held at most
    operations: int

    @property
    def ran(self) -> bool:
        """Whether it ran at all: cameras that stand in for the LiDAR have nothing to do where there are points."""
        return any(self.seconds)

    @property
    def median_s(self) -> float:
        return self.percentile_s(50)

    def percentile_s(self, percent: float) -> float:
        return float(np.percentile(self.seconds, percent))

    @property
    def operations_per_s(self) -> float:
        return self.operations / self.median_s if self.operations else 0.0


@dataclass(frozen=True)
class Subject:
    """A detector, and where its frames come from."""

    detector: Detector
    read: Callable[[], Frame]  # the same frame each time
    decodes: bool  # whether `read` reads files, which is then a stage

    def stage_names(self) -> list[str]:
        """In the order in which they come, the whole last."""
        calls = [call.stage for call in calls_of(self.detector)]
        return [*([DECODE] if self.decodes else []), *calls, WHOLE]

    def detect(self, meter: Meter) -> None:
        """One pass, from files or else from a frame to boxes."""
        frame = None if self.decodes else self.read()
        with listening(calls_of(self.detector), meter), entered(meter, WHOLE):
            if frame is None:
                with entered(meter, DECODE):
                    frame = self.read()
            self.detector(frame)


def measure_stages(subject: Subject, repeats: int, progress: Progress) -> list[Stage]:
    """Every stage of the subject, and all of it as the last."""
    passes = iter(progress(range(WARM_UP + 2 + repeats), WARM_UP + 2 + repeats))
    for _ in islice(passes, WARM_UP):
        _seconds(subject)
    next(passes)
    memory = _memory(subject)
    next(passes)
    operations = _operations(subject)
    seconds = [_seconds(subject) for _ in passes]
    return [
        Stage(
            name,
            tuple(once.get(name, 0.0) for once in seconds),  # a part may have nothing to do: no image, no point
            *((growths.get(name, 0) for growths in (memory.growth, memory.peak)) if memory else (None, None)),
            operations=int(operations.get(name, 0)),
        )
        for name in subject.stage_names()
    ]


def _seconds(subject: Subject) -> dict[str, float]:
    stopwatch = Counting(time.perf_counter)
    subject.detect(stopwatch)
    return stopwatch.gained


def _memory(subject: Subject) -> Memory | None:
    if not peak_can_be_reset():
        return None
    memory = Memory()
    subject.detect(memory)
    return memory


def _operations(subject: Subject) -> dict[str, float]:
    with torch.inference_mode(), counting() as operations:
        counter = Counting(operations)
        subject.detect(counter)
    return counter.gained
