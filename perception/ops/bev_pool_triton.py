"""BEV pooling on a GPU, in Triton: as csrc/bev_pool.cpp, a program a cell, and on the way back a program a pixel.

No program writes what another does, and each goes through its points in their order: results are the same in every run.
This module needs triton, which CUDA builds of torch bring along; bev_pool imports it where it is to be had.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from perception.ops.bev_pool import PoolingPlan

TILE = 2048  # numbers of a cell's or pixel's rows that a program looks at together


@triton.jit
def sum_cells(features, depth, points, rows, order, offsets, out, channels, POINTS: tl.constexpr, WIDTH: tl.constexpr):
    """One cell of out (cells, channels): the sum of depth[point] * features[row] over its points."""
    run = tl.program_id(0)
    cell = tl.load(order + run).to(tl.int64)
    column = tl.arange(0, WIDTH)
    sums = tl.zeros((WIDTH,), dtype=tl.float32)
    end = tl.load(offsets + run + 1)
    for first in range(tl.load(offsets + run), end, POINTS):
        k = first + tl.arange(0, POINTS)
        weight = tl.load(depth + tl.load(points + k, mask=k < end, other=0), mask=k < end, other=0.0)
        row = tl.load(rows + k, mask=k < end, other=0).to(tl.int64)
        inside = (k < end)[:, None] & (column < channels)[None]
        values = tl.load(features + row[:, None] * channels + column[None], mask=inside, other=0.0)
        sums += tl.sum(weight[:, None] * values, axis=0)
    tl.store(out + cell * channels + column, sums, mask=column < channels)


@triton.jit
def gather_pixels(
    gradient,
    features,
    depth,
    cells,
    of_features,
    of_depth,
    depths,
    channels,
    DEPTHS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One pixel of the gradients of features (P, channels) and depth (P, depths); gradient is (cells, channels)."""
    pixel = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    own = tl.load(features + pixel * channels + column, mask=column < channels, other=0.0)
    sums = tl.zeros((WIDTH,), dtype=tl.float32)
    for first in range(0, depths, DEPTHS):
        d = first + tl.arange(0, DEPTHS)
        cell = tl.load(cells + pixel * depths + d, mask=d < depths, other=-1).to(tl.int64)
        weight = tl.load(depth + pixel * depths + d, mask=d < depths, other=0.0)
        inside = (cell >= 0)[:, None] & (column < channels)[None]
        values = tl.load(gradient + cell[:, None] * channels + column[None], mask=inside, other=0.0)
        # Outside the map nothing counts, not even what isn't finite, of which 0 times is no 0.
        sums += tl.sum(tl.where(inside, weight[:, None] * values, 0.0), axis=0)
        products = tl.sum(tl.where(inside, own[None] * values, 0.0), axis=1)
        tl.store(of_depth + pixel * depths + d, products, mask=d < depths)
    tl.store(of_features + pixel * channels + column, sums, mask=column < channels)


class Pooled(torch.autograd.Function):
    """features (P, C), depth (P, D), both float32 -> (cells, C), see bev_pool."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, depth: Tensor, plan: PoolingPlan) -> Tensor:
        features, depth = features.contiguous(), depth.contiguous()
        ctx.save_for_backward(features, depth)
        ctx.plan = plan
        cells, channels = len(plan.offsets) - 1, features.shape[1]
        out = features.new_empty(cells, channels)
        if out.numel():
            width, tall = _tile(channels)
            with torch.cuda.device_of(out):
                arrays = (features, depth, plan.points, plan.rows, plan.order, plan.offsets, out)
                sum_cells[(cells,)](*arrays, channels, POINTS=tall, WIDTH=width)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (features, depth), plan = ctx.saved_tensors, ctx.plan
        of_features, of_depth = torch.zeros_like(features), torch.zeros_like(depth)
        if plan.pixels:
            width, tall = _tile(features.shape[1])
            with torch.cuda.device_of(features):
                arrays = (gradient.contiguous(), features, depth, plan.cells, of_features, of_depth)
                sizes = (plan.depths, features.shape[1])
                gather_pixels[(plan.pixels,)](*arrays, *sizes, DEPTHS=tall, WIDTH=width)
        return of_features, of_depth, None


def _tile(channels: int) -> tuple[int, int]:
    """Columns and rows of a program's tile: powers of two."""
    width = triton.next_power_of_2(max(channels, 1))
    return width, max(1, TILE // width)
