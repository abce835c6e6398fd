"""Sparse convolution by our own kernels (csrc/sparse_*.cpp), for CPUs: the same results as torch_backend, sooner.

The kernels know float32 and, for inference and as input, bfloat16. Other types are left to torch_backend, with the
rulebook made here. Nothing depends on the number of threads, not even the last bit.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.ops.native import integer, multiplies_bf16, pointer, require, run, threads
from perception.ops.sparse import torch_backend
from perception.ops.sparse.tensor import Epilogue, Kernel, Rulebook

TILE_ROWS = 256  # output voxels whose sums stay in the second-level cache while all offsets are added to them
OUTSIDE, TWICE = 1, 2  # what bevfuse_sparse_build finds wrong with a voxel
LARGEST = 2**31 - 1  # voxels: rows are 32-bit
MOST_OFFSETS = 2**16  # of a kernel; each takes some hundred bytes a tile


class _Rules(ctypes.Structure):
    """Rules of csrc/sparse.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("outputs", "offsets", "tile_rows")),
        *((name, ctypes.c_void_p) for name in ("starts", "sources", "targets", "order")),
    )


class _Epilogue(ctypes.Structure):
    """Epilogue of csrc/sparse.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("scale", "shift", "residual")),
        *((name, ctypes.c_int32) for name in ("relu", "bf16")),
    )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Who feeds whom, by tiles of output voxels: in each tile the pairs of one kernel offset after the other."""

    inputs: int  # voxels
    outputs: int  # voxels
    offsets: int  # of the kernel
    starts: Tensor  # (tiles * offsets + 1,) int64, where the pairs of each tile's offset begin
    sources: Tensor  # (K,) int32, rows of the input
    targets: Tensor  # (K,) uint16, positions in the tile
    order: Tensor | None  # (outputs,) int32, row of the output at each position; None: the same
    symmetric: bool  # whether offset o joins i to j where the offset at the other end joins j to i

    @cached_property
    def c(self) -> _Rules:
        """For the kernels; as long-lived as this."""
        arrays = (self.starts, self.sources, self.targets, self.order)
        return _Rules(self.outputs, self.offsets, TILE_ROWS, *map(_pointer, arrays))

    @cached_property
    def transposed(self) -> Pairs:
        """Inputs and outputs exchanged."""
        starts = torch.empty(-(-self.inputs // TILE_ROWS) * self.offsets + 1, dtype=torch.int64)
        sources, targets = torch.empty_like(self.sources), torch.empty_like(self.targets)
        arrays = map(_pointer, (starts, sources, targets))
        run("bevfuse_sparse_transpose", ctypes.byref(self.c), integer(self.inputs), *arrays)
        return Pairs(self.outputs, self.inputs, self.offsets, starts, sources, targets, None, False)

    @cached_property
    def plain(self) -> tuple[torch_backend.Pairs, ...]:
        """For torch_backend."""
        lists = torch.repeat_interleave(torch.arange(len(self.starts) - 1), self.starts.diff())
        rows = lists // self.offsets * TILE_ROWS + self.targets.long()
        if self.order is not None:
            rows = self.order.long()[rows]
        offsets, by_offset = torch.sort(lists % self.offsets, stable=True)
        counts = torch.bincount(offsets, minlength=self.offsets).tolist()
        sources, targets = (rows[by_offset].split(counts) for rows in (self.sources.long(), rows))
        return tuple(map(torch_backend.Pairs, sources, targets))


def build_rulebook(coordinates: Tensor, size: tuple[int, ...], batch: int, kernel: Kernel) -> Rulebook:
    """Its rules are Pairs. Strided outputs come sorted by frame, x, y, z.

    Raises InputError for a voxel outside the grid, one that is there twice, or a grid of 2^63 voxels.
    """
    require("sparse coordinates", coordinates, (None, 4), torch.int64)
    count, offsets = len(coordinates), math.prod(kernel.size)
    _require_grid(count, size, batch, kernel)
    coordinates = coordinates.contiguous()
    shape = (batch, *size, *kernel.size, *kernel.stride, *kernel.padding, kernel.submanifold)
    book, found = ctypes.c_void_p(), (ctypes.c_int64 * 4)()
    arguments = (pointer(coordinates), integer(count), (ctypes.c_int64 * len(shape))(*shape), integer(TILE_ROWS))
    run("bevfuse_sparse_build", *arguments, threads(), ctypes.byref(book), found)
    row, fault = found[0], found[3]
    if fault == OUTSIDE:
        got = f"{coordinates[row].tolist()} in row {row}"
        raise InputError("sparse coordinates", f"frame, x, y, z inside {(batch, *size)}", got)
    if fault == TWICE:
        got = f"{coordinates[row].tolist()} again in row {row}"
        raise InputError("sparse coordinates", "no voxel twice", got)
    outputs, pairs, ordered, _ = found
    try:
        active = coordinates if kernel.submanifold else torch.empty(outputs, 4, dtype=torch.int64)
        order = torch.empty(outputs, dtype=torch.int32) if ordered else None
        starts = torch.empty(-(-outputs // TILE_ROWS) * offsets + 1, dtype=torch.int64)
        sources, targets = torch.empty(pairs, dtype=torch.int32), torch.empty(pairs, dtype=torch.uint16)
        arrays = (None if kernel.submanifold else active, order, starts, sources, targets)
        run("bevfuse_sparse_export", book, *map(_pointer, arrays), threads())
    finally:
        run("bevfuse_sparse_free", book)
    symmetric = kernel.submanifold and all(n % 2 for n in kernel.size)
    return Rulebook(active, Pairs(count, outputs, offsets, starts, sources, targets, order, symmetric))


def inverted(rulebook: Rulebook, coordinates: Tensor) -> Rulebook:
    """The rulebook the other way round; `coordinates` are those that it was made from."""
    return Rulebook(coordinates, rulebook.rules.transposed)


def convolve(features: Tensor, weight: Tensor, rulebook: Rulebook, epilogue: Epilogue | None = None) -> Tensor:
    """features (N, Cin), weight (Cout, kx, ky, kz, Cin) -> (M, Cout), of the features' type."""
    pairs: Pairs = rulebook.rules
    _require_operands(features, weight, pairs)
    if features.dtype not in (torch.float32, torch.bfloat16):
        return torch_backend.convolve(features, weight, Rulebook(rulebook.coordinates, pairs.plain), epilogue)
    weight = weight.to(features.dtype)
    needs_gradient = [features, weight]
    if epilogue is not None:
        _require_epilogue(epilogue, features, len(weight), pairs)
        needs_gradient += [epilogue.scale, epilogue.shift, epilogue.residual]
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in needs_gradient):
        sums = _Convolution.apply(features, weight, pairs)
        return sums if epilogue is None else epilogue(sums)
    return _convolved(features, weight, pairs, epilogue or Epilogue())


class _Convolution(torch.autograd.Function):
    """The convolution with its gradients."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        return _convolved(features, weight, pairs, Epilogue())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        of_features = _features_gradient(gradient, weight, ctx.pairs) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(features, gradient, weight, ctx.pairs) if ctx.needs_input_grad[1] else None
        return of_features, of_weight, None


def _convolved(features: Tensor, weight: Tensor, pairs: Pairs, epilogue: Epilogue) -> Tensor:
    cin, weight = features.shape[1], weight.contiguous()
    steps = (pairs.offsets * cin, cin, 1)
    return _multiplied(features, weight, 0, steps, len(weight), pairs, epilogue)


def _features_gradient(gradient: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    """A convolution of the output's gradient by the pairs the other way round.

    Of symmetric pairs, those are the same pairs at the opposite offset: the weight is read from its end.
    """
    cin, weight = weight.shape[-1], weight.contiguous()
    gradient = gradient.to(weight.dtype)
    if pairs.symmetric:
        steps = (1, -cin, pairs.offsets * cin)
        return _multiplied(gradient, weight, (pairs.offsets - 1) * cin, steps, cin, pairs, Epilogue())
    return _multiplied(gradient, weight, 0, (1, cin, pairs.offsets * cin), cin, pairs.transposed, Epilogue())


def _multiplied(
    features: Tensor,  # (N, Cin) float32 or bfloat16
    weight: Tensor,  # contiguous, of the same type
    first: int,  # element of the weight at output channel, offset and input channel 0
    steps: tuple[int, int, int],  # elements from one output channel, offset and input channel to the next
    cout: int,
    pairs: Pairs,
    epilogue: Epilogue,
) -> Tensor:
    out = torch.empty(pairs.outputs, cout, dtype=features.dtype)
    bf16 = features.dtype == torch.bfloat16
    by_pairs = bf16 and features.shape[1] % 2 == 0 and multiplies_bf16()
    if bf16 and not by_pairs:
        features, weight = features.float(), weight.float()
    features = features.contiguous()
    scale, shift = (
        None if part is None else part.detach().float().contiguous() for part in (epilogue.scale, epilogue.shift)
    )
    residual = None if epilogue.residual is None else epilogue.residual.to(out.dtype).contiguous()
    after = _Epilogue(*map(_pointer, (scale, shift, residual)), epilogue.relu, bf16)
    run(
        "bevfuse_sparse_convolve",
        _pointer(features),
        ctypes.c_void_p(weight.data_ptr() + first * weight.element_size()),
        (ctypes.c_int64 * 3)(*steps),
        integer(features.shape[1]),
        integer(cout),
        by_pairs,
        ctypes.byref(pairs.c),
        ctypes.byref(after),
        _pointer(out),
        threads(),
    )
    return out


def _weight_gradient(features: Tensor, gradient: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    features, gradient = features.float().contiguous(), gradient.float().contiguous()
    out = torch.empty(weight.shape, dtype=torch.float32)
    sizes = (integer(features.shape[1]), integer(len(weight)))
    arguments = (_pointer(features), _pointer(gradient), *sizes, ctypes.byref(pairs.c), _pointer(out))
    run("bevfuse_sparse_weight_gradient", *arguments, threads())
    return out.to(weight.dtype)


def _require_grid(count: int, size: tuple[int, ...], batch: int, kernel: Kernel) -> None:
    if min(*kernel.size, *kernel.stride) < 1 or min(*size, batch) < 0:
        raise InputError("sparse convolution", "sizes and strides of at least 1", f"{kernel}, {(batch, *size)}")
    if math.prod(kernel.size) > MOST_OFFSETS:
        raise InputError("sparse convolution", f"a kernel of at most {MOST_OFFSETS} offsets", f"{kernel.size}")
    cells = batch * max(math.prod(size), math.prod(max(n, 0) for n in kernel.output_size(size)))
    if cells >= 2**63 - 64 or count > LARGEST:
        raise InputError("sparse grid", f"fewer than 2^63 voxels, {LARGEST} active", f"{(batch, *size)}, {count}")


def _require_operands(features: Tensor, weight: Tensor, pairs: Pairs) -> None:
    if features.dim() != 2 or len(features) != pairs.inputs or features.device.type != "cpu":
        raise InputError("sparse features", f"({pairs.inputs}, Cin) on the CPU", _described(features))
    fits = weight.dim() == 5 and math.prod(weight.shape[1:4]) == pairs.offsets and weight.device == features.device
    if not fits or weight.shape[4] != features.shape[1] or not weight.is_floating_point():
        expected = f"(Cout, kx, ky, kz, {features.shape[1]}) of {pairs.offsets} offsets on the CPU"
        raise InputError("sparse weight", expected, _described(weight))


def _require_epilogue(epilogue: Epilogue, features: Tensor, cout: int, pairs: Pairs) -> None:
    expected = {"scale": (cout,), "shift": (cout,), "residual": (pairs.outputs, cout)}
    for name, shape in expected.items():
        part = getattr(epilogue, name)
        if part is not None and (tuple(part.shape) != shape or part.device != features.device):
            raise InputError(f"sparse epilogue: {name}", f"{shape} on the CPU", _described(part))


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype} on {tensor.device}"


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None) if tensor is None else pointer(tensor)
