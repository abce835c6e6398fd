"""Our stages beside those of mmdetection3d 1.4 (https://github.com/open-mmlab/mmdetection3d), with the same weights.

Compared are the parts of its BEVFusion that it installs as a package, on what our network feeds them: voxelisation,
sparse encoder, Swin backbone, SECOND with its FPN. The rest of BEVFusion is an example in its repository, without a
package to import, and is made of torch's own layers: for the whole network it is ours as trained, in float32, with
cells and pooling in plain torch, which is what is left to it without a GPU. One thread, for spconv's sake, which its
encoder is made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception.benchmark.comparing import Comparison, Rounds, relative_rms, require_package, take_turns
from perception.benchmark.machine import using_threads
from perception.benchmark.meters import Counting
from perception.benchmark.stages import Call, listening, replaced
from perception.checkpoints.mmdetection3d import native_name
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.model import lift_splat
from perception.model.batch import Batch
from perception.model.inference import for_inference
from perception.model.network import LidarBranch, Network
from perception.model.precision import Precision, autocast, in_float32
from perception.ops.bev_pool import bev_pool_plain
from perception.ops.frustum import frustum_cells_torch
from perception.ops.voxelize import voxelize
from perception.prepare import prepare
from perception.types import Frame

PEER = "mmdetection3d"
NORM = {"eps": 1e-3, "momentum": 0.01}
BLOCKS = 2  # of an encoder's stage, in the public checkpoints, whose names tell the layers


@dataclass(frozen=True)
class Part:
    """The same stage twice, as functions of nothing that give one tensor, in the same layout."""

    what: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]


def require(config: DetectorConfig) -> None:
    """InputError without mmdetection3d, and for a sparse encoder that its names for layers don't fit."""
    fix = "pip install -c constraints.txt -e '.[mmdet3d,gpu]'"
    for package in ("mmdet3d", "spconv"):
        require_package("reference", package, fix)
    encoder = config.lidar_encoder
    if encoder is not None and encoder.name == "sparse" and encoder.blocks_per_stage != BLOCKS:
        expected = f"blocks_per_stage {BLOCKS} as in the public checkpoints"
        raise InputError("--compare reference: lidar_encoder", expected, str(encoder.blocks_per_stage))


def compare(detector: Detector, frame: Frame, rounds: Rounds) -> list[Comparison]:
    """Stage by stage, as far as the configuration's are the public checkpoints', and all of it, if it is theirs."""
    config, network, batch = detector.config, detector.network, prepare([frame], detector.config)
    ours = for_inference(deepcopy(network))
    with using_threads(1), torch.no_grad():
        theirs = _Theirs.of(config, network)
        parts = []
        if theirs.backbone is not None:
            parts.append(_backbone(ours, theirs.backbone, batch))
        if theirs.encoder is not None:
            parts.append(_encoder(ours.lidar_branch, theirs.encoder, batch))
        if config.uses_lidar:
            parts.append(_voxels(network.lidar_branch, batch.clouds[0]))
        parts.append(_bev_decoder(ours, theirs.bev_decoder, batch))
        compared = [_compared(part, rounds) for part in parts]
        return [*compared, *_compare_whole(ours, network, theirs, batch, rounds)]


def _compared(part: Part, rounds: Rounds) -> Comparison:
    turns = take_turns(part.ours, part.theirs, rounds(part.what))
    return turns.compared(part.what, PEER, relative_rms(turns.ours, turns.theirs))


@dataclass(frozen=True)
class _Theirs:
    """Their modules with our weights; None where the configuration has another kind, or none."""

    backbone: nn.Module | None
    encoder: nn.Module | None
    bev_decoder: nn.Module

    @staticmethod
    def of(config: DetectorConfig, network: Network) -> _Theirs:
        swin = config.uses_cameras and config.image_backbone.name == "swin"
        sparse = config.uses_lidar and config.lidar_encoder.name == "sparse"
        return _Theirs(
            _their_backbone(config, network) if swin else None,
            _their_encoder(config, network) if sparse else None,
            _their_bev_decoder(config, network),
        )

    def in_place_of_ours(self, network: Network) -> Network | None:
        """The network with their modules; None where it has no part of some kind of theirs."""
        branches = ((network.camera_branch, self.backbone), (network.lidar_branch, self.encoder))
        if any(branch is not None and part is None for branch, part in branches):
            return None
        whole = deepcopy(network).eval()
        if self.backbone is not None:
            whole.camera_branch.backbone = self.backbone
        if self.encoder is not None:
            whole.lidar_branch.encoder = _LikeOurs(self.encoder)
        whole.bev_decoder = self.bev_decoder
        return whole


class _LikeOurs(nn.Module):
    """Their encoder, called as ours is."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor, places: Tensor, frames: int) -> Tensor:
        return self.encoder(features, _their_places(places), frames).mT


def _their_places(places: Tensor) -> Tensor:
    return places[:, [0, 3, 2, 1]].int().contiguous()  # frame, z, y, x


def _compare_whole(
    ours: Network, network: Network, theirs: _Theirs, batch: Batch, rounds: Rounds
) -> Iterator[Comparison]:
    """The whole network from voxels to the head's outputs, in float32 and in bfloat16, and float32 less the pooling."""
    their_network = theirs.in_place_of_ours(network)
    if their_network is None:
        return
    half = for_inference(deepcopy(network), "bf16")
    for precision, own in (("fp32", ours), ("bf16", half)):
        mine, peer = _Pass(own, batch, precision), _Pass(their_network, batch, "fp32", plain_pooling=True)
        turns = take_turns(mine, peer, rounds(f"whole network, {precision}"))
        apart = relative_rms(turns.ours, turns.theirs)
        yield turns.compared(f"whole network, {precision}", PEER, apart, "the difference is of the heatmap")
        if precision == "fp32" and network.camera_branch is not None:
            yield Comparison("whole network, fp32, less the pooling", PEER, mine.rest_s[1:], peer.rest_s[1:])


class _Pass:
    """Runs a network, and keeps how long all but the pooling took each time."""

    def __init__(self, network: Network, batch: Batch, precision: Precision, plain_pooling: bool = False) -> None:
        self.network, self.batch, self.precision, self.plain_pooling = network, batch, precision, plain_pooling
        self.rest_s: tuple[float, ...] = ()

    def __call__(self) -> Tensor:
        """The heatmap."""
        stopwatch = Counting(time.perf_counter)
        calls = [Call("all", self.network, "forward"), Call("pooling", lift_splat, "bev_pool")]
        with self._pooling(), autocast(torch.device("cpu"), self.precision), listening(calls, stopwatch):
            outputs = in_float32(self.network(self.batch))
        self.rest_s += (stopwatch.gained["all"] - stopwatch.gained.get("pooling", 0.0),)
        return outputs.heatmap

    @contextmanager
    def _pooling(self) -> Iterator[None]:
        if not self.plain_pooling:
            yield
            return
        plan = SimpleNamespace(of=lambda cells, count, image: (cells, count))
        pool = lambda features, depth, cells_and_count: bev_pool_plain(features, depth, *cells_and_count)  # noqa: E731
        with (
            replaced(lift_splat, "PoolingPlan", plan),
            replaced(lift_splat, "bev_pool", pool),
            replaced(lift_splat, "frustum_cells", frustum_cells_torch),
        ):
            yield


def _their_backbone(config: DetectorConfig, network: Network) -> nn.Module:
    settings = config.image_backbone
    theirs = _built(
        "mmdet.SwinTransformer",
        embed_dims=settings.channels,
        depths=list(settings.depths),
        num_heads=list(settings.heads),
        window_size=settings.window,
        mlp_ratio=settings.mlp_ratio,
        out_indices=list(settings.out_stages),
    )
    _give_weights(theirs, "img_backbone", network)
    return theirs


def _backbone(ours: Network, theirs: nn.Module, batch: Batch) -> Part:
    return Part(
        "image backbone",
        lambda: _flat(ours.camera_branch.backbone(batch.images)),
        lambda: _flat(theirs(batch.images)),
    )


def _their_encoder(config: DetectorConfig, network: Network) -> nn.Module:
    branch, settings = network.lidar_branch, config.lidar_encoder
    widths, padding = settings.stage_channels, settings.down_padding_z
    theirs = _built(
        "SparseEncoder",
        in_channels=branch.encoder.stem.conv.weight.shape[-1],
        sparse_shape=list(branch.encoder.size[::-1]),
        norm_cfg={"type": "BN1d", **NORM},
        base_channels=widths[0],
        output_channels=settings.out_channels,
        encoder_channels=[[width] * BLOCKS + list(widths[i + 1 : i + 2]) for i, width in enumerate(widths)],
        encoder_paddings=[[1] * BLOCKS + [[z, 1, 1] for z in padding[i : i + 1]] for i in range(len(widths))],
        block_type="basicblock",
    )
    _give_weights(theirs, "pts_middle_encoder", network)
    _let_run_on_cpus(theirs)
    return theirs


def _encoder(branch: LidarBranch, theirs: nn.Module, batch: Batch) -> Part:
    features, places = branch.voxels(batch)
    their_places = _their_places(places)
    return Part(
        "sparse encoder",
        lambda: branch.encoder(features, places, 1),
        lambda: theirs(features, their_places, 1).mT,
    )


def _let_run_on_cpus(encoder: nn.Module) -> None:
    from spconv.core import ConvAlgo

    for part in encoder.modules():
        if hasattr(part, "algo"):
            part.algo = ConvAlgo.Native  # the one that spconv has for CPUs


def _voxels(branch: LidarBranch, points: Tensor) -> Part:
    from mmcv.ops import Voxelization

    grid, settings = branch.voxel_grid, branch.points
    limits = (settings.max_points_per_voxel, settings.max_voxels)
    # Without a limit on points theirs finds cells, but no voxels.
    their_limits = (settings.max_points_per_voxel or 10, settings.max_voxels or len(points))
    theirs = Voxelization(list(grid.voxel), [*grid.lower, *grid.upper], *their_limits)

    def their_means() -> Tensor:
        kept, _, counts = theirs(points)
        return kept.sum(dim=1) / counts[:, None]

    return Part("voxelise", lambda: voxelize(points, grid.lower, grid.voxel, grid.size, *limits)[0], their_means)


def _their_bev_decoder(config: DetectorConfig, network: Network) -> nn.Module:
    settings = config.bev_decoder
    scales = [1]
    for stride in settings.stage_strides[1:]:
        scales.append(scales[-1] * stride)
    backbone = _built(
        "SECOND",
        in_channels=network.bev_decoder.blocks[0][0].weight.shape[1],
        out_channels=list(settings.stage_channels),
        layer_nums=list(settings.stage_layers),
        layer_strides=list(settings.stage_strides),
        norm_cfg={"type": "BN", **NORM},
    )
    neck = _built(
        "SECONDFPN",
        in_channels=list(settings.stage_channels),
        out_channels=list(settings.out_channels),
        upsample_strides=scales,
        norm_cfg={"type": "BN", **NORM},
        use_conv_for_no_stride=True,
    )
    _give_weights(backbone, "pts_backbone", network)
    _give_weights(neck, "pts_neck", network)
    return _FirstOfAll(backbone, neck)


class _FirstOfAll(nn.Sequential):
    """Their neck's results are a list of one map."""

    def forward(self, bev: Tensor) -> Tensor:
        return super().forward(bev)[0]


def _bev_decoder(ours: Network, theirs: nn.Module, batch: Batch) -> Part:
    bev = _input_of(ours.bev_decoder, ours, batch)
    return Part("BEV decoder", lambda: ours.bev_decoder(bev), lambda: theirs(bev))


def _input_of(module: nn.Module, network: Network, batch: Batch) -> Tensor:
    """What the network feeds a module of its own."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network(batch)
    finally:
        hook.remove()
    return seen[0]


def _built(kind: str, **settings: Any) -> nn.Module:
    """A module of theirs, by its name in their registry."""
    import mmdet3d.models  # noqa: F401, fills the registry
    from mmdet3d.registry import MODELS

    built = MODELS.build({"type": kind, **settings})
    built.eval()  # whose result isn't always the module, there
    return built


def _give_weights(theirs: nn.Module, prefix: str, network: Network) -> None:
    """Copy ours there one by one: spconv's own loading turns kernels by what it takes for their version."""
    ours = network.state_dict()
    for name, tensor in theirs.state_dict().items():
        own_name = native_name(f"{prefix}.{name}")
        if own_name is not None:
            value = ours[own_name]
            tensor.copy_(value.permute(0, 3, 2, 1, 4) if value.dim() == 5 else value)  # kernels z, y, x


def _flat(maps: Any) -> Tensor:
    return torch.cat([level.flatten() for level in maps])
