"""What came on a topic, and what of it was of no use."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_NS = 2_000_000_000  # over which rates are told
TELL_EVERY_NS = 5_000_000_000  # about a topic


@dataclass
class Tally:
    """Counts of one topic."""

    received: int = 0
    left_out: int = 0
    last_error: str = ""
    _arrivals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=400))
    _told_ns: int | None = None

    def count(self, now_ns: int) -> None:
        """A message came."""
        self.received += 1
        while self._arrivals_ns and not 0 <= now_ns - self._arrivals_ns[0] <= WINDOW_NS:
            self._arrivals_ns.popleft()
        self._arrivals_ns.append(now_ns)

    def leave_out(self, error: str, now_ns: int) -> bool:
        """One was of no use -> whether it is time to tell."""
        self.left_out += 1
        self.last_error = error
        if self._told_ns is not None and 0 <= now_ns - self._told_ns < TELL_EVERY_NS:
            return False
        self._told_ns = now_ns
        return True

    def rate_hz(self, now_ns: int) -> float:
        """Messages a second, over the last two; of a copy, for another thread may count."""
        recent = [time_ns for time_ns in list(self._arrivals_ns) if 0 <= now_ns - time_ns <= WINDOW_NS]
        return len(recent) / (WINDOW_NS / 1e9)

    def age_ms(self, now_ns: int) -> float | None:
        """Since the last one came."""
        return (now_ns - self._arrivals_ns[-1]) / 1e6 if self._arrivals_ns else None
