"""Meters that listen to stages: one for whatever only grows (time, operations), one for memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perception.memory import give_back, resident

CLEAR_REFS = Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # Linux, proc(5): set the largest resident memory so far to the present one


@dataclass
class _Running:
    stage: str
    start: float
    inner: float = 0.0  # what stages within it took


class Counting:
    """Adds up, by stage, what a reading that only grows gained in it.

    What a stage within another took counts for the inner one alone; the outermost is the whole.
    """

    def __init__(self, reading: Callable[[], float]) -> None:
        self.gained: dict[str, float] = {}
        self._reading = reading
        self._running: list[_Running] = []

    def enter(self, stage: str) -> None:
        self._running.append(_Running(stage, self._reading()))

    def leave(self) -> None:
        stage = self._running.pop()
        whole = self._reading() - stage.start
        own = whole - stage.inner if self._running else whole
        self.gained[stage.stage] = self.gained.get(stage.stage, 0.0) + own
        if self._running:
            self._running[-1].inner += whole


@dataclass
class _Filling:
    stage: str
    before: int  # bytes
    peak: int = 0  # bytes


class Memory:
    """How far the process's resident memory rises in each stage above what it held before, and its peak [bytes].

    Stages begin with the allocator's free memory given back, so that what they take of it shows: time is measured in
    other passes.
    """

    def __init__(self) -> None:
        self.growth: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        self._filling: list[_Filling] = []

    def enter(self, stage: str) -> None:
        self._note_peak()
        give_back()
        CLEAR_REFS.write_text(FORGET_PEAK)
        self._filling.append(_Filling(stage, resident()["VmRSS"]))

    def leave(self) -> None:
        self._note_peak()
        stage = self._filling.pop()
        self.growth[stage.stage] = max(self.growth.get(stage.stage, 0), stage.peak - stage.before)
        self.peak[stage.stage] = max(self.peak.get(stage.stage, 0), stage.peak)

    def _note_peak(self) -> None:
        """Before the kernel is told to forget it; an inner stage's is also that of those around it."""
        peak = resident()["VmHWM"]
        for stage in self._filling:
            stage.peak = max(stage.peak, peak)


def peak_can_be_reset() -> bool:
    """Whether this system lets a process measure its memory stage by stage: Linux, mostly."""
    try:
        CLEAR_REFS.write_text(FORGET_PEAK)
    except OSError:
        return False
    return True
