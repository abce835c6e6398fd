"""Simulate a city in nuScenes format: drives with six cameras and a LiDAR, annotated, to train and to measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import InputError
from calibration.spelling import counted
from perception.command import INTERRUPTED, run, say, with_progress


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write the dataset to.")],
    scenes: Annotated[int, typer.Option(help="How many drives.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")],
    split_ratio: Annotated[float, typer.Option(help="Share of the scenes in sim_train; the rest is sim_val.")] = 0.8,
    image_size: Annotated[str, typer.Option(metavar="WxH", help="Pixels of an image.")] = "800x450",
    seconds: Annotated[float, typer.Option(help="Length of a drive; two keyframes a second.")] = 9.0,
    camera_sweeps: Annotated[
        bool, typer.Option("--camera-sweeps", help="Images between keyframes too, at 12 Hz.")
    ] = False,
    rare: Annotated[
        float, typer.Option(help="Times as many machines, trailers and cycles: to train with, not to measure.")
    ] = 1.0,
    workers: Annotated[int, typer.Option(help="Scenes made side by side.")] = 1,
) -> None:
    """Simulate a city in nuScenes format, version v1.0-sim, with splits sim_train and sim_val.

    Example: python tools/simulate.py data/sim --scenes 50 --seed 1 --workers 2

    A run that was interrupted goes on with the scene where it stopped if started again with the same arguments.
    """
    from perception.simulation.dataset import simulate
    from perception.simulation.scene import Settings

    settings = Settings(seed, _size(image_size), seconds, camera_sweeps, rare)
    try:
        made = simulate(
            out,
            settings,
            scenes,
            split_ratio,
            workers,
            lambda numbers, total: with_progress(numbers, total, "simulating"),
        )
    except KeyboardInterrupt:
        say(f"interrupted; give the same command again to go on with the scenes that {out} lacks")
        raise typer.Exit(INTERRUPTED) from None
    print(f"{counted(scenes, 'scene')}, {made} of them new: {out / 'v1.0-sim'}")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise InputError("--image-size", "WIDTHxHEIGHT in pixels, such as 800x450", repr(text))
    return int(width), int(height)


if __name__ == "__main__":
    run(main)
