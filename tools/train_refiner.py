"""Train one of a detector's refiners."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import run, say, with_progress


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) with a section `refiners`.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the training, such as epochs=3."),
    ] = None,
    checkpoint: Annotated[
        Path, typer.Option(help="Weights (.safetensors) of the detector, and of refiners before this one.")
    ] = ...,
    refiner: Annotated[str | None, typer.Option(help="Which, where there are several.")] = None,
    data: Annotated[list[Path], typer.Option(help="nuScenes root; again for more to learn from.")] = ...,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = ...,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Scenes to train on. Else the version's one training split.")
    ] = None,
) -> None:
    """Train what looks at found boxes once more; OUT/weights.safetensors is then the checkpoint with that refiner.

    Example: python tools/train_refiner.py configs/sim_fusion.yaml --checkpoint runs/both/weights.safetensors
    --refiner motion --data data/sim --version v1.0-sim --out runs/motion

    A run that was interrupted goes on where it stopped if started again with the same arguments.
    """
    from perception.config import load_config

    settings = load_config(config)
    from perception.refining.command import chosen_refiner, train_refiner_on_nuscenes, training_settings

    name = chosen_refiner(settings, refiner)
    path = train_refiner_on_nuscenes(
        settings,
        name,
        checkpoint,
        data,
        out,
        version=version,
        split=split,
        settings=training_settings(name, overrides or ()),
        progress=with_progress,
        say=say,
    )
    print(f"trained: {path}")


if __name__ == "__main__":
    run(main)
