"""The same computation with more threads, and on lesser processors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")
LESSER = ("baseline", "avx2", "avx512", "avx512_bf16")  # of BEVFUSE_ISA


def alone_and_with_four_threads(compute: Callable[[], Result]) -> tuple[Result, Result]:
    """What it gives with one thread, and with four."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compute()
        torch.set_num_threads(4)
        return alone, compute()
    finally:
        torch.set_num_threads(threads)


def run_as_if_on(isa: str, chosen: str, *files: str) -> subprocess.CompletedProcess[str]:
    """Those tests of the files in a process of their own that takes the processor to be no better."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files]
    return subprocess.run(command, env={**os.environ, "BEVFUSE_ISA": isa}, capture_output=True, text=True, check=False)
