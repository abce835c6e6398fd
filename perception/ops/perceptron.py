"""Small networks of matrices on CPUs, all layers in one go: for many rows of few numbers, such as a cloud's points.

Layer by layer most of the time goes into carrying what is between them to memory and back. The kernel takes some rows
through all of them while they are in the cache.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native
from perception.ops.rows import Layer, even, evened, multiplies_rows, packed


class _Layer(ctypes.Structure):
    _fields_ = [
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("cin", ctypes.c_int64),
        ("cout", ctypes.c_int64),
        ("relu", ctypes.c_int32),
    ]


class Perceptron:
    """Rows (N, in) -> (N, out) float32: matrices with ReLU between them, and behind the last if `relu`.

    Where `in` is odd, rows may have a zero more, which spares copying them.

    Products are of float32 or bfloat16, to which rows are rounded before each layer. Raises InputError for layers that
    don't fit each other.
    """

    def __init__(self, layers: Sequence[Layer], relu: bool, dtype: torch.dtype) -> None:
        self.layers, self.relu, self.dtype = tuple(layers), relu, dtype
        self.width, self.out = layers[0].weight.shape[1], len(layers[-1].weight)
        shapes = [tuple(layer.weight.shape) for layer in layers]
        if any(before[0] != after[1] for before, after in pairwise(shapes)):
            raise InputError("layers of a perceptron", "as many numbers out as go in next", f"{shapes}")
        self._compiled = multiplies_rows(dtype) and all(rows % 2 == 0 for rows, _ in shapes[:-1])
        if self._compiled:
            self._packed = [packed(evened(layer.weight), dtype) for layer in layers]
            self._biases = [layer.bias.detach().float().contiguous() for layer in layers]
            self._table = (_Layer * len(layers))(
                *(
                    _Layer(matrix.data_ptr(), bias.data_ptr(), even(shape[1]), shape[0], i + 1 < len(layers) or relu)
                    for i, (matrix, bias, shape) in enumerate(zip(self._packed, self._biases, shapes, strict=True))
                )
            )

    def __call__(self, rows: Tensor) -> Tensor:
        return self._run(rows, None) if self._compiled else self.plain(rows)

    def highest(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The highest outputs of each of K groups of rows that follow each other: (K, out), zeros where there are none.

        counts (K,) int64, how many rows each has. Raises InputError unless they are as many as the rows together.
        """
        if counts.dim() != 1 or bool((counts < 0).any()) or int(counts.sum()) != len(rows):
            raise InputError("rows of groups", f"{len(rows)} together", f"{counts.tolist()[:10]}")
        if not self._compiled:
            return highest_of_groups(self.plain(rows), counts)
        return self._run(rows, F.pad(counts.long().cumsum(0), (1, 0)))

    def plain(self, rows: Tensor) -> Tensor:
        """The same as a call in torch."""
        rows = rows[:, : self.width]
        for i, layer in enumerate(self.layers):
            rows = F.linear(rows.to(self.dtype).float(), layer.weight.to(self.dtype).float(), layer.bias.float())
            rows = rows.relu() if i + 1 < len(self.layers) or self.relu else rows
        return rows

    def _run(self, rows: Tensor, starts: Tensor | None) -> Tensor:
        rows = rows.to(self.dtype)
        rows = evened(rows) if rows.shape[-1] == self.width else rows
        native.require("rows of a perceptron", rows, (None, even(self.width)), self.dtype)
        rows = rows.contiguous()
        groups = len(rows) if starts is None else len(starts) - 1
        out = torch.empty(groups, self.out)
        native.run(
            "bevfuse_perceptron",
            native.pointer(rows),
            native.integer(len(rows)),
            int(self.dtype == torch.bfloat16),
            self._table,
            native.integer(len(self.layers)),
            None if starts is None else native.pointer(starts),
            native.integer(groups),
            native.pointer(out),
            native.threads(),
        )
        return out


def highest_of_groups(rows: Tensor, counts: Tensor) -> Tensor:
    """The highest of each group of rows that follow each other: (K, width), zeros where there are none."""
    groups = torch.repeat_interleave(torch.arange(len(counts), device=rows.device), counts)
    out = rows.new_zeros(len(counts), rows.shape[1])
    return out.scatter_reduce(0, groups[:, None].expand_as(rows), rows, "amax", include_self=False)
