"""How much of a detector's score is left in bad weather, in bad light and with broken sensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception.command import Precision, PrecisionOption, run, say, with_progress


def main(
    data: Annotated[Path, typer.Option(help="nuScenes root.")],
    split: Annotated[str, typer.Option(help="Split: an official one, or one of VERSION/splits.json.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    config: Annotated[Path | None, typer.Argument(help="Configuration (.yaml) of the detector.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights (.safetensors). Else the package's.")] = None,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    corruptions: Annotated[str, typer.Option(help="Only these, with commas between. Else all.")] = "",
    severities: Annotated[str, typer.Option(help="Only these, with commas between.")] = "1,2,3",
    seed: Annotated[int, typer.Option(help="The same seed draws the same corruptions.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first samples.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="robustness.json of another detector, to compare with: RRA and CE.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: PrecisionOption = Precision.fp32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and corrupt frames ahead.")] = 0,
    look: Annotated[
        bool, typer.Option("--look", help="Only draw a frame of the split under every corruption: no detector.")
    ] = False,
    sample: Annotated[str | None, typer.Option(help="Token of the sample to draw. Else one in the middle.")] = None,
) -> None:
    """Score a detector under every corruption: robustness.json, heatmap.png and report.html.

    Examples: python tools/robustness.py configs/sim_fusion.yaml --data data/sim --version v1.0-sim --split sim_val
    --out robustness

    python tools/robustness.py --look --data data/sim --version v1.0-sim --split sim_val --out pictures

    An interrupted run goes on where it stopped if started again with the same arguments; scores of each corruption and
    severity are kept in OUT/conditions and taken up, for other choices of corruptions too.
    """
    from calibration.errors import InputError
    from perception.evaluation.truth import Subset, load_truth
    from perception.robustness import corruption_names

    if (config is None) != look:
        expected = "CONFIG of a detector, or --look without one"
        raise InputError("what to do", expected, "both" if look else "neither")
    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a folder to write to", "a file")
    names = _chosen(corruptions, corruption_names())
    levels = _levels(severities)
    truth = load_truth(data, version, split, Subset((sample,) if sample else (), (), limit))

    if look:
        from perception.robustness.pictures import draw_all

        for path in with_progress(draw_all(truth, names, seed, out), len(names), "drawing"):
            print(path)
        return

    from perception.checkpoints.shipped import checkpoint_of
    from perception.robustness.page import write_outputs
    from perception.robustness.run import Settings, evaluate_robustness, read_baseline
    from perception.robustness.summary import check_severities, table

    beside = None
    if baseline is not None:
        beside = read_baseline(baseline)
        check_severities(levels, beside)
    weights = checkpoint_of(config, checkpoint, say)
    settings = Settings(config, weights, names, levels, seed, device, precision.value, workers)
    summary = evaluate_robustness(settings, truth, out, with_progress, say, beside)
    write_outputs(summary, truth, out)
    print(table(summary))
    print(out / "report.html")


def _chosen(text: str, known: list[str]) -> tuple[str, ...]:
    from perception.robustness import corruption

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        corruption(name)
    return tuple(dict.fromkeys(names)) or tuple(known)


def _levels(text: str) -> tuple[int, ...]:
    from calibration.errors import InputError
    from perception.robustness import severities_of

    levels = severities_of(text, "--severities")
    if not levels:
        raise InputError("--severities", "some of 1,2,3", repr(text))
    return levels


if __name__ == "__main__":
    run(main)
