"""Convolutions of 3 x 3 pixels by a third or a quarter of the products, on CPUs.

Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): the sums
of a tile are a polynomial product, which is found from its values at a few points. In float32 tiles are 4 x 4 pixels,
which is 3e-7 off, relative RMS, about twice as much as summing directly. In bfloat16 what is lost in the values at the
points matters: tiles of 4 x 2 are 0.4 % off, where summing directly is 0.25 %, and 4 x 4 would be 1 %.

A number that isn't finite spoils the tiles that it is in, not only the pixels beside it.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.polynomial import polynomial
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native
from perception.ops.dense import PLAIN, Activation
from perception.ops.rows import multiplies_rows

TAPS = 3
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))}  # and infinity
TILES = {torch.float32: (4, 4), torch.bfloat16: (4, 2)}  # outputs down and across
BOUNDS = {"none": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


class _Maps(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("count", "height", "width", "channels", "out_height", "out_width", "out_channels", "top", "left")
    ]


class _Epilogue(ctypes.Structure):
    _fields_ = [("bias", ctypes.c_void_p), ("least", ctypes.c_float), ("most", ctypes.c_float)]


@cache
def transforms(outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices for `outputs` sums of three products each, of n = outputs + 2 inputs.

    Returns back (outputs, n), of_weights (n, 3) and into (n, n), so that back @ ((of_weights @ w) * (into @ d)) are the
    sums of w (3,) along d (n,).
    """
    points = np.array(POINTS[outputs])
    others = [np.delete(points, i) for i in range(len(points))]
    back = np.vander(points, outputs, increasing=True).T
    apart = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    of_weights = np.vander(points, TAPS, increasing=True) / apart[:, None]
    into = [np.append(polynomial.polyfromroots(rest), 0.0) for rest in others]
    back = np.column_stack([back, np.eye(outputs)[-1]])
    of_weights = np.vstack([of_weights, np.eye(TAPS)[-1]])
    return back, of_weights, np.array([*into, polynomial.polyfromroots(points)])


def transformed(weight: Tensor, tile: tuple[int, int]) -> Tensor:
    """A weight (out, in, 3, 3) as (places, out, in) float64, places row by row."""
    down, across = (torch.from_numpy(transforms(outputs)[1]) for outputs in tile)
    return torch.einsum("ia,ocab,jb->ijoc", down, weight.detach().double(), across).flatten(0, 1)


class WinogradConvolution:
    """Maps x (N, in, H, W) -> activated sums (N, out, H', W') of the same type, float32 or bfloat16; stride 1.

    Raises InputError for bfloat16 and an odd number of channels: they are multiplied in pairs.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], activation: Activation, dtype: torch.dtype
    ) -> None:
        self.out_channels, self.channels = weight.shape[:2]
        if dtype == torch.bfloat16 and self.channels % 2:
            raise InputError("channels in bfloat16", "an even number", str(self.channels))
        self.padding, self.activation, self.dtype, self.tile = padding, activation, dtype, TILES[dtype]
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach().float().contiguous()
        self._packed = _packed(transformed(weight, self.tile).to(dtype)) if multiplies_rows(dtype) else None

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None:
            return self.plain(x)
        native.require("maps", x, (None, self.channels, None, None), self.dtype)
        rows = x.permute(0, 2, 3, 1).contiguous()  # no copy where channels lie last already
        count, height, width, channels = rows.shape
        out_height, out_width = self._out(height, 0), self._out(width, 1)
        if min(out_height, out_width) < 1:
            raise InputError("maps", f"{TAPS} x {TAPS} pixels or more with their padding", f"{height} x {width}")
        out = torch.empty(count, out_height, out_width, self.out_channels, dtype=self.dtype)
        maps = _Maps(count, height, width, channels, out_height, out_width, self.out_channels, *self.padding)
        bias = None if self.bias is None else native.pointer(self.bias)
        native.run(
            "bevfuse_winograd_convolve",
            ctypes.byref(maps),
            native.pointer(rows),
            native.pointer(self._packed),
            int(self.dtype == torch.bfloat16),
            ctypes.byref(_Epilogue(bias, *BOUNDS[self.activation])),
            native.pointer(out),
            native.threads(),
        )
        return out.permute(0, 3, 1, 2)

    def plain(self, x: Tensor) -> Tensor:
        """The same in torch."""
        (back_down, _, into_down), (back_across, _, into_across) = map(transforms, self.tile)
        (down, across), (height, width) = self.tile, (self._out(x.shape[2], 0), self._out(x.shape[3], 1))
        tiles_down, tiles_across = -(-height // down), -(-width // across)
        (top, left), (rows, columns) = self.padding, (tiles_down * down + 2, tiles_across * across + 2)
        edges = (left, columns - left - x.shape[3], top, rows - top - x.shape[2])
        padded = F.pad(x.float(), edges)
        tiles = padded.unfold(2, down + 2, down).unfold(3, across + 2, across)
        into = _product(into_down, tiles, into_across).to(self.dtype).float()
        weight = transformed(self.weight, self.tile).to(self.dtype).float().unflatten(0, (down + 2, across + 2))
        sums = torch.einsum("ncyxij,ijoc->noyxij", into, weight)
        out = _product(back_down, sums, back_across).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        out = out[:, :, :height, :width]
        out = out if self.bias is None else out + self.bias[:, None, None]
        return PLAIN[self.activation](out).to(self.dtype)

    def _out(self, size: int, axis: int) -> int:
        return size + 2 * self.padding[axis] - (TAPS - 1)


def _packed(weight: Tensor) -> Tensor:
    """Transformed weights (places, out, in) in the order of the inner loops."""
    places, cout, cin = weight.shape
    stride = native.count_of("bevfuse_winograd_padded", native.integer(cout))
    packed = native.at_cache_line(places * cin * stride, weight.dtype)
    native.run(
        "bevfuse_winograd_pack",
        native.pointer(weight.contiguous()),
        *map(native.integer, (places, cin, cout)),
        int(weight.dtype == torch.bfloat16),
        native.pointer(packed),
    )
    return packed


def _product(left: np.ndarray, tiles: Tensor, right: np.ndarray) -> Tensor:
    """left @ tile @ right^T of tiles (..., rows, columns) float32."""
    return torch.from_numpy(left).float() @ tiles @ torch.from_numpy(right).float().T
