"""The live node: ROS 2 topics in, detections out, whatever the sensors do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from perception.command import Precision, PrecisionOption, run, say

MARKER_THRESHOLD = 0.25


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) the checkpoint was made for.")],
    rig: Annotated[Path, typer.Option(help="Rig file (.yaml): topics, frames, QoS, policies; see configs/rigs/.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights (.safetensors). Else those in the package for this configuration.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: PrecisionOption = Precision.fp32,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads to detect with. Else as many as torch takes; one less is steadier."),
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out what scores less. Else all, of markers 0.25.")
    ] = None,
    sim_time: Annotated[bool, typer.Option("--sim-time", help="Time is what /clock says.")] = False,
) -> None:
    """Detect in what ROS 2 topics bring, and publish it: a node that goes on when sensors fail.

    Example: python tools/live.py configs/sim_fusion.yaml --rig configs/rigs/nuscenes_ros.yaml

    SIGINT (Ctrl-C) and SIGTERM end it.
    """
    import torch

    from perception.benchmark.frame import made_up_frame
    from perception.checkpoints.shipped import checkpoint_of
    from perception.config import load_config
    from perception.detector import load_detector
    from perception.live.core import NodeCore
    from perception.live.node import asked_to_end, kinds_of, run_node
    from perception.offline import frame_options_of
    from perception.ros.rig_file import load_live_rig
    from perception.types import Boxes3D, Frame

    with asked_to_end() as end:
        settings, chosen = load_live_rig(rig), load_config(config)
        if threads is not None:
            torch.set_num_threads(threads)
        options = frame_options_of(chosen, cameras_too=False, allow_missing=True, truth=False)
        core = NodeCore(settings, replace(options, lidar=chosen.uses_lidar))
        kinds = kinds_of(core.topics)
        detector = load_detector(config, checkpoint_of(config, checkpoint, say), device, precision.value)
        detector(made_up_frame(detector.config))  # what is slow the first time isn't the first frame's to pay for

        def detect(frame: Frame) -> Boxes3D:
            boxes = detector(frame)
            return boxes if score_threshold is None else boxes.select(boxes.scores >= score_threshold)

        threshold = MARKER_THRESHOLD if score_threshold is None else score_threshold
        run_node(core, kinds, detect, end, marker_threshold=threshold, sim_time=sim_time)


if __name__ == "__main__":
    run(main)
