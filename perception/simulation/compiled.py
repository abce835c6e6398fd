"""Numba's compiler, with a cache on disk that is dropped whenever any file of this package changes.

Numba's own cache looks at the file of the cached function only: an edit to a function it calls, or to a constant from
another file, would go unnoticed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def compiled(function: Callable) -> Callable:
    """The function, compiled when it is first called, or read from the cache.

    Without numba it stays as it is: then nothing may be called, and `raycast.require` says so before anything is.
    """
    if find_spec("numba") is None:
        return function
    from numba import config, njit

    before, config.CACHE_DIR = config.CACHE_DIR, _folder()
    try:
        return njit(function, cache=True, error_model="numpy")  # no check of every division
    finally:
        config.CACHE_DIR = before


@cache
def _folder() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = home / "bevfuse" / f"simulation-{version}"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that can't be written to: compile once a session
        place = Path(tempfile.gettempdir()) / f"bevfuse-{os.getuid()}-simulation-{version}"
    return str(place)
