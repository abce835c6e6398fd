"""BEVFusion's LiDAR encoder: voxels through sparse residual stages to a BEV map.

SECOND's encoder (Yan et al., Sensors 2018) with the residual blocks of CenterPoint (Yin et al., CVPR 2021), in the
layout of the public BEVFusion checkpoints: each stage but the last ends in a convolution that halves the grid and
widens the features for the next.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from perception.config import GridSettings
from perception.config import Settings as BaseSettings
from perception.model.precision import in_full_precision
from perception.ops.sparse import Epilogue, Kernel, SparseTensor, convolve

SUBMANIFOLD = Kernel((3, 3, 3), submanifold=True)


class Settings(BaseSettings):
    """The stack of stages."""

    name: Literal["sparse"] = "sparse"
    stage_channels: tuple[int, ...] = (16, 32, 64, 128)  # of each stage's residual blocks; the first also of the stem
    blocks_per_stage: int = 2
    down_padding_z: tuple[int, ...] = (1, 1, 0)  # of the stride-2 convolutions that end all stages but the last
    out_channels: int = 128

    @model_validator(mode="after")
    def _one_padding_between_stages(self) -> Settings:
        if len(self.down_padding_z) != len(self.stage_channels) - 1:
            got = f"{len(self.down_padding_z)} for {len(self.stage_channels)} stages"
            raise ValueError(f"expected one down_padding_z for every stage but the last, got {got}")
        return self

    def build(self, in_channels: int, grid: GridSettings) -> SparseEncoder:
        x, y, z = grid.size
        # One layer more than the range holds, always empty: the public checkpoints were trained so.
        return SparseEncoder(in_channels, (x, y, z + 1), self)


class SparseEncoder(nn.Module):
    """Voxels on a grid of `size` (X, Y, Z) -> BEV map (B, out_channels, X / stride, Y / stride).

    What is left of the height is folded into the channels: channel c at height d becomes c * depth + d. The map lies
    in memory channels last. `precision` is the type of the features after the stem, and of the map; the stem sees
    metres, for which bfloat16 is too coarse.
    """

    def __init__(self, in_channels: int, size: tuple[int, int, int], settings: Settings) -> None:
        super().__init__()
        self.size = size
        widths = settings.stage_channels
        self.stem = SparseConvNormRelu(in_channels, widths[0], SUBMANIFOLD)
        self.stages = nn.ModuleList(nn.Sequential() for _ in widths)
        self.stride = 1
        for i, stage in enumerate(self.stages):
            stage.extend(SparseResidualBlock(widths[i]) for _ in range(settings.blocks_per_stage))
            if i + 1 < len(widths):
                down = Kernel((3, 3, 3), stride=(2, 2, 2), padding=(1, 1, settings.down_padding_z[i]))
                stage.append(SparseConvNormRelu(widths[i], widths[i + 1], down))
                size = down.output_size(size)
                self.stride *= 2
        squeeze = Kernel((1, 1, 3), stride=(1, 1, 2))
        self.squeeze = SparseConvNormRelu(widths[-1], settings.out_channels, squeeze)
        self.out_channels = settings.out_channels * squeeze.output_size(size)[2]
        self.precision = torch.float32

    @in_full_precision
    def forward(self, features: Tensor, coordinates: Tensor, batch: int) -> Tensor:
        """features (N, in_channels); coordinates (N, 4) int64: frame, x, y, z; batch counts the frames."""
        tensor = self.stem(SparseTensor(features, coordinates, self.size, batch).sorted())
        tensor = tensor.with_features(tensor.features.to(self.precision))
        for stage in self.stages:
            tensor = stage(tensor)
        return _bird_view(self.squeeze(tensor))


def _bird_view(tensor: SparseTensor) -> Tensor:
    """(B, C * Z, X, Y), in memory (B, X, Y, C, Z): what isn't there is zero."""
    (x, y, z), channels = tensor.size, tensor.features.shape[1]
    frame, i, j, k = tensor.coordinates.unbind(1)
    bev = tensor.features.new_zeros(tensor.batch * x * y, channels, z)
    bev[(frame * x + i) * y + j, :, k] = tensor.features
    return bev.view(tensor.batch, x, y, channels * z).permute(0, 3, 1, 2)


class SparseConv(nn.Module):
    """A sparse convolution without bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(out_channels, *kernel.size, in_channels))
        nn.init.kaiming_normal_(self.weight.flatten(1).detach())

    def forward(self, tensor: SparseTensor, epilogue: Epilogue | None = None) -> SparseTensor:
        return convolve(tensor, self.weight, self.kernel, epilogue)


class SparseConvNormRelu(nn.Module):
    """Sparse convolution, BatchNorm over the active voxels, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels, kernel)
        self.bn = _norm(out_channels)

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        return _conv_norm_relu(self.conv, self.bn, tensor)


class SparseResidualBlock(nn.Module):
    """Two submanifold convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = SparseConv(channels, channels, SUBMANIFOLD)
        self.bn1 = _norm(channels)
        self.conv2 = SparseConv(channels, channels, SUBMANIFOLD)
        self.bn2 = _norm(channels)

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        inner = _conv_norm_relu(self.conv1, self.bn1, tensor)
        return _conv_norm_relu(self.conv2, self.bn2, inner, residual=tensor.features)


def _norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


def _conv_norm_relu(
    conv: SparseConv, norm: nn.BatchNorm1d, tensor: SparseTensor, residual: Tensor | None = None
) -> SparseTensor:
    """relu(norm(conv(tensor)) + residual); where nothing is to be learned, in one pass."""
    if not norm.training and not torch.is_grad_enabled():
        return conv(tensor, Epilogue(*_as_scale_and_shift(norm), residual, relu=True))
    out = conv(tensor)
    features = _normalised(norm, out.features)
    return out.with_features((features if residual is None else features + residual).relu())


def _as_scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What BatchNorm is in evaluation: x * scale + shift."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _normalised(norm: nn.BatchNorm1d, features: Tensor) -> Tensor:
    """BatchNorm that lets an empty cloud pass, and in training a single voxel, which has no variance."""
    fewest = 2 if norm.training else 1
    return norm(features) if len(features) >= fewest else features
