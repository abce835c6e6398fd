"""Sparse convolution by spconv 2 (https://github.com/traveller59/spconv), for NVIDIA GPUs.

Of spconv's algorithms this takes Native, which gathers, multiplies and scatters: the one that also runs on a CPU, where
the tests compare it with torch_backend, values and gradients. On a GPU this file has not been run yet, nor have the
implicit-GEMM algorithms been tried, which are spconv's own choice there. On a CPU the detector never uses spconv:
version 2.3.8 has a data race with more than one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perception.ops.sparse.tensor import Epilogue, Kernel, Rulebook


@dataclass(frozen=True)
class Pairs:
    """The voxels that each kernel offset joins, as spconv lays them out."""

    rows: Tensor  # (2, offsets, N) int32, rows of the input and of the output
    counts: Tensor  # (offsets,) int32, how many of each offset's N are in use
    submanifold: bool
    inverse: bool = False


def build_rulebook(coordinates: Tensor, size: tuple[int, ...], batch: int, kernel: Kernel) -> Rulebook:
    """Its rules are Pairs, or None where no voxel is joined to any; strided outputs come in no particular order."""
    if not _any_output(coordinates, size, kernel):
        return Rulebook(coordinates[:0], None)
    from spconv.core import ConvAlgo
    from spconv.pytorch import ops

    with torch.cuda.device_of(coordinates):  # spconv takes the current device's stream
        active, rows, counts = ops.get_indice_pairs(
            coordinates.int().contiguous(),
            batch,
            list(size),
            ConvAlgo.Native,
            ksize=list(kernel.size),
            stride=list(kernel.stride),
            padding=list(kernel.padding),
            dilation=[1, 1, 1],
            out_padding=[0, 0, 0],
            subm=kernel.submanifold,
        )
    active = coordinates if kernel.submanifold else active.long()
    return Rulebook(active, Pairs(rows, counts, kernel.submanifold))


def inverted(rulebook: Rulebook, coordinates: Tensor) -> Rulebook:
    """The rulebook the other way round; `coordinates` are those that it was made from."""
    return Rulebook(coordinates, None if rulebook.rules is None else replace(rulebook.rules, inverse=True))


def convolve(features: Tensor, weight: Tensor, rulebook: Rulebook, epilogue: Epilogue | None = None) -> Tensor:
    """features (N, Cin), weight (Cout, kx, ky, kz, Cin) -> (M, Cout).

    Half precision is computed in float32, under autocast too: spconv knows no bfloat16 and would take float16 instead.
    """
    with torch.cuda.device_of(features), torch.autocast(features.device.type, enabled=False):
        sums = _sums(_at_least_float32(features), _at_least_float32(weight.to(features.dtype)), rulebook)
        return (sums if epilogue is None else epilogue(sums)).to(features.dtype)


def _sums(features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
    count = len(rulebook.coordinates)
    if rulebook.rules is None:
        return features.new_zeros(count, weight.shape[0])
    from spconv.core import ConvAlgo
    from spconv.pytorch import functional

    pairs: Pairs = rulebook.rules
    apply = functional.indice_inverse_conv if pairs.inverse else functional.indice_conv
    if pairs.submanifold:  # of whose pairs spconv keeps half: the opposite offset joins the same voxels the other way
        apply = functional.indice_subm_conv
        weight = weight.flip(1, 2, 3) if pairs.inverse else weight
    return apply(features.contiguous(), weight.contiguous(), pairs.rows, pairs.counts, count, ConvAlgo.Native)


def _any_output(coordinates: Tensor, size: tuple[int, ...], kernel: Kernel) -> bool:
    """Whether any voxel feeds an output: spconv crashes without input and raises without output."""
    if kernel.submanifold:
        return len(coordinates) > 0
    stride, out_size = coordinates.new_tensor(kernel.stride), coordinates.new_tensor(kernel.output_size(size))
    place = coordinates[:, 1:] + coordinates.new_tensor(kernel.padding)
    first = torch.div(place - coordinates.new_tensor(kernel.size), stride, rounding_mode="floor") + 1
    last = torch.div(place, stride, rounding_mode="floor")
    return bool((first.clamp(min=0) <= last.minimum(out_size - 1)).all(dim=1).any())


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
