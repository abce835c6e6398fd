"""Trails: how many points lie at each place of a straight way, by age and by height above the way's bottom."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native
from perception.ops.rows import even, evened

WAY = ("x", "y", "bottom", "height", "cosine", "sine", "side", "far")  # a way's numbers; m


@dataclass(frozen=True)
class Layout:
    """What a trail's rows and columns are: rows by age, then by height; columns from behind the way's middle to ahead.

    A point counts if it is more than `above_m` over the way's bottom and less than `over_m` over its top, within `side`
    of the way and within `far` of its middle, where column `cells` / 2 begins.
    """

    spans: int  # of age, rounded to multiples of span_s
    span_s: float
    layers: int
    cells: int
    cell_m: float
    above_m: float
    over_m: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.spans * self.layers, self.cells


class _Straight(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("spans", "layers", "cells", "bins")),
        ("span_s", ctypes.c_float),
        ("cell_m", ctypes.c_float),
        ("speeds", ctypes.c_int64),
        ("speed", ctypes.c_void_p),
        ("known", ctypes.c_int64),
        ("sizes", ctypes.c_void_p),
        ("pitch", ctypes.c_int64),
    ]


def count_trails(points: Tensor, ways: Tensor, layout: Layout) -> Tensor:
    """points (N, 5) float32: x, y, z [m], intensity, age [s]; ways (K, 8) float64, of WAY -> (K, spans * layers, cells)
    uint8, 255 at most.

    Raises InputError for other shapes or types. Points with a NaN count nowhere.
    """
    native.require("points on ways", points, (None, 5), torch.float32)
    native.require("ways", ways, (None, len(WAY)), torch.float64)
    if min(layout.spans, layout.layers, layout.cells) < 1 or min(layout.span_s, layout.cell_m) <= 0:
        raise InputError("layout of trails", "at least one span, layer and cell, each of some size", f"{layout}")
    if not native.runs_on(points):
        return count_trails_torch(points, ways, layout)
    counts = torch.zeros(len(ways), *layout.shape, dtype=torch.uint8)
    points, ways = points.contiguous(), ways.contiguous()
    numbers = torch.tensor([layout.span_s, layout.above_m, layout.over_m, layout.cell_m], dtype=torch.float64)
    sizes = [native.integer(size) for size in (layout.spans, layout.layers, layout.cells)]
    given = (native.pointer(points), native.integer(len(points)), native.pointer(ways), native.integer(len(ways)))
    native.run("bevfuse_trails", *given, native.pointer(numbers), *sizes, native.pointer(counts), native.threads())
    return counts


def count_trails_torch(points: Tensor, ways: Tensor, layout: Layout) -> Tensor:
    """The same in torch, way after way."""
    x, y, z, _, age = points.double().unbind(1)
    span = torch.round(age / layout.span_s)
    counts = torch.zeros(len(ways), layout.shape[0] * layout.shape[1], dtype=torch.uint8, device=points.device)
    for trail, (x0, y0, bottom, height, cosine, sine, side, far) in zip(counts, ways.tolist(), strict=True):
        along = (x - x0) * cosine + (y - y0) * sine
        across, above = (y - y0) * cosine - (x - x0) * sine, z - bottom
        cell = torch.floor(along / layout.cell_m) + layout.cells // 2
        on = (across.abs() < side) & (along.abs() < far) & (above > layout.above_m) & (above < height + layout.over_m)
        on &= (span >= 0) & (span < layout.spans) & (cell >= 0) & (cell < layout.cells)
        layer = torch.floor(above[on] / height * layout.layers).nan_to_num(0).clamp(0, layout.layers - 1).long()
        place = (span[on].long() * layout.layers + layer) * layout.cells + cell[on].long()
        trail.copy_(place.bincount(minlength=len(trail)).clamp(max=255))
    return counts.view(len(ways), *layout.shape)


def straightened(trails: Tensor, halves: Tensor, speeds: Tensor, layout: Layout, bins: int) -> Tensor:
    """Each trail as it were if its box stood, had it that speed: (K, S, spans * layers * bins), logarithms of counts.

    trails (K, spans * layers, cells) counts; halves (K,) [m], how far from the way's middle the bins go; speeds (S,)
    [m/s]. A count of a bin is the difference of two running sums, taken where the bin's edges were at that age, between
    cells linearly: nothing is lost or counted twice.
    """
    sums = F.pad(trails.float().cumsum(dim=2), (1, 0))
    edges = torch.linspace(-1, 1, bins + 1, device=trails.device) * halves[:, None]
    ages = (torch.arange(layout.spans, device=trails.device) * layout.span_s).repeat_interleave(layout.layers)
    were = edges[:, None, None, :] - (speeds[:, None] * ages)[None, :, :, None]
    cell = (were / layout.cell_m + layout.cells // 2).clamp(0, layout.cells - 1e-3)
    left = cell.long()
    sums = sums[:, None].expand(-1, len(speeds), -1, -1)
    below, above = sums.gather(3, left), sums.gather(3, left + 1)
    return torch.log1p(torch.lerp(below, above, cell - left).diff(dim=3).clamp(min=0)).flatten(2)


def straightened_rows(
    trails: Tensor, halves: Tensor, speeds: Tensor, known: Tensor, sizes: Tensor, layout: Layout, bins: int
) -> Tensor:
    """The same for trails of uint8, in the type of `known`, float32 or bfloat16: (K, S, width + n + 1), and a zero if
    that is odd. Behind each straightened trail is what is known of its way, (K, n), and of the speed, sizes (S,).

    Raises InputError for other shapes or types.
    """
    native.require("trails", trails, (None, *layout.shape), torch.uint8)
    native.require("halves of ways", halves, (len(trails),), torch.float32)
    native.require("speeds", speeds, (None,), torch.float32)
    native.require("sizes of speeds", sizes, (len(speeds),), torch.float32)
    native.require("what is known of ways", known, (len(trails), None), known.dtype)
    if not native.runs_on(halves) or known.dtype not in (torch.float32, torch.bfloat16):
        straight = straightened(trails, halves, speeds, layout, bins)
        columns = (
            straight,
            known[:, None].expand(-1, len(speeds), -1),
            sizes[None, :, None].expand(len(trails), -1, 1),
        )
        return evened(torch.cat([column.to(known.dtype) for column in columns], dim=2))
    trails, halves, speeds, sizes = (each.contiguous() for each in (trails, halves, speeds, sizes))
    pitch = even(layout.shape[0] * bins + known.shape[1] + 1)
    rows = torch.empty(len(trails), len(speeds), pitch, dtype=known.dtype)
    about = known.float().contiguous()
    given = _Straight(
        *(layout.spans, layout.layers, layout.cells, bins, layout.span_s, layout.cell_m),
        *(len(speeds), speeds.data_ptr(), about.shape[1], sizes.data_ptr(), pitch),
    )
    arrays = (native.pointer(trails), native.integer(len(trails)), native.pointer(halves), native.pointer(about))
    bf16 = int(known.dtype == torch.bfloat16)
    native.run("bevfuse_straightened", ctypes.byref(given), *arrays, bf16, native.pointer(rows), native.threads())
    return rows
