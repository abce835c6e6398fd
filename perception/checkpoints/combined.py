"""Two detectors' weights as one detector's that fuses their boxes: no training is needed.

    python -m perception.checkpoints.combined configs/sim_fusion_maps.yaml 'late={name: boxes}' fuser=null \
        --weights runs/camera/weights.safetensors --weights runs/lidar/weights.safetensors --out runs/late

writes OUT/config.yaml and OUT/weights.safetensors, for tools/detect.py and the like.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import InputError
from calibration.files import write_atomically
from perception.command import run

if TYPE_CHECKING:
    from perception.config import DetectorConfig


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) of a detector with both sensors.")],
    weights: Annotated[list[Path], typer.Option(help="Native checkpoints; later ones over earlier ones.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, instead of what it says.")] = None,
) -> None:
    """Put the weights of detectors together that a detector has as its parts. Refiners without weights are left out.

    Example: python -m perception.checkpoints.combined configs/sim_fusion_maps.yaml 'late={name: boxes}' fuser=null
    --weights runs/camera/weights.safetensors --weights runs/lidar/weights.safetensors --out runs/late
    """
    from perception.config import load_config

    print(f"combined: {combine(load_config(config, overrides or ()), weights, out)[1]}")


def combine(settings: DetectorConfig, weights: Sequence[Path], out: Path) -> tuple[Path, Path]:
    """Write OUT/config.yaml and OUT/weights.safetensors, and return them; InputError where tensors are lacking.

    Refiners that none of the weights has are left out: they learn from what the detector finds, see
    tools/train_refiner.py.
    """
    from perception.checkpoints.native import read_weights, save_weights
    from perception.config import config_text
    from perception.model.network import Network
    from perception.training.trainee import refiner_of, start_from

    given = [read_weights(path) for path in weights]
    names = {refiner_of(name) for tensors in given for name in tensors}
    settings = settings.model_copy(update={"refiners": tuple(one for one in settings.refiners if one.name in names)})
    network = Network(settings)
    loaded, needed = start_from(network, given), len(network.state_dict())
    if loaded < needed:
        got, fix = f"{loaded} of them", "train what is new, or take the sections that the weights were made with"
        raise InputError(" and ".join(map(str, weights)), f"all {needed} tensors of the detector", got, fix)
    out.mkdir(parents=True, exist_ok=True)
    save_weights(out / "weights.safetensors", network.state_dict(), {"combined": ", ".join(map(str, weights))})
    write_atomically(out / "config.yaml", config_text(settings))
    return out / "config.yaml", out / "weights.safetensors"


if __name__ == "__main__":
    run(main)
