"""Ctrl-C that waits for the step to end, so that what is kept is whole."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """Within the block, a first SIGINT or SIGTERM (as torchrun sends) only sets `asked`; a second one interrupts."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
