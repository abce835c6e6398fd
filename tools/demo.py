"""Simulate a small city, detect in it with the three detectors that come with the project, and score them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import run, say, with_progress

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out/demo"),
    scenes: Annotated[int, typer.Option(min=1, help="How many drives.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds are other drives; 1 is what was trained on.")] = 2025,
    seconds: Annotated[float, typer.Option(help="Length of a drive; two frames a second.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, help="Drives simulated side by side.")] = 2,
) -> None:
    """Simulate a small city, detect in it with the three detectors that come with the project, and score them.

    Example: python tools/demo.py --out out/demo

    An interrupted run goes on where it stopped if started again with the same arguments.
    """
    from perception.demo.page import speeds, text_table
    from perception.demo.run import contenders, run_demo
    from perception.simulation.scene import Settings

    settings = Settings(seed, seconds=seconds)
    outcomes = run_demo(out, contenders(CONFIGS), scenes, settings, workers, with_progress, say)
    print(text_table(outcomes))
    print(speeds(outcomes))
    print(out / "report.html")


if __name__ == "__main__":
    run(main)
