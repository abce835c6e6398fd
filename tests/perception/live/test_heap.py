"""Threads share one heap once they are told to; asked of the C library, in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

HEAPS = """
import ctypes, sys, threading
from perception.live.heap import use_one_heap
libc = ctypes.CDLL(None)
if "one" in sys.argv:
    assert use_one_heap()
libc.malloc.restype = ctypes.c_void_p
ready = threading.Barrier(4)
def take():
    ready.wait()
    for _ in range(1000):
        libc.malloc(1000)
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
assert libc.malloc_info(0, file) == 0
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than GNU's")
def test_threads_take_from_one_heap(tmp_path):
    heaps = {}
    for how in ("each", "one"):
        file = tmp_path / how
        subprocess.run([sys.executable, "-c", HEAPS, file, how], check=True)
        heaps[how] = file.read_text().count("<heap nr=")
    assert heaps["each"] > 1
    assert heaps["one"] == 1
