"""Train a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import run, say, with_progress


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml), see its section `training`.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Stand for what the file says.")
    ] = None,
    data: Annotated[list[Path], typer.Option(help="nuScenes root; again for more to learn from.")] = ...,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = ...,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Scenes to train on. Else the version's one training split.")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="Weights (.safetensors) to start from, as far as they fit; again for more."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without sensors that are missing.")
    ] = False,
) -> None:
    """Train a detector; the weights that perception.detector loads are in OUT/weights.safetensors.

    Example: python tools/train.py configs/bevfusion_lidar.yaml --data /data/nuscenes --version v1.0-trainval
    --out runs/lidar --device cuda training.epochs=10

    On several GPUs: torchrun --nproc-per-node 8 tools/train.py ... A run that was interrupted goes on where it stopped
    if started again with the same arguments. tensorboard --logdir OUT shows the losses.
    """
    from perception.config import load_config

    settings = load_config(config, overrides or ())
    from perception.training.command import train_on_nuscenes

    path = train_on_nuscenes(
        settings,
        data,
        out,
        version=version,
        split=split,
        weights=weights or (),
        device=device,
        allow_missing=allow_missing,
        progress=with_progress,
        say=say,
    )
    if path is not None:
        print(f"trained: {path}")


if __name__ == "__main__":
    run(main)
