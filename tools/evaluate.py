"""Score detections on a nuScenes split: the official metrics, slices of them, and a report."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from perception.command import Precision, PrecisionOption, run, say, with_progress


class Scorer(str, Enum):
    """Whose code scores."""

    ours = "ours"
    devkit = "devkit"


def main(
    data: Annotated[Path, typer.Option(help="nuScenes root.")],
    split: Annotated[str, typer.Option(help="Split: an official one, or one of VERSION/splits.json.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    config: Annotated[Path | None, typer.Argument(help="Configuration (.yaml) of the detector to evaluate.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights (.safetensors). Else the package's.")] = None,
    results: Annotated[Path | None, typer.Option(help="Submission (.json) to score, instead of detecting.")] = None,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    scorer: Annotated[Scorer, typer.Option(help="Our own scorer, or the official development kit's.")] = Scorer.ours,
    sample: Annotated[list[str] | None, typer.Option(help="Only this sample token; again for more.")] = None,
    scene: Annotated[
        list[str] | None, typer.Option("--scene", "--scenes", help="Only this scene, by name; again for more.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first samples.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: PrecisionOption = Precision.fp32,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without sensors that are missing.")
    ] = False,
    pictures: Annotated[int, typer.Option(min=0, help="Pictures of the worst misses, and of false alarms.")] = 8,
) -> None:
    """Score detections on a nuScenes split: metrics.json, slices, curves and report.html.

    Examples: python tools/evaluate.py configs/bevfusion_lidar.yaml --checkpoint bevfusion.safetensors
    --data /data/nuscenes --version v1.0-trainval --split val --out scores

    python tools/evaluate.py --results results_nusc.json --data /data/nuscenes --version v1.0-trainval --split val
    --out scores

    An interrupted run goes on where it stopped if started again with the same arguments, and finished detections are
    taken up. Under torchrun the processes share the samples.
    """
    from calibration.errors import InputError
    from perception.evaluation.process import Process
    from perception.evaluation.run import evaluate_results
    from perception.evaluation.truth import Subset, load_truth

    if (results is None) == (config is None) or (results is not None and checkpoint is not None):
        got = ", ".join(name for name, value in _given(config, checkpoint, results) if value) or "none of them"
        raise InputError("what to evaluate", "CONFIG, with a --checkpoint or without, or --results", got)
    if out.exists() and not out.is_dir():
        raise InputError(str(out), "a folder to write to", "a file")
    process = Process.from_environment()
    truth = load_truth(data, version, split, Subset(tuple(sample or ()), tuple(scene or ()), limit))
    if results is None:
        from perception.checkpoints.shipped import checkpoint_of
        from perception.evaluation.detecting import Settings, detect_split

        settings = Settings(config, checkpoint_of(config, checkpoint, say), device, precision.value, allow_missing)
        results = detect_split(
            settings, truth, out, process, lambda frames, total: with_progress(frames, total, "detecting"), say
        )
    if process.rank:  # the first process scores
        return
    scores = evaluate_results(results, truth, out, official=scorer is Scorer.devkit, pictures=pictures, say=say)
    print(scores.table())
    print(out / "report.html")


def _given(config: Path | None, checkpoint: Path | None, results: Path | None) -> list[tuple[str, Path | None]]:
    return [("CONFIG", config), ("--checkpoint", checkpoint), ("--results", results)]


if __name__ == "__main__":
    run(main)
