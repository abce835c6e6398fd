"""Which cell of a BEV map each point of the cameras' frustums falls into.

Cells are cut off, so that one rounding more or less moves a point to the next cell: products are rounded one after the
other, as in the code that the public weights were trained with.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from perception.ops import native
from perception.ops.native import require


class Frustums(NamedTuple):
    """N images' points: u * depth, v * depth and depth times a column of `along` each, and `origin`."""

    pixels: Tensor  # (N, P, 2) float32, u and v as the camera matrix has them
    depths: Tensor  # (D,) float32 m
    along: Tensor  # (N, 3, 3) float32, lidar_from_pixels
    origin: Tensor  # (N, 3) float32 m, of the camera in the lidar frame
    frame: Tensor  # (N,) int64, whose map it is


class _Frustums(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "pixels", "depths")),
        *((name, ctypes.c_void_p) for name in ("pixel", "depth", "along", "origin", "frame")),
        *((name, ctypes.c_float * 3) for name in ("lower", "step")),
        ("size", ctypes.c_int64 * 2),
    ]


class Map(NamedTuple):
    """What frustums are cut by: `size` cells along x and y, and one along z."""

    lower: tuple[float, float, float]  # m, lidar frame
    step: tuple[float, float, float]  # m, of a cell
    size: tuple[int, int]


def frustum_cells(frustums: Frustums, bev: Map) -> Tensor:
    """The flat cell (frame, x, y) of every point, -1 for none: (N, P, D) int64.

    Truncation towards zero takes in what lies up to one cell below the lower edge: so the public weights saw it.
    """
    if not native.runs_on(*frustums[:-1]) or bev.size[0] * bev.size[1] >= 2**31:
        return frustum_cells_torch(frustums, bev)
    count, pixels, _ = frustums.pixels.shape
    require("pixels", frustums.pixels, (count, pixels, 2), torch.float32)
    require("along", frustums.along, (count, 3, 3), torch.float32)
    require("origin", frustums.origin, (count, 3), torch.float32)
    require("frame", frustums.frame, (count,), torch.int64)
    arrays = [array.contiguous() for array in frustums]
    cells = torch.empty(count, pixels, len(frustums.depths), dtype=torch.int64)
    given = _Frustums(
        *cells.shape,
        *map(native.pointer, arrays),
        (ctypes.c_float * 3)(*bev.lower),
        (ctypes.c_float * 3)(*bev.step),
        (ctypes.c_int64 * 2)(*bev.size),
    )
    native.run("bevfuse_frustum_cells", ctypes.byref(given), native.pointer(cells), native.threads())
    return cells


def frustum_cells_torch(frustums: Frustums, bev: Map) -> Tensor:
    """The same in torch."""
    pixels, depth = frustums.pixels, frustums.depths[:, None]  # (D, 1)
    along_u, along_v, along_depth = frustums.along[:, None, None].unbind(dim=-1)  # (N, 1, 1, 3) each
    points = pixels[:, :, None, :1] * depth * along_u  # (N, P, D, 3)
    points += pixels[:, :, None, 1:] * depth * along_v
    points += depth * along_depth
    points += frustums.origin[:, None, None]
    place = ((points - points.new_tensor(bev.lower)) / points.new_tensor(bev.step)).long()
    inside = ((place >= 0) & (place < place.new_tensor([*bev.size, 1]))).all(dim=-1)
    cell = (frustums.frame[:, None, None] * bev.size[0] + place[..., 0]) * bev.size[1] + place[..., 1]
    return torch.where(inside, cell, -1)
