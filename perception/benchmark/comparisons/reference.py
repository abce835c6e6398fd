"""Our stages beside those of mmdetection3d 1.4 (https://github.com/open-mmlab/mmdetection3d), with the same weights.

Compared are the parts of its BEVFusion that it installs as a package, on what our network feeds them: voxelisation,
sparse encoder, Swin backbone, SECOND with its FPN. The rest of BEVFusion is an example in its repository, without a
package to import. One thread, for spconv's sake, which its encoder is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception.benchmark.comparing import Comparison, Rounds, relative_rms, require_package, take_turns
from perception.benchmark.machine import using_threads
from perception.checkpoints.mmdetection3d import native_name
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.model.batch import Batch
from perception.model.network import LidarBranch, Network
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
    """Stage by stage, as far as the configuration's are the public checkpoints'."""
    config, network, batch = detector.config, detector.network, prepare([frame], detector.config)
    with using_threads(1), torch.no_grad():
        parts = [_bev_decoder(config, network, batch)]
        if config.uses_lidar:
            parts.append(_voxels(network.lidar_branch, batch.clouds[0]))
        if config.uses_lidar and config.lidar_encoder.name == "sparse":
            parts.append(_encoder(config, network, batch))
        if config.uses_cameras and config.image_backbone.name == "swin":
            parts.append(_backbone(config, network, batch))
        return [_compared(part, rounds) for part in reversed(parts)]


def _compared(part: Part, rounds: Rounds) -> Comparison:
    turns = take_turns(part.ours, part.theirs, rounds(part.what))
    return turns.compared(part.what, PEER, relative_rms(turns.ours, turns.theirs))


def _backbone(config: DetectorConfig, network: Network, batch: Batch) -> Part:
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
    return Part(
        "image backbone",
        lambda: _flat(network.camera_branch.backbone(batch.images)),
        lambda: _flat(theirs(batch.images)),
    )


def _encoder(config: DetectorConfig, network: Network, batch: Batch) -> Part:
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
    features, places = branch.voxels(batch)
    their_places = places[:, [0, 3, 2, 1]].int().contiguous()  # frame, z, y, x
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


def _bev_decoder(config: DetectorConfig, network: Network, batch: Batch) -> Part:
    settings, bev = config.bev_decoder, _input_of(network.bev_decoder, network, batch)
    scales = [1]
    for stride in settings.stage_strides[1:]:
        scales.append(scales[-1] * stride)
    backbone = _built(
        "SECOND",
        in_channels=bev.shape[1],
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
    return Part("BEV decoder", lambda: network.bev_decoder(bev), lambda: neck(backbone(bev))[0])


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
