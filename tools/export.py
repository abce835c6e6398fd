"""Write the dense parts of a detector as ONNX files, checked against torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import run, say


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) the checkpoint was made for.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights (.safetensors). Else those in the package for this configuration.")
    ] = None,
) -> None:
    """Write the dense parts of a detector as ONNX files, checked against torch.

    OUT/bev.onnx: BEV maps to the head's outputs. With cameras, OUT/images.onnx: images to features. Where they have a
    head of their own, OUT/camera_bev.onnx: the same of their map alone. With the refiner `appearance`,
    OUT/appearance.onnx: views of boxes to kind, facing (two logits, to be added) and place.

    Example: python tools/export.py configs/sim_fusion.yaml --out exported
    """
    from perception.detector import load_detector
    from perception.export import export

    for exported in export(load_detector(config, checkpoint), out, say):
        print(exported.path)


if __name__ == "__main__":
    run(main)
