"""How far the two detectors of a `late: boxes` detector can be trusted, measured on drives with truth.

    python -m perception.refining.calibrate runs/late/config.yaml --checkpoint runs/late/weights.safetensors \
        --data data/sim --version v1.0-sim --out runs/calibrated

writes OUT/config.yaml, the configuration with measured `main`, `camera`, `main_errors` and `camera_errors`; weights
stay as they are. Take scenes that the detectors were not trained on, where there are any to spare: on their training
scenes they are too sure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from perception.command import run, say, with_progress

if TYPE_CHECKING:
    from perception.model.late.boxes import Calibration, Errors
    from perception.types import Boxes3D, Frame

LEAST_BOXES = 20  # of a detector, right ones among them, to measure anything
LEAST_M = 0.05  # no deviation is taken to be smaller


@dataclass
class Measured:
    """Boxes of one of the detectors, beside the truth."""

    scores: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    off: list[np.ndarray] = field(default_factory=list)  # (K, 3) across, along and distance of right ones [m]

    def add(self, boxes: Boxes3D, frame: Frame) -> None:
        """Take in what was found in a frame."""
        from perception.refining.lessons import nearest_truth

        nearest, there = nearest_truth(boxes, frame.truth)
        if there.any():
            there &= frame.truth.boxes.labels[nearest] == boxes.labels
        self.scores.append(boxes.scores)
        self.right.append(there)
        centers = boxes.centers[there, :2]
        apart = frame.truth.boxes.centers[nearest[there], :2] - centers
        distance = np.maximum(np.linalg.norm(centers, axis=1), 1e-6)
        along = (apart * centers).sum(axis=1) / distance
        across = (apart[:, 1] * centers[:, 0] - apart[:, 0] * centers[:, 1]) / distance
        self.off.append(np.stack([across, along, distance], axis=1))

    def fitted(self, what: str) -> tuple[Calibration, Errors]:
        """The numbers; InputError where too little was found to tell them."""
        from calibration.errors import InputError
        from perception.model.late.boxes import Errors, fit_calibration

        scores, right = np.concatenate([*self.scores, []]), np.concatenate([*self.right, []]).astype(bool)
        if right.sum() < LEAST_BOXES:
            got = f"{right.sum()} of {len(right)}"
            raise InputError(f"boxes of the {what} that are right", f"at least {LEAST_BOXES}", got, "take more scenes")
        across, along, distance = np.concatenate(self.off).T
        # Of a Gaussian, the mean distance from 0 is 0.8 of the deviation: far less moved by a few that are far off.
        spread = np.sqrt(np.pi / 2) * np.abs(along)
        share = max(0.0, float(np.polyfit(distance, spread, 1)[0]))
        errors = Errors(
            across_m=max(LEAST_M, float(np.sqrt(np.pi / 2) * np.abs(across).mean())),
            along_m=max(LEAST_M, float((spread - share * distance).mean())),
            along_share=share,
        )
        return fit_calibration(scores, right), errors


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) with `late: {name: boxes}`.")],
    checkpoint: Annotated[Path, typer.Option(help="Its weights (.safetensors).")],
    data: Annotated[Path, typer.Option(help="nuScenes root.")],
    out: Annotated[Path, typer.Option(help="Folder to write config.yaml to.")],
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-trainval.")] = None,
    split: Annotated[str | None, typer.Option(help="Scenes to measure on. Else the version's training split.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Frames at most, evenly spread.")] = 200,
) -> None:
    """Measure what the scores and places of both detectors' boxes are worth.

    Example: python -m perception.refining.calibrate runs/late/config.yaml --checkpoint runs/late/weights.safetensors
    --data data/sim --version v1.0-sim --out runs/calibrated
    """
    from calibration.errors import InputError
    from calibration.files import write_atomically
    from perception.config import config_text, load_config
    from perception.detector import load_detector
    from perception.training.command import with_training
    from perception.training.data import open_split

    settings = load_config(config)
    if settings.late is None or settings.late.name != "boxes":
        raise InputError(str(config), "a section `late: {name: boxes}`", "none" if settings.late is None else "another")
    detector = load_detector(config, checkpoint)
    source = open_split(with_training(settings), data, version, split)
    tokens = [source.tokens[row] for row in np.unique(np.linspace(0, len(source) - 1, limit).astype(int))]
    frames = map(source.frame, with_progress(tokens, len(tokens), "measuring"))
    late = settings.late.model_copy(update=measured((frame, found_apart(detector, frame)) for frame in frames))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "config.yaml", config_text(settings.model_copy(update={"late": late})))
    say(", ".join(f"{name} ({getattr(late, name)})" for name in ("main", "camera", "main_errors", "camera_errors")))
    print(out / "config.yaml")


def measured(found: Iterable[tuple[Frame, dict[str, Boxes3D]]]) -> dict[str, Any]:
    """What frames, and what `found_apart` gives of each, tell of both detectors: settings of `late`."""
    detectors = {"main": Measured(), "camera": Measured()}
    for frame, apart in found:
        for name, boxes in apart.items():
            detectors[name].add(boxes, frame)
    numbers = {name: one.fitted(f"{name} detector") for name, one in detectors.items()}
    return {
        **{name: calibration for name, (calibration, _) in numbers.items()},
        **{f"{name}_errors": errors for name, (_, errors) in numbers.items()},
    }


def found_apart(detector: Any, frame: Frame) -> dict[str, Boxes3D]:
    """What each of the two detectors finds in a frame, before their boxes are joined."""
    import torch

    from perception.model.precision import in_float32
    from perception.prepare import prepare

    network = detector.network
    with torch.inference_mode():
        outputs = in_float32(network(prepare([frame], detector.config).to(detector.device)))
        main, camera = network.head.decode(outputs.main), network.camera_stream["head"].decode(outputs.camera)
    return {"main": main[0], "camera": camera[0]}


if __name__ == "__main__":
    run(main)
