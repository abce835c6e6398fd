"""BEV pooling: sum what every pixel sees at every depth into the cells of a BEV map.

Lift-splat (Philion and Fidler, ECCV 2020) gives each of P pixels a feature vector and a distribution over D depths; the
frustum point (p, d) carries their product. The P x D x C product is never made: a cell's sum is a weighted sum over
pixels, which is an embedding bag.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from calibration.errors import InputError
from perception.ops import native
from perception.ops.native import require

LARGEST = 2**31 - 1  # frustum points, and cells: their numbers are 32-bit


class _Images(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("height", "width")]


@dataclass(frozen=True)
class PoolingPlan:
    """The frustum points sorted by their cell; depends on calibration alone, so it can be kept from frame to frame."""

    points: Tensor  # (K,) int32, indices into the flattened (P, D) of the frustum points inside the map, by cell
    rows: Tensor  # (K,) int32, the pixel of each of `points`
    offsets: Tensor  # (cells + 1,) int64, where each run in `points` starts: a cell's points, see `order`
    order: Tensor  # (cells,) int32, the cell of each run
    depths: int  # D
    pixels: int  # P
    image: tuple[int, int]  # height and width

    @staticmethod
    def of(cells: Tensor, count: int, image: tuple[int, int] = (1, 1)) -> PoolingPlan:
        """cells (P, D) int64: the flat cell 0..count-1 of each frustum point, or negative for none.

        Pixels that lie row by row in an `image` of (height, width), one or many, are gone through by columns, which is
        twice as fast: a column's pixels look past the same cells. Results are the same to rounding.

        Raises InputError for a cell beyond the last, for 2^31 frustum points or cells, and for parts of images.
        """
        require("cells to pool into", cells, (None, None), torch.int64)
        if cells.numel() > LARGEST or count > LARGEST:
            raise InputError(
                "cells to pool into", f"at most {LARGEST} frustum points", f"{tuple(cells.shape)}, {count}"
            )
        if min(image) < 1 or len(cells) % (image[0] * image[1]):
            raise InputError("pixels to pool", f"whole images of {image[0]} x {image[1]}", str(len(cells)))
        on_cpu = cells.device.type == "cpu" and native.library() is not None
        arrays = _sorted(cells, count, image) if on_cpu else sorted_torch(cells, count)
        return PoolingPlan(*arrays, cells.shape[1], cells.shape[0], image)

    @cached_property
    def cells(self) -> Tensor:
        """(P * D,) int32, the cell of each frustum point, -1 for none: for the way back, which goes by pixels."""
        cells = self.points.new_full((self.pixels * self.depths,), -1)
        cells[self.points] = torch.repeat_interleave(self.order, self.offsets.diff())
        return cells


def sorted_torch(cells: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`points`, `rows`, `offsets` and `order` of a plan in plain torch, anywhere; cells come in their own order."""
    flat = cells.flatten()
    inside = torch.nonzero(flat >= 0).squeeze(1)
    sorted_cells, order = torch.sort(flat[inside], stable=True)
    offsets = torch.searchsorted(sorted_cells, torch.arange(count + 1, device=cells.device))
    if offsets[-1] < len(order):
        raise _beyond(int(sorted_cells[-1]), count)
    points = inside[order]
    order = torch.arange(count, dtype=torch.int32, device=cells.device)
    return points.int(), (points // max(cells.shape[1], 1)).int(), offsets, order


def _sorted(cells: Tensor, count: int, image: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same by csrc/bev_plan.cpp, in the order in which cells are met."""
    cells, order = cells.contiguous(), torch.empty(count, dtype=torch.int32)
    offsets, next_of_cell = (torch.empty(n, dtype=torch.int64) for n in (count + 1, count))
    images = ctypes.byref(_Images(*image))
    start = (native.pointer(cells), *map(native.integer, cells.shape), images)
    made = map(native.pointer, (order, offsets, next_of_cell))
    inside = native.count_of("bevfuse_bev_count", *start, native.integer(count), *made)
    if inside < 0:
        raise _beyond(int(cells.max()), count)
    points, rows = (torch.empty(inside, dtype=torch.int32) for _ in range(2))
    native.run("bevfuse_bev_sort", *start, *map(native.pointer, (next_of_cell, points, rows)))
    return points, rows, offsets, order


def _beyond(cell: int, count: int) -> InputError:
    return InputError("cells to pool into", f"below {count}, or negative for none", f"{cell}")


def bev_pool(features: Tensor, depth: Tensor, plan: PoolingPlan) -> Tensor:
    """features (P, C), depth (P, D) -> (cells, C): for each cell, the sum of depth[p, d] * features[p] over its points.

    Differentiable in both; needs no memory beyond its result and K indices. In float32, on a CPU by our kernels where
    they were built, on a GPU by Triton where it is installed; else by torch. Raises InputError for tensors that don't
    fit the plan.
    """
    require("features to pool", features, (plan.pixels, None), features.dtype)
    require("depth to pool", depth, (plan.pixels, plan.depths), features.dtype)
    if native.runs_on(features, depth):
        return _Pooled.apply(features, depth, plan)
    if features.is_cuda and features.dtype == torch.float32 and find_spec("triton"):
        return import_module("perception.ops.bev_pool_triton").Pooled.apply(features, depth, plan)
    return bev_pool_torch(features, depth, plan)


def bev_pool_torch(features: Tensor, depth: Tensor, plan: PoolingPlan) -> Tensor:
    """The same in plain torch, anywhere."""
    sums = F.embedding_bag(
        plan.rows.long(),
        features,
        plan.offsets,
        mode="sum",
        per_sample_weights=depth.flatten()[plan.points],
        include_last_offset=True,
    )
    return torch.zeros_like(sums).index_copy(0, plan.order.long(), sums)


class _Pooled(torch.autograd.Function):
    """The same by csrc/bev_pool.cpp."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, depth: Tensor, plan: PoolingPlan) -> Tensor:
        features, depth = features.contiguous(), depth.contiguous()
        ctx.save_for_backward(features, depth)
        ctx.plan = plan
        cells, channels = len(plan.offsets) - 1, features.shape[1]
        out = features.new_empty(cells, channels)
        arrays = map(native.pointer, (features, depth, plan.points, plan.rows, plan.order, plan.offsets))
        sizes = (native.integer(cells), native.integer(channels))
        native.run("bevfuse_bev_pool", *arrays, *sizes, native.pointer(out), native.threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (features, depth), plan = ctx.saved_tensors, ctx.plan
        of_features, of_depth = torch.empty_like(features), torch.empty_like(depth)
        arrays = map(native.pointer, (gradient.contiguous(), features, depth, plan.cells))
        sizes = map(native.integer, (plan.pixels, plan.depths, features.shape[1]))
        results = map(native.pointer, (of_features, of_depth))
        images = ctypes.byref(_Images(*plan.image))
        native.run("bevfuse_bev_pool_backward", *arrays, images, *sizes, *results, native.threads())
        return of_features, of_depth, None


def bev_pool_plain(features: Tensor, depth: Tensor, cells: Tensor, count: int) -> Tensor:
    """The definition, for tests: makes the outer product, then adds it up. cells as in PoolingPlan.of."""
    product = (depth[:, :, None] * features[:, None, :]).flatten(0, 1)  # (P * D, C)
    inside = cells.flatten() >= 0
    return features.new_zeros(count, features.shape[1]).index_add(0, cells.flatten()[inside], product[inside])
