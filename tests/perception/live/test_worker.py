"""What the node does with frames that its detector can't bear."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from perception.live.node import FAILURES, Worker


class Core:
    """Hands out so many frames, and notes what becomes of them."""

    def __init__(self, frames: int) -> None:
        self.frames, self.left_out, self.finished = list(range(frames)), [], []
        self.latencies = SimpleNamespace(add=lambda times: None)
        self.end = threading.Event()

    def wait(self, seconds: float) -> bool:
        return True

    def take(self) -> Any:
        if not self.frames:
            self.end.set()
            return None
        return SimpleNamespace(detect=True, frame=self.frames.pop(0))

    def leave_out(self, work: Any, why: str) -> None:
        self.left_out.append((work.frame, why))

    def finish(self, work: Any, boxes: Any) -> None:
        self.finished.append(work.frame)


def work(core: Core, failing: set[int]) -> None:
    def detect(frame: int) -> list:
        if frame in failing:
            raise RuntimeError("no memory")
        return []

    Worker(core, detect, SimpleNamespace(), core.end).run()


def test_frames_that_fail_are_left_out_and_the_next_ones_detected() -> None:
    core = Core(9)
    work(core, {0, 1, 2, 3, 5, 6, 7})
    assert core.finished == [4, 8]
    assert core.left_out[0] == (0, "RuntimeError: no memory")
    assert [frame for frame, _ in core.left_out] == [0, 1, 2, 3, 5, 6, 7]


def test_a_detector_that_always_fails_ends_the_node() -> None:
    core = Core(20)
    with pytest.raises(RuntimeError, match="no memory"):
        work(core, set(range(20)))
    assert len(core.left_out) == FAILURES - 1
