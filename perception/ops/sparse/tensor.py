"""Sparse tensors, convolution kernels, and the rulebooks that join them."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from calibration.errors import InputError


@dataclass(frozen=True)
class Kernel:
    """The geometry of a convolution; `submanifold` keeps the active voxels as they are (stride 1, centred)."""

    size: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)
    submanifold: bool = False

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Voxels along each axis after the convolution."""
        if self.submanifold:
            return tuple(size)
        axes = zip(size, self.size, self.stride, self.padding, strict=True)
        return tuple((n + 2 * pad - k) // step + 1 for n, k, step, pad in axes)


@dataclass(frozen=True)
class Rulebook:
    """Which input voxels feed which output voxels through which kernel offset; built once for given coordinates."""

    coordinates: Tensor  # (M, 4) int64, the output's
    rules: Any  # the back end's own


@dataclass(frozen=True)
class SparseTensor:
    """Features at the active voxels of a batch of grids; all other voxels are zero."""

    features: Tensor  # (N, C)
    coordinates: Tensor  # (N, 4) int64: frame, x, y, z; no voxel twice
    size: tuple[int, ...]  # voxels along x, y, z
    batch: int  # frames, some perhaps without any voxel
    rulebooks: dict[Kernel, Rulebook] = field(default_factory=dict, compare=False)  # made so far for these coordinates

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.features.dim() != 2 or self.coordinates.shape != (n, 4) or self.coordinates.dtype != torch.int64:
            got = f"{tuple(self.features.shape)}, {tuple(self.coordinates.shape)} {self.coordinates.dtype}"
            raise InputError("sparse tensor", "features (N, C) and coordinates (N, 4) int64", got)

    def with_features(self, features: Tensor) -> SparseTensor:
        """Other features at the same voxels; rulebooks are shared."""
        return replace(self, features=features)

    def dense(self) -> Tensor:
        """The tensor with its zeros: (batch, C, X, Y, Z)."""
        x, y, z = self.size
        frame, i, j, k = self.coordinates.unbind(1)
        rows = ((frame * x + i) * y + j) * z + k
        dense = self.features.new_zeros(self.batch * x * y * z, self.features.shape[1])
        dense = dense.index_copy(0, rows, self.features)
        return dense.view(self.batch, x, y, z, -1).permute(0, 4, 1, 2, 3)


def convolve(tensor: SparseTensor, weight: Tensor, kernel: Kernel) -> SparseTensor:
    """Convolve with weight (Cout, kx, ky, kz, Cin), without bias.

    A rulebook made for the same coordinates and kernel geometry is used again.
    """
    expected = (*kernel.size, tensor.features.shape[1])
    if tuple(weight.shape[1:]) != expected:
        raise InputError("sparse weight", f"(Cout, kx, ky, kz, Cin) = (*, {expected})", f"{tuple(weight.shape)}")
    backend = backend_for(tensor.features.device)
    rulebook = tensor.rulebooks.get(kernel)
    if rulebook is None:
        rulebook = backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
        tensor.rulebooks[kernel] = rulebook
    features = backend.convolve(tensor.features, weight, rulebook)
    if kernel.submanifold:
        return tensor.with_features(features)
    return SparseTensor(features, rulebook.coordinates, kernel.output_size(tensor.size), tensor.batch)


def backend_for(device: torch.device) -> ModuleType:
    """spconv on a GPU where it is installed, else torch."""
    name = "spconv_backend" if device.type == "cuda" and importlib.util.find_spec("spconv") else "torch_backend"
    return importlib.import_module(f"perception.ops.sparse.{name}")
