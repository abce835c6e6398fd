"""The dense parts of a detector as ONNX files, for other runtimes, each checked against torch.

    OUT/images.onnx   images (N, 3, H, W), normalised, N as configured -> features, the image backbone and its neck
    OUT/bev.onnx      BEV maps (1, C, X, Y), of the camera, of the LiDAR or of both -> the head's raw outputs
    OUT/camera_bev.onnx  the same of the cameras' map alone, where the cameras have a head of their own
    OUT/appearance.onnx  64 views, what is known of their boxes, their headings -> kind, facing (two logits, whose sum
                         is positive where the heading is right) and place

Between the two lie the view transform's pooling and the sparse encoder, which have no ONNX operators; voxels come
before them, and boxes are decoded behind.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calibration.errors import InputError
from calibration.files import make_folder
from perception.detector import Detector
from perception.model.network import Network

OPSET = 17
VIEWS = 64
LARGEST_DIFFERENCE = 1e-3  # relative RMS; both sides compute in float32, in different orders


@dataclass(frozen=True)
class Part:
    """A piece of a network with tensors in and out."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]  # to trace and check it with
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Exported:
    """A written file, and how far its results are from torch's: the largest relative RMS of its outputs."""

    path: Path
    difference: float


def export(detector: Detector, out: Path, say: Callable[[str], None]) -> list[Exported]:
    """Write the dense parts into the folder `out`.

    Raises InputError without the extra `export`, for a folder that can't be written to, and for a part whose file
    computes something else than torch does: that file isn't written.
    """
    _require_packages()
    make_folder(out)
    exported = []
    for part in parts_of(detector):
        with _without_fused_attention():
            exported.append(_export(part, out / f"{part.name}.onnx"))
        say(f"{exported[-1].path}: within {exported[-1].difference:.1e} of torch, relative RMS")
    return exported


def parts_of(detector: Detector) -> Iterator[Part]:
    """The dense parts there are, with random inputs of their shapes, the same every time."""
    network, chance = detector.network, torch.Generator().manual_seed(0)
    if network.decoration is not None or network.looks:
        raise InputError("export", "a detector that fuses maps or boxes", "one whose points or queries look at images")
    maps = {}
    for name in ("camera", "lidar"):
        branch = getattr(network, f"{name}_branch")
        if branch is not None:
            grid = branch.grid
            maps[f"{name}_bev"] = torch.randn(1, branch.out_channels, grid.size_x, grid.size_y, generator=chance)
    if network.camera_branch is not None:
        width, height = detector.config.images.size
        images = torch.randn(len(detector.config.images.cameras), 3, height, width, generator=chance)
        yield Part("images", ImagePart(network), {"images": images}, ("features",))
    main = dict(maps)
    if network.late is not None:
        camera = {"camera_bev": maps["camera_bev"]}
        yield _bev_part("camera_bev", BevPart(None, **network.camera_stream), camera)
        main = maps if network.fuser is not None else {"lidar_bev": maps["lidar_bev"]}
    yield _bev_part("bev", BevPart(network.fuser, network.bev_decoder, network.head), main)
    if "appearance" in network.refiners:
        yield _appearance_part(network.refiners["appearance"], chance)


def _bev_part(name: str, module: BevPart, maps: dict[str, Tensor]) -> Part:
    with torch.inference_mode():
        names = module.names_of(module.head(module.bev_decoder(module.fused(*maps.values()))))
    return Part(name, module, maps, names)


def _appearance_part(refiner: nn.Module, chance: torch.Generator) -> Part:
    views, known, heading = refiner.example(VIEWS, chance)
    return Part(
        "appearance", refiner, {"views": views, "known": known, "heading": heading}, ("kind", "facing", "place")
    )


class ImagePart(nn.Module):
    """Images -> image features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone, self.neck = network.camera_branch.backbone, network.camera_branch.neck

    def forward(self, images: Tensor) -> Tensor:
        return self.neck(self.backbone(images))


class BevPart(nn.Module):
    """One or two BEV maps -> the floating-point fields of the head's Outputs, in their order."""

    def __init__(self, fuser: nn.Module | None, bev_decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.fuser, self.bev_decoder, self.head = fuser, bev_decoder, head

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        outputs = self.head(self.bev_decoder(self.fused(*maps)))
        return tuple(getattr(outputs, name) for name in self.names_of(outputs))

    def fused(self, *maps: Tensor) -> Tensor:
        return maps[0] if self.fuser is None else self.fuser(*maps)

    @staticmethod
    def names_of(outputs: Any) -> tuple[str, ...]:
        fields = ((field.name, getattr(outputs, field.name)) for field in dataclasses.fields(outputs))
        return tuple(name for name, value in fields if value.is_floating_point())


def _export(part: Part, path: Path) -> Exported:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write(part, temporary)
        difference = max(_differences(part, temporary))
        if not difference <= LARGEST_DIFFERENCE:
            expected = f"results within {LARGEST_DIFFERENCE:g} of torch's, relative RMS"
            raise InputError(path.name, expected, f"{difference:.2g}", "report this, with the configuration")
        temporary.replace(path)
    except OSError as error:
        raise InputError(str(path), "room and leave to write it", error.strerror or type(error).__name__) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(path, difference)


def _write(part: Part, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about shapes that are constants, which they are
        torch.onnx.export(
            part.module.eval(),
            tuple(part.inputs.values()),
            str(path),
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            opset_version=OPSET,
            dynamo=False,
        )


def _differences(part: Part, path: Path) -> list[float]:
    """Relative RMS of each output, on other numbers than those the graph was traced with."""
    import onnxruntime

    chance = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(tensor.shape, generator=chance) for name, tensor in part.inputs.items()}
    with torch.inference_mode():
        expected = part.module(*inputs.values())
    expected = expected if isinstance(expected, Sequence) else (expected,)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(list(part.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
    return [relative_rms(ours, theirs.numpy()) for ours, theirs in zip(got, expected, strict=True)]


def relative_rms(got: np.ndarray, expected: np.ndarray) -> float:
    """RMS of the difference over RMS of what was expected, or of 1 where that is all zero."""
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    return float(np.sqrt(np.mean(np.square(got - expected, dtype=np.float64)))) / scale


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Let attention be computed step by step: ONNX knows the steps."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401, torch writes with it
        import onnxruntime  # noqa: F401
    except ImportError as error:
        fix = "pip install -c constraints.txt -e '.[export]'"
        raise InputError("export", "onnx and onnxruntime", str(error), fix) from error
