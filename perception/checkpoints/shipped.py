"""The weights that come with the package: those made for configs/NAME.yaml are perception/weights/NAME.safetensors.

    python -m perception.checkpoints.shipped configs/sim_lidar.yaml runs/lidar/weights.safetensors \
        --metrics scores/lidar/metrics.json --made-by "python tools/train.py configs/sim_lidar.yaml ..."

puts trained weights there, with what made them and what they reach written beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors import safe_open
from torch import Tensor

from calibration.errors import InputError
from calibration.files import is_file
from perception.checkpoints.native import load_weights, read_weights, save_weights
from perception.command import run
from perception.config import load_config

FOLDER = Path(__file__).resolve().parents[1] / "weights"
SUFFIX = ".safetensors"


def shipped_names() -> list[str]:
    """Configurations that have weights in the package."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def checkpoint_of(
    config: str | Path,
    given: str | Path | None = None,
    say: Callable[[str], None] = lambda remark: None,  # gets the file that was chosen, if none was given
) -> Path:
    """The checkpoint that is given, or the one in the package for a configuration of this name.

    Raises InputError where there is neither, and first for a configuration that can't be used.
    """
    if given is not None:
        return Path(given)
    load_config(config)  # of two mistakes, that it isn't there is the one to tell
    path = FOLDER / f"{Path(config).stem}{SUFFIX}"
    if not path.is_file():
        expected = f"weights: --checkpoint, or a configuration that has some in the package ({_listed()})"
        raise InputError(str(config), expected, "neither", "give --checkpoint")
    say(f"weights: {path}")
    return path


def about(path: Path) -> dict[str, str]:
    """What was written beside the weights: how they were made, and what they reach."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and matrices in half precision; vectors as they are, for norms' variances would leave its range.

    Raises InputError for a number too large for it.
    """
    short = {name: w.half() if w.is_floating_point() and w.dim() > 1 else w for name, w in weights.items()}
    for name, tensor in short.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                name, "finite numbers below 65504", "larger ones, or none", "ship these in single precision"
            )
    return short


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) the weights were made for.")],
    weights: Annotated[Path, typer.Argument(help="Trained weights (.safetensors).")],
    metrics: Annotated[Path, typer.Option(help="metrics.json of tools/evaluate.py: what they reach.")],
    made_by: Annotated[str, typer.Option(help="The command that made them.")],
) -> None:
    """Put trained weights into the package, in half precision.

    Example: python -m perception.checkpoints.shipped configs/sim_lidar.yaml runs/lidar/weights.safetensors
    --metrics scores/lidar/metrics.json --made-by "python tools/train.py configs/sim_lidar.yaml ..."
    """
    from perception.model.network import Network

    if not is_file(metrics):
        raise InputError(str(metrics), "the metrics.json of an evaluation", "no such file")
    scores = json.loads(metrics.read_text(encoding="utf-8"))
    load_weights(Network(load_config(config)), weights)  # they must fit
    facts = {"made_by": made_by, "mAP": f"{scores['mean_ap']:.4f}", "NDS": f"{scores['nd_score']:.4f}"}
    path = FOLDER / f"{config.stem}{SUFFIX}"
    save_weights(path, halved(read_weights(weights)), about(weights) | facts)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _listed() -> str:
    return ", ".join(shipped_names()) or "none has"


if __name__ == "__main__":
    run(main)
