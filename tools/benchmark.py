"""Measure a detector on this machine: time, memory and arithmetic, stage by stage, and beside others."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from perception.command import Precision, PrecisionOption, run, with_progress


class Peer(str, Enum):
    """Who to compare with."""

    spconv = "spconv"
    reference = "reference"
    devkit = "devkit"


class Device(str, Enum):
    """Where to compute; GPUs aren't measured yet."""

    cpu = "cpu"


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) of the detector.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[INPUT]",
            help="nuScenes root, or mmdetection3d info file (.pkl): of its first frames the fullest. Else made-up.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights (.safetensors). Else the package's for this configuration, else random ones."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-mini.")] = None,
    sample: Annotated[
        str | None, typer.Option(help="nuScenes sample token. Else the first, often of one sweep.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Else as many as torch takes.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Passes that are timed.")] = 20,
    precision: PrecisionOption = Precision.fp32,
    json: Annotated[Path | None, typer.Option(help="File to write everything to.")] = None,
    compare: Annotated[
        Peer | None,
        typer.Option(help="Compare with spconv's CPU kernels, mmdetection3d's modules, or the nuScenes devkit."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.cpu,
) -> None:
    """Measure a detector on this machine: time, memory and arithmetic, stage by stage, and beside others.

    Example: python tools/benchmark.py configs/sim_fusion.yaml --threads 1 --json benchmark.json

    python tools/benchmark.py configs/bevfusion_lidar_camera.yaml --compare spconv --repeats 5
    """
    from perception.benchmark.command import Request, benchmark
    from perception.benchmark.report import console_of, require_place

    if json is not None:
        require_place(json)
    peer = compare.value if compare is not None else None
    request = Request(config, data, version, sample, checkpoint, threads, repeats, precision.value, peer)
    report = benchmark(request, with_progress)
    report.print(console_of())
    if json is not None:
        report.write(json)


if __name__ == "__main__":
    run(main)
