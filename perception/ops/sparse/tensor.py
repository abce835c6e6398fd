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
from perception.ops.native import library


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
class Epilogue:
    """What becomes of a convolution's sums before they are stored: relu(sum * scale + shift + residual).

    BatchNorm in evaluation, a shortcut and a rectifier, in one pass over memory. Parts that are None are left out.
    """

    scale: Tensor | None = None  # (Cout,) float32
    shift: Tensor | None = None  # (Cout,) float32
    residual: Tensor | None = None  # (M, Cout), at the output's voxels
    relu: bool = False

    def __call__(self, sums: Tensor) -> Tensor:
        """The definition, at the sums' precision, differentiable."""
        if self.scale is not None:
            sums = sums * self.scale.to(sums.dtype)
        if self.shift is not None:
            sums = sums + self.shift.to(sums.dtype)
        if self.residual is not None:
            sums = sums + self.residual
        return sums.relu() if self.relu else sums


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

    def sorted(self) -> SparseTensor:
        """The same voxels by frame, x, y, z: in memory, neighbours are then close, and convolutions faster."""
        order = torch.argsort(self._keys())
        return replace(
            self,
            features=self.features.index_select(0, order),
            coordinates=self.coordinates.index_select(0, order),
            rulebooks={},
        )

    def dense(self) -> Tensor:
        """The tensor with its zeros: (batch, C, X, Y, Z)."""
        x, y, z = self.size
        dense = self.features.new_zeros(self.batch * x * y * z, self.features.shape[1])
        dense = dense.index_copy(0, self._keys(), self.features)
        return dense.view(self.batch, x, y, z, -1).permute(0, 4, 1, 2, 3)

    def _keys(self) -> Tensor:
        """(N,) int64, each voxel's number in the batch of grids."""
        x, y, z = self.size
        frame, i, j, k = self.coordinates.unbind(1)
        return ((frame * x + i) * y + j) * z + k


def convolve(tensor: SparseTensor, weight: Tensor, kernel: Kernel, epilogue: Epilogue | None = None) -> SparseTensor:
    """Convolve with weight (Cout, kx, ky, kz, Cin), without bias unless the epilogue has one.

    The result is of the features' type; in bfloat16 the weight is rounded to it, and sums are float32. A rulebook made
    for the same coordinates and kernel geometry is used again.

    Raises InputError for a weight that doesn't fit, a voxel outside the grid or one that is there twice.
    """
    _require_fit(weight, kernel, tensor.features)
    backend = backend_for(tensor.features.device)
    rulebook = _rulebook(backend, tensor, kernel)
    features = backend.convolve(tensor.features, weight, rulebook, epilogue)
    if kernel.submanifold:
        return tensor.with_features(features)
    return SparseTensor(features, rulebook.coordinates, kernel.output_size(tensor.size), tensor.batch)


def convolve_inverse(
    tensor: SparseTensor, weight: Tensor, kernel: Kernel, fine: SparseTensor, epilogue: Epilogue | None = None
) -> SparseTensor:
    """Back from the voxels that convolving `fine` with `kernel` gave, to the voxels of `fine`.

    Every pair that the convolution joined is joined the other way round, with weight (Cout, kx, ky, kz, Cin): the
    inverse convolution of Graham and van der Maaten's U-Nets (CVPR 2018), a transposed convolution that keeps to the
    active voxels. Raises InputError if `tensor` is not at those voxels.
    """
    _require_fit(weight, kernel, tensor.features)
    backend = backend_for(tensor.features.device)
    rulebook = _rulebook(backend, fine, kernel)
    made = rulebook.coordinates
    if made is not tensor.coordinates and not torch.equal(made, tensor.coordinates):
        expected = f"the {len(made)} voxels that the convolution of the fine tensor gives"
        raise InputError("sparse inverse convolution", expected, f"{len(tensor.coordinates)} others")
    inverse = backend.inverted(rulebook, fine.coordinates)
    return fine.with_features(backend.convolve(tensor.features, weight, inverse, epilogue))


def backend_for(device: torch.device) -> ModuleType:
    """On a CPU our kernels where they were built, on a GPU spconv where it is installed, else torch."""
    name = "torch_backend"
    if device.type == "cpu" and library() is not None:
        name = "native_backend"
    elif device.type == "cuda" and importlib.util.find_spec("spconv"):
        name = "spconv_backend"
    return importlib.import_module(f"perception.ops.sparse.{name}")


def _require_fit(weight: Tensor, kernel: Kernel, features: Tensor) -> None:
    expected = (*kernel.size, features.shape[1])
    if tuple(weight.shape[1:]) != expected:
        raise InputError("sparse weight", f"(Cout, kx, ky, kz, Cin) = (*, {expected})", f"{tuple(weight.shape)}")


def _rulebook(backend: ModuleType, tensor: SparseTensor, kernel: Kernel) -> Rulebook:
    rulebook = tensor.rulebooks.get(kernel)
    if rulebook is None:
        rulebook = backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
        tensor.rulebooks[kernel] = rulebook
    return rulebook
