"""Our kernels beside spconv's for CPUs, and beside plain torch: encoder, voxels, BEV pooling, suppression.

Everything on one thread: spconv 2.3 has a data race with more. Its convolutions are followed by torch's BatchNorm and
rectifier, as in its own models.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception.benchmark.comparing import Comparison, Rounds, relative_rms, require_package, take_turns
from perception.benchmark.kernels import compare_pooling, compare_suppression
from perception.benchmark.machine import using_threads
from perception.benchmark.meters import Counting
from perception.benchmark.stages import Call, listening, replaced
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.model.network import LidarBranch
from perception.ops.sparse import spconv_backend, tensor
from perception.ops.sparse.tensor import backend_for
from perception.ops.voxelize import voxelize
from perception.prepare import prepare
from perception.types import Frame

PEER = "spconv"
LIMITS = (10, 160_000)  # points a voxel and voxels, which spconv needs: where a configuration has none, the public ones
Voxels = tuple[Tensor, Tensor]


def require(config: DetectorConfig) -> None:
    """InputError without spconv, or for a configuration without sparse convolutions."""
    encoder = config.lidar_encoder
    if encoder is None or encoder.name != "sparse":
        got = "none" if encoder is None else f"{encoder.name}, which has no sparse convolution"
        raise InputError("--compare spconv", "a configuration whose lidar_encoder is sparse", got)
    require_package(PEER, "spconv", "pip install spconv-cu120 (Python 3.11 or older)")


def compare(detector: Detector, frame: Frame, rounds: Rounds) -> list[Comparison]:
    """The encoder in both precisions, then kernel by kernel."""
    branch, batch = detector.network.lidar_branch, prepare([frame], detector.config)
    with using_threads(1), torch.no_grad():
        compared = _compare_encoder(branch, branch.voxels(batch), rounds)
        compared.append(_compare_voxels(branch, batch.clouds[0], rounds))
        if detector.network.camera_branch is not None:
            compared += compare_pooling(detector.network.camera_branch.view_transform, batch, rounds)
        return [*compared, compare_suppression(rounds)]


def _compare_encoder(branch: LidarBranch, voxels: Voxels, rounds: Rounds) -> list[Comparison]:
    backend, count = backend_for(voxels[0].device), f"{len(voxels[0]):,} voxels"
    ours, ours_bf16 = (_Encoding(branch.encoder, voxels, backend, dtype) for dtype in (torch.float32, torch.bfloat16))
    theirs = _Encoding(branch.encoder, voxels, spconv_backend, torch.float32)
    with _frozen(branch.encoder):
        full = take_turns(ours, theirs, rounds("sparse encoder"))
        parts = [
            _part("its rulebooks", ours.rulebooks_s, theirs.rulebooks_s),
            _part("its convolutions and norms", ours.rest_s, theirs.rest_s),
        ]
        half = take_turns(ours_bf16, theirs, rounds("sparse encoder, bf16"))
    return [
        full.compared("sparse encoder, fp32", PEER, relative_rms(full.ours, full.theirs), count),
        *parts,
        half.compared("sparse encoder, bf16", PEER, relative_rms(half.ours, half.theirs), f"{PEER} in fp32"),
    ]


def _part(what: str, ours_s: list[float], theirs_s: list[float]) -> Comparison:
    return Comparison(what, PEER, tuple(ours_s[1:]), tuple(theirs_s[1:]))  # less the unmeasured first


class _Encoding:
    """Runs the encoder on one back end, and keeps how long its rulebooks and the rest took each time."""

    def __init__(self, encoder: nn.Module, voxels: Voxels, backend: ModuleType, precision: torch.dtype) -> None:
        self.encoder, self.voxels, self.backend, self.precision = encoder, voxels, backend, precision
        self.rulebooks_s: list[float] = []
        self.rest_s: list[float] = []

    def __call__(self) -> Tensor:
        """The map, (1, C, X, Y)."""
        calls = [Call("all", self.encoder, "forward"), Call("rulebooks", self.backend, "build_rulebook")]
        stopwatch = Counting(time.perf_counter)
        # Where gradients are on, the encoder leaves BatchNorm to torch, as spconv's own models do.
        gradients = torch.set_grad_enabled(self.backend is spconv_backend)
        with gradients, self._on_backend(), listening(calls, stopwatch):
            bev = self.encoder(*self.voxels, 1)
        self.rulebooks_s.append(stopwatch.gained["rulebooks"])
        self.rest_s.append(stopwatch.gained["all"] - stopwatch.gained["rulebooks"])
        return bev

    @contextmanager
    def _on_backend(self) -> Iterator[None]:
        chosen = replaced(tensor, "backend_for", lambda device: self.backend)
        with chosen, replaced(self.encoder, "precision", self.precision):
            yield


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No parameter asks for gradients while the block lasts."""
    asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def _compare_voxels(branch: LidarBranch, points: Tensor, rounds: Rounds) -> Comparison:
    from spconv.pytorch.utils import PointToVoxel

    grid, settings = branch.voxel_grid, branch.points
    limits = (settings.max_points_per_voxel or LIMITS[0], settings.max_voxels or LIMITS[1])
    ranges = [*grid.lower, *grid.upper]
    their_voxels = PointToVoxel(list(grid.voxel), ranges, points.shape[1], limits[1], limits[0])

    def theirs() -> Voxels:
        kept, places, counts = their_voxels(points)
        return kept.sum(dim=1) / counts[:, None], places.flip(1).long()  # theirs are z, y, x

    turns = take_turns(lambda: voxelize(points, grid.lower, grid.voxel, grid.size, *limits), theirs, rounds("voxels"))
    ours, common = _common(turns.ours, turns.theirs, grid.size)
    note = f"{len(ours):,} voxels in both, of {len(turns.ours[0]):,} and {len(turns.theirs[0]):,}"
    return turns.compared("voxelisation", f"{PEER}'s PointToVoxel", relative_rms(ours, common), note)


def _common(ours: Voxels, theirs: Voxels, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The features of voxels that both have, ours and theirs in the same order."""
    keys = [(places[:, 0] * size[1] + places[:, 1]) * size[2] + places[:, 2] for _, places in (ours, theirs)]
    sides = []
    for (features, _), own, other in ((ours, *keys), (theirs, *reversed(keys))):
        shared = torch.isin(own, other)
        sides.append(features[shared][torch.argsort(own[shared])])
    return sides[0], sides[1]
