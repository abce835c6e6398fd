"""Where a measurement was made: without it, times mean nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from perception.ops import native

CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = ("bevfuse", "torch", "numpy", "spconv-cu120", "mmdet3d", "nuscenes-devkit")  # those there are get listed


@dataclass(frozen=True)
class Machine:
    """The processor and its load when the measurement began, and the software."""

    processor: str
    instructions: str  # what torch takes of the processor's, such as AVX512
    cores: int  # that this process may use
    load: float  # processes that wanted a core in the last minute, on average
    system: str
    kernels: str  # "compiled" or "torch"
    versions: dict[str, str]

    @staticmethod
    def here() -> Machine:
        """This one."""
        return Machine(
            processor=_processor(),
            instructions=torch.backends.cpu.get_cpu_capability(),
            cores=len(os.sched_getaffinity(0)),
            load=round(os.getloadavg()[0], 2),
            system=f"{platform.system()} {platform.release()}",
            kernels="torch" if native.library() is None else "compiled",
            versions={"python": platform.python_version(), **_versions()},
        )

    def line(self) -> str:
        """For people."""
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return f"{self.processor} ({cores}, {self.instructions}), load {self.load:.1f}, {self.system}"


def _processor() -> str:
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Compute with this many threads while the block lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
