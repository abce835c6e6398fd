"""Ways to fuse, trained alike, scored alike, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import run, say, with_progress


def main(
    methods: Annotated[Path, typer.Argument(help="What is compared (.yaml), such as configs/comparisons/fusion.yaml.")],
    data: Annotated[Path, typer.Option(help="nuScenes root.")],
    split: Annotated[str, typer.Option(help="Split to score on.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Split to train on. Else the version's one.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this method, by name; again for more.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score only so many samples, spread evenly.")] = None,
    suite: Annotated[
        str, typer.Option(help="Severities, with commas between, of the whole robustness suite too: for mRA.")
    ] = "",
    document: Annotated[Path | None, typer.Option(help="Markdown file whose marked part gets the table.")] = None,
) -> None:
    """Train and score every method under the same conditions: comparison.json, table.md and comparison.png.

    Example: python tools/compare.py configs/comparisons/fusion.yaml --data data/sim --version v1.0-sim --split sim_val
    --out runs/fusion --document docs/fusion.md

    What is trained or scored is kept in OUT and taken up again: Ctrl-C loses nothing, and a second run only writes.
    """
    from perception.comparison.methods import chosen, read_methods

    read = read_methods(methods)
    selected = chosen(read, tuple(only or ()))
    from calibration.errors import InputError
    from calibration.files import write_atomically
    from perception.comparison.picture import draw
    from perception.comparison.run import Place, compare, spread, suite_of
    from perception.comparison.table import around, markdown, put_into
    from perception.evaluation.truth import Subset, load_truth
    from perception.outputs.pictures import write_png

    if document is not None:
        around(document)  # said now rather than hours later
    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a folder to write to", "a file")
    truth = load_truth(data, version, split)
    if limit is not None:
        truth = load_truth(data, version, split, Subset(spread(truth.tokens, limit), (), None))
    out.mkdir(parents=True, exist_ok=True)
    place = Place(data, version, train_split, truth, out, methods.parent, suite_of(suite))
    rows = compare(read, selected, place, with_progress, say)
    table = markdown(rows)
    write_atomically(out / "table.md", table + "\n")
    write_png(out / "comparison.png", draw(rows))
    if document is not None:
        put_into(document, table)
    print(table)
    print(out / "comparison.png")


if __name__ == "__main__":
    run(main)
