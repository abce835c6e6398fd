"""The node's memory: one heap for all of its threads."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # GNU's malloc.h


def use_one_heap() -> bool:
    """Let all threads take memory from the same heap, where the C library can be told so: the GNU one. True if it was.

    Messages are taken in by one thread and let go by another. With a heap for each thread, each is as large as it ever
    had to be, and what the one has free the other lacks; a node that runs for days would seem to leak.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_ARENA_MAX, 1) == 1
