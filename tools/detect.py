"""Detect objects in recorded data: boxes.json, a nuScenes submission, and a picture of every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import InputError
from calibration.spelling import counted
from perception.command import Precision, PrecisionOption, run, say, with_progress


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) the checkpoint was made for.")],
    data: Annotated[Path, typer.Argument(metavar="INPUT", help="nuScenes root, info file (.pkl), or rosbag2.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights (.safetensors). Else those in the package for this configuration.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-mini.")] = None,
    rig: Annotated[Path | None, typer.Option(help="Rig file (.yaml) of a rosbag2: see configs/rigs/.")] = None,
    sample: Annotated[list[str] | None, typer.Option(help="nuScenes sample token; again for more. Else all.")] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out what scores less. Else all, in pictures 0.25.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: PrecisionOption = Precision.fp32,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without sensors that are missing.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw a picture a frame.")] = True,
) -> None:
    """Detect objects in recorded data: boxes.json, a nuScenes submission, and a picture of every frame.

    Example: python tools/detect.py configs/bevfusion_lidar_camera.yaml /data/nuscenes --version v1.0-mini
    --checkpoint bevfusion.safetensors --out detections

    A run that was interrupted goes on where it stopped if started again with the same arguments.
    """
    from perception.checkpoints.shipped import checkpoint_of
    from perception.detector import load_detector
    from perception.offline import OutputOptions, detect_to_folder, frame_options_of, identity_of
    from perception.sources import guess_source, open_source

    source_name = guess_source(data)
    settings = {"nuscenes": {"version": version, "tokens": sample or None}, "bag": {"rig": rig}}.get(source_name, {})
    if source_name != "nuscenes" and (version or sample):
        raise InputError("--version and --sample", "a nuScenes root to choose from", str(data))
    if (source_name == "bag") != (rig is not None):
        got = f"none for {data}" if rig is None else f"one for {data}"
        raise InputError("--rig", "a rig file for a rosbag2, and for nothing else", got, "see configs/rigs/")
    checkpoint = checkpoint_of(config, checkpoint, say)
    detector = load_detector(config, checkpoint, device, precision.value)
    # A bag's clouds come more often than its images, so that a detector without cameras would miss most of them.
    to_look_at = pictures and source_name != "bag"
    frame_options = frame_options_of(
        detector.config, cameras_too=to_look_at, allow_missing=allow_missing, truth=pictures
    )
    source = open_source(source_name, data, frame_options, **settings)
    output_options = OutputOptions(pictures=pictures)
    if score_threshold is not None:
        output_options = OutputOptions(score_threshold, score_threshold, pictures)
    count = detect_to_folder(
        detector,
        source,
        out,
        output_options,
        identity=identity_of(
            files=(config, checkpoint, *source.files),
            data=str(data),
            version=version,
            rig=str(rig),
            sample=sample,
            device=device,
            precision=precision.value,
            score_threshold=score_threshold,
            allow_missing=allow_missing,
            pictures=pictures,
        ),
        progress=lambda frames, total: with_progress(frames, total, "detecting"),
        say=say,
    )
    print(f"{counted(count, 'frame')}: {out / 'boxes.json'}")


if __name__ == "__main__":
    run(main)
