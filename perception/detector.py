"""The detector: sensor data of an instant in, boxes out. Read this first.

    detector = load_detector("configs/sim_fusion.yaml")
    for frame in open_source("nuscenes", root, ...):
        boxes = detector(frame)

A Frame may lack any of its cameras, its cloud, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from calibration.errors import InputError
from perception.checkpoints.native import load_weights
from perception.checkpoints.shipped import checkpoint_of
from perception.config import DetectorConfig, load_config
from perception.model.inference import for_inference
from perception.model.network import Network
from perception.model.precision import Precision, autocast, check_precision, in_float32
from perception.prepare import prepare
from perception.types import Boxes3D, Frame


class Detector:
    """A network with its weights on a device."""

    def __init__(
        self,
        config: DetectorConfig,
        network: Network,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",  # that the network was made ready for, see for_inference
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.precision = precision
        check_precision(self.device, precision)

    def __call__(self, frame: Frame) -> Boxes3D:
        """The boxes of one frame, in its lidar frame."""
        return self.detect([frame])[0]

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Boxes3D]:
        """The boxes of each frame; one pass for all of them.

        A frame with nothing that this detector could look at, no image and no point in its range, gets no boxes.
        """
        found = self.found(frames)
        for refiner in self.network.refiners.values():
            with autocast(self.device, self.precision):
                found = [refiner.refine(frame, boxes) for frame, boxes in zip(frames, found, strict=True)]
        return found

    @torch.inference_mode()
    def found(self, frames: Sequence[Frame]) -> list[Boxes3D]:
        """The same before the refiners look at them again."""
        if not frames:
            return []
        batch = prepare(frames, self.config)
        with autocast(self.device, self.precision):
            outputs = self.network(batch.to(self.device))
        found = self.network.decode(in_float32(outputs))
        seen = set(batch.image_frame.tolist())
        if self.config.uses_lidar:
            seen |= {index for index, cloud in enumerate(batch.clouds) if len(cloud)}
        return [boxes if index in seen else boxes.select([]) for index, boxes in enumerate(found)]


def load_detector(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Detector:
    """A Detector from a YAML file and a native checkpoint (tools/import_checkpoint.py makes one of a public one).

    Without a checkpoint, with the weights that come with the package for a configuration of this name.

    Raises InputError for a configuration, checkpoint or device that can't be used, or that don't fit together.
    """
    settings = load_config(config)
    chosen = choose_device(device)
    network = Network(settings)
    load_weights(network, checkpoint_of(config, checkpoint))
    return Detector(settings, for_inference(network, precision), chosen, precision)


def choose_device(name: str) -> torch.device:
    """The device called "cpu", "cuda", "cuda:1"...; raises InputError if this machine doesn't have it."""
    try:
        device = torch.device(name)
        known = device.type in ("cpu", "cuda")
    except RuntimeError:  # its text lists all kinds that torch was ever made for
        known = False
    if not known:
        raise InputError("device", "cpu, cuda, or cuda:0, cuda:1, ...", repr(name), "use --device cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises AssertionError where it was built without CUDA
        got = str(error).splitlines()[0]
        raise InputError(f"device {name!r}", "a device of this machine", got, "use --device cpu") from error
    return device
