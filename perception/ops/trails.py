"""Trails: how many points lie at each place of a straight way, by age and by height above the way's bottom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native

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
