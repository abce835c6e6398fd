"""Surroundings: the points in and around each of many boxes, in the boxes' own axes."""

from __future__ import annotations

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native

# A box's numbers: its middle [m], its heading's cosine and sine, its velocity [m/s], how far from the middle points
# may be along its axes [m], and how high above the middle they must be at least [m].
BOX = ("x", "y", "z", "cosine", "sine", "vx", "vy", "half_length", "half_width", "half_height", "bottom")


def gather_surroundings(points: Tensor, boxes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """points (N, 5) float32: x, y, z [m], intensity, age [s]; boxes (K, 11) float64, of BOX -> what each box has around
    it: (K, most, 5) float32, x, y, z in its axes, intensity, age, zeros behind the last; and how many, (K,) int64.

    A point counts where it would be by now, had it the box's velocity since it was measured. Of more points than `most`
    those are taken that are evenly spread over their order. Points with a NaN are nowhere. Raises InputError for other
    shapes or types.
    """
    native.require("points around boxes", points, (None, 5), torch.float32)
    native.require("boxes", boxes, (None, len(BOX)), torch.float64)
    if most < 1:
        raise InputError("points of a box", "at least 1", f"{most}")
    if not native.runs_on(points):
        return gather_surroundings_torch(points, boxes, most)
    seen = torch.zeros(len(boxes), most, 5)
    counts = torch.zeros(len(boxes), dtype=torch.int64)
    points, boxes = points.contiguous(), boxes.contiguous()
    given = (native.pointer(points), native.integer(len(points)), native.pointer(boxes), native.integer(len(boxes)))
    made = (native.pointer(seen), native.pointer(counts))
    native.run("bevfuse_surroundings", *given, native.integer(most), *made, native.threads())
    return seen, counts


def gather_surroundings_torch(points: Tensor, boxes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The same in torch, box after box."""
    seen = points.new_zeros(len(boxes), most, 5)
    counts = torch.zeros(len(boxes), dtype=torch.int64, device=points.device)
    x, y, z, _, age = points.double().unbind(1)
    for place, (x0, y0, z0, cosine, sine, vx, vy, *half, bottom) in enumerate(boxes.tolist()):
        east, north, up = x + vx * age - x0, y + vy * age - y0, z - z0
        along, across = east * cosine + north * sine, north * cosine - east * sine
        inside = (along.abs() < half[0]) & (across.abs() < half[1]) & (up.abs() < half[2]) & (up > bottom)
        rows = inside.nonzero()[:, 0]
        count = min(len(rows), most)
        rows = rows[torch.arange(count, device=rows.device) * len(rows) // max(count, 1)]
        local = torch.stack([along[rows], across[rows], up[rows]], dim=1).float()
        seen[place, :count] = torch.cat([local, points[rows, 3:]], dim=1)
        counts[place] = count
    return seen, counts
