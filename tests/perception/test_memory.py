"""Memory that is free between blocks in use is given back; in a process of its own, whose heap is new."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

GAPS = """
from perception.memory import give_back, resident
def now(): return resident()["VmRSS"]
blocks = [bytearray(100_000) for _ in range(1000)]
full = now()
del blocks[::2]
del blocks[10:-10]
before = now()
give_back()
print(full, before, now())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than GNU's")
def test_gaps_are_given_back():
    told = subprocess.run([sys.executable, "-c", GAPS], check=True, capture_output=True, text=True).stdout
    full, before, after = map(int, told.split())
    assert before > full - 20e6  # the last block holds all below it
    assert after < full - 80e6
