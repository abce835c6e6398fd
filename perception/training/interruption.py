"""Ctrl-C that waits for the step to end, so that what is kept is whole."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_KEY_S = 2.0  # torchrun hands Ctrl-C on to processes that have had it already


class Interruption:
    """Within the block, a first SIGINT or SIGTERM only sets `asked`; a later one interrupts at once."""

    def __init__(self) -> None:
        self.asked, self._asked_at = False, 0.0

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self._asked_at > SAME_KEY_S:
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, time.monotonic()
