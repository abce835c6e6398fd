"""What was measured: as tables for people, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibration.errors import InputError
from calibration.files import write_atomically
from perception.benchmark.comparing import Comparison
from perception.benchmark.machine import Machine
from perception.benchmark.roofline import Roofline
from perception.benchmark.run import Stage

FORMAT = "bevfuse-benchmark-1"
WIDTH = 120  # columns, where the output isn't a terminal that has its own


@dataclass(frozen=True)
class Report:
    """Everything about one run."""

    config: str
    weights: str
    frame: str  # what the detector looked at
    machine: Machine
    threads: int
    precision: str  # of the stages; comparisons name theirs
    warm_up: int  # passes
    roofline: Roofline
    stages: tuple[Stage, ...]  # the last is all of it
    comparisons: tuple[Comparison, ...] = ()

    @property
    def repeats(self) -> int:
        return len(self.stages[-1].seconds)

    @property
    def peak(self) -> float:
        """Operations a second in the stages' precision; fp32's where the processor lacks that."""
        peaks = self.roofline.operations_per_s
        return peaks.get(self.precision, peaks["fp32"])

    def data(self) -> dict[str, Any]:
        """For JSON: times in milliseconds, memory in bytes, operations as counted."""
        return {
            "format": FORMAT,
            "config": self.config,
            "weights": self.weights,
            "frame": self.frame,
            "machine": asdict(self.machine),
            "threads": self.threads,
            "precision": self.precision,
            "warm_up": self.warm_up,
            "repeats": self.repeats,
            "roofline": asdict(self.roofline),
            "stages": [_stage_data(stage, self.peak) for stage in self.stages],
            "comparisons": [_comparison_data(comparison) for comparison in self.comparisons],
        }

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all; InputError where that can't be done."""
        write_atomically(path, json.dumps(self.data(), indent=1, allow_nan=False) + "\n")

    def print(self, console: Console) -> None:
        """Print header and tables."""
        for line in self._header():
            console.print(Text(line), soft_wrap=True)
        console.print(_stage_table([stage for stage in self.stages if stage.ran], self.peak))
        idle = [stage.name for stage in self.stages if not stage.ran]
        if idle:
            console.print(Text(f"not run in any pass: {', '.join(idle)}"), soft_wrap=True)
        if self.comparisons:
            console.print(_comparison_table(self.comparisons))

    def _header(self) -> list[str]:
        machine = self.machine
        peaks = ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in self.roofline.operations_per_s.items())
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        return [
            f"{self.config} on {self.frame}; weights: {self.weights}",
            f"{self.precision}, {threads} on {machine.line()}",
            f"{versions}; kernels: {machine.kernels}",
            f"{self.repeats} repeats after {self.warm_up} passes to warm up",
            f"peaks measured here with {threads}: {peaks}, memory {self.roofline.bytes_per_s / 1e9:.1f} GB/s",
        ]


def require_place(path: Path) -> None:
    """InputError where no file can be written to, before anything takes long."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(str(path), "a file to write to, in a folder that exists", "another place")


def console_of(width: int = WIDTH) -> Console:
    """Standard output, wide enough for the tables where no person looks at it."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def _stage_data(stage: Stage, peak: float) -> dict[str, Any]:
    return {
        "name": stage.name,
        "median_ms": stage.median_s * 1e3,
        "p90_ms": stage.percentile_s(90) * 1e3,
        "p99_ms": stage.percentile_s(99) * 1e3,
        "memory_growth_bytes": stage.memory_growth,
        "memory_peak_bytes": stage.memory_peak,
        "operations": stage.operations,
        "operations_per_s": stage.operations_per_s,
        "share_of_peak": stage.operations_per_s / peak,
        "times_ms": [second * 1e3 for second in stage.seconds],
    }


def _comparison_data(comparison: Comparison) -> dict[str, Any]:
    return {
        "what": comparison.what,
        "peer": comparison.peer,
        "ours_ms": comparison.ours_median_s * 1e3,
        "theirs_ms": comparison.theirs_median_s * 1e3,
        "ratio": comparison.ratio,
        "relative_rms": comparison.difference,
        "note": comparison.note,
        "ours_times_ms": [second * 1e3 for second in comparison.ours_s],
        "theirs_times_ms": [second * 1e3 for second in comparison.theirs_s],
    }


def _stage_table(stages: Sequence[Stage], peak: float) -> Table:
    caption = "time and work of a stage are without the stages within it; of peak: of the peak in the stages' precision"
    table = Table(caption=caption, caption_justify="left")
    table.add_column("stage", no_wrap=True)
    for name in ("median ms", "p90", "p99", "share", "memory +MB", "peak MB", "GFLOP", "GFLOP/s", "of peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        if stage is stages[-1]:
            table.add_section()
        table.add_row(*_stage_cells(stage, stages[-1], peak))
    return table


def _stage_cells(stage: Stage, whole: Stage, peak: float) -> list[str]:
    times = [f"{seconds * 1e3:.1f}" for seconds in (stage.median_s, stage.percentile_s(90), stage.percentile_s(99))]
    share = f"{stage.median_s / whole.median_s:.1%}"
    memory = ["?" if size is None else f"{size / 1e6:.0f}" for size in (stage.memory_growth, stage.memory_peak)]
    arithmetic = ["", "", ""]
    if stage.operations:
        rate = stage.operations_per_s
        arithmetic = [f"{stage.operations / 1e9:.2f}", f"{rate / 1e9:.1f}", f"{rate / peak:.0%}"]
    return [stage.name, *times, share, *memory, *arithmetic]


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    caption = "medians of turns taken by one and the other, on one thread; ratio: how many times as long theirs takes"
    table = Table(caption=caption, caption_justify="left")
    for name in ("ours", "theirs"):
        table.add_column(name, no_wrap=True)
    for name in ("ours ms", "theirs ms", "ratio", "rel. RMS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in comparisons:
        apart = "" if c.difference is None else f"{c.difference:.1e}"
        times = (f"{c.ours_median_s * 1e3:.1f}", f"{c.theirs_median_s * 1e3:.1f}", f"{c.ratio:.1f}")
        table.add_row(c.what, c.peer, *times, apart, c.note)
    return table
