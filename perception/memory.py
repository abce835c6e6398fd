"""What a process holds of memory, and giving back what it doesn't need."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def resident(status: Path = STATUS) -> dict[str, int]:
    """A process's resident memory now (VmRSS) and at most (VmHWM) [bytes], this one's unless it is another's file."""
    rows = (line.split() for line in status.read_text().splitlines() if line.startswith(("VmRSS", "VmHWM")))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def give_back() -> None:
    """Give memory that is free back to the system, where the C library can: the GNU one.

    It keeps what was freed between two blocks in use, and where large blocks of ever other sizes come and go, their
    gaps add up.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
