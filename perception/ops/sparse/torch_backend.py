"""Sparse convolution in plain torch: for each kernel offset gather, multiply, add.

The rulebook is Graham and van der Maaten's ("Submanifold Sparse Convolutional Networks", 2017), found by binary search
among the sorted linear keys of the active voxels. Within one offset no output voxel appears twice, so that the sums
do not depend on the number of threads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.ops.sparse.tensor import Epilogue, Kernel, Rulebook


@dataclass(frozen=True)
class Pairs:
    """The voxels that one kernel offset joins."""

    source: Tensor  # (K,) int64, rows of the input
    target: Tensor  # (K,) int64, rows of the output


def build_rulebook(coordinates: Tensor, size: tuple[int, ...], batch: int, kernel: Kernel) -> Rulebook:
    """One Pairs an offset, offsets in the order of the weight's (kx, ky, kz).

    Raises InputError for a voxel outside the grid or one that is there twice.
    """
    _require_voxels(coordinates, size, batch)
    build = _submanifold if kernel.submanifold else _strided
    return build(coordinates, size, kernel)


def inverted(rulebook: Rulebook, coordinates: Tensor) -> Rulebook:
    """The rulebook the other way round; `coordinates` are those that it was made from."""
    return Rulebook(coordinates, tuple(Pairs(pairs.target, pairs.source) for pairs in rulebook.rules))


def convolve(features: Tensor, weight: Tensor, rulebook: Rulebook, epilogue: Epilogue | None = None) -> Tensor:
    """features (N, Cin), weight (Cout, kx, ky, kz, Cin) -> (M, Cout).

    The result is of the features' type, sums are float32 at least.
    """
    matrices = weight.to(features.dtype).flatten(1, 3).permute(1, 2, 0)  # (offsets, Cin, Cout)
    precise = torch.promote_types(features.dtype, torch.float32)
    out = features.new_zeros(len(rulebook.coordinates), weight.shape[0], dtype=precise)
    for pairs, matrix in zip(rulebook.rules, matrices, strict=True):
        if len(pairs.source):
            product = features.index_select(0, pairs.source) @ matrix
            out.index_add_(0, pairs.target, product.to(precise))  # autocast multiplies in its own precision
    return (out if epilogue is None else epilogue(out)).to(features.dtype)


def _require_voxels(coordinates: Tensor, size: tuple[int, ...], batch: int) -> None:
    inside = ((coordinates >= 0) & (coordinates < coordinates.new_tensor((batch, *size)))).all(dim=1)
    if not bool(inside.all()):
        row = int(torch.nonzero(~inside)[0])
        got = f"{coordinates[row].tolist()} in row {row}"
        raise InputError("sparse coordinates", f"frame, x, y, z inside {(batch, *size)}", got)
    keys = torch.sort(_keys(coordinates, size)).values
    twice = torch.nonzero(keys[1:] == keys[:-1])
    if len(twice):
        got = f"{_coordinates(keys[twice[0]], size)[0].tolist()} again"
        raise InputError("sparse coordinates", "no voxel twice", got)


def _submanifold(coordinates: Tensor, size: tuple[int, ...], kernel: Kernel) -> Rulebook:
    """Offsets come in opposite pairs that join the same voxels the other way round, so half of them are looked up."""
    lookup = _Lookup(coordinates, size)
    rows = torch.arange(len(coordinates), device=coordinates.device)
    pairs = {}
    for offset in _offsets(kernel.size, centred=True):
        opposite = pairs.get(tuple(-step for step in offset))
        if opposite is not None:
            pairs[offset] = Pairs(opposite.target, opposite.source)
            continue
        neighbour = coordinates[:, 1:] + coordinates.new_tensor(offset)
        inside = ((neighbour >= 0) & (neighbour < coordinates.new_tensor(size))).all(dim=1)
        target = rows[inside]
        source = lookup.find(torch.cat([coordinates[target, :1], neighbour[target]], dim=1))
        found = source >= 0
        pairs[offset] = Pairs(source[found], target[found])
    return Rulebook(coordinates, tuple(pairs.values()))


def _strided(coordinates: Tensor, size: tuple[int, ...], kernel: Kernel) -> Rulebook:
    """An output voxel is active if any input voxel under the kernel is; outputs come sorted by frame, x, y, z."""
    out_size = kernel.output_size(size)
    stride, padding = coordinates.new_tensor(kernel.stride), coordinates.new_tensor(kernel.padding)
    sources, keys = [], []
    for offset in _offsets(kernel.size, centred=False):
        shifted = coordinates[:, 1:] + padding - coordinates.new_tensor(offset)
        target = torch.div(shifted, stride, rounding_mode="floor")
        hit = ((shifted % stride == 0) & (target >= 0) & (target < coordinates.new_tensor(out_size))).all(dim=1)
        sources.append(torch.nonzero(hit).squeeze(1))
        keys.append(_keys(torch.cat([coordinates[hit, :1], target[hit]], dim=1), out_size))
    active = torch.unique(torch.cat(keys))
    pairs = tuple(Pairs(source, torch.searchsorted(active, key)) for source, key in zip(sources, keys, strict=True))
    return Rulebook(_coordinates(active, out_size), pairs)


class _Lookup:
    """Find the row of a voxel by its coordinates."""

    def __init__(self, coordinates: Tensor, size: tuple[int, ...]) -> None:
        self.size = size
        self.keys, self.rows = torch.sort(_keys(coordinates, size))

    def find(self, coordinates: Tensor) -> Tensor:
        """Row of each voxel (K, 4), or -1."""
        keys = _keys(coordinates, self.size)
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == keys, self.rows[place], -1)


def _offsets(size: tuple[int, int, int], centred: bool) -> list[tuple[int, int, int]]:
    middle = [k // 2 if centred else 0 for k in size]
    ranges = [range(-m, k - m) for k, m in zip(size, middle, strict=True)]
    return list(itertools.product(*ranges))


def _keys(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    """One int64 a voxel, ordered by frame, x, y, z."""
    frame, x, y, z = coordinates.unbind(1)
    return ((frame * size[0] + x) * size[1] + y) * size[2] + z


def _coordinates(keys: Tensor, size: tuple[int, ...]) -> Tensor:
    place, columns = keys, []
    for n in reversed(size):
        columns.append(place % n)
        place = place // n
    return torch.stack([place, *reversed(columns)], dim=1)
