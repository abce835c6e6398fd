"""Make a native checkpoint of a public one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import InputError
from perception.command import run


def main(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="BEVFusion of mmdetection3d or mit-han-lab (.pth).")],
    out: Annotated[Path, typer.Option(help="File to write (.safetensors).")],
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration (.yaml) it was made for. Else the one in configs/ that fits best."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what fits even if something is missing, unexpected or misshapen.")
    ] = False,
) -> None:
    """Make a native checkpoint of a public one, and report what was found in it.

    Example: python tools/import_checkpoint.py bevfusion-det.pth --out bevfusion.safetensors

    Nothing in the file is run. Where a tensor is missing, unexpected or of the wrong shape, no file is written.
    With --partial one is, of all that fits: it isn't filled up, and a detector refuses it, naming what is missing.
    """
    from perception.checkpoints.importer import import_checkpoint
    from perception.checkpoints.report import report

    if out.resolve() == source.resolve():
        raise InputError(f"--out {out}", "another file than the checkpoint itself", "the same", "choose another name")
    configs = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml")) if config is None else [config]
    imported = import_checkpoint(source, configs)
    print(report(imported))
    imported.save(out, partial)
    print(f"written{'' if imported.comparison.complete else ', incomplete'}: {out}")


if __name__ == "__main__":
    run(main)
