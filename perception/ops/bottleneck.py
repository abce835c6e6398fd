"""Inverted bottlenecks on CPUs, all three layers in one go.

Such a block widens a pixel's channels, convolves each of the wide ones on its own, and narrows them again (Sandler et
al., "MobileNetV2", CVPR 2018): little to compute, and a wide map to carry between layers. The kernel takes a strip of
rows through all three while its wide part is in the cache.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native
from perception.ops.rows import Layer, multiplies_rows, packed
from perception.ops.same_padding import missing, same_padded

WIDE_STEP = 16  # wide channels are a multiple of this


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("count", "height", "width", "channels", "inner", "out_height", "out_width", "out_channels"),
            *("kernel", "stride", "top", "left"),
        )
    ]


class Bottleneck:
    """Maps x (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)) of the same type, float32 or bfloat16.

    ReLU6 follows the first two layers; padding is TensorFlow's, the odd pixel last. In bfloat16 the wide map of the
    first layer isn't rounded. Raises InputError for layers that don't fit each other.
    """

    def __init__(
        self, widen: Layer | None, convolve: Layer, narrow: Layer, stride: int, shortcut: bool, dtype: torch.dtype
    ) -> None:
        self.layers, self.stride, self.shortcut, self.dtype = (widen, convolve, narrow), stride, shortcut, dtype
        self.inner, self.kernel, self.out_channels = len(convolve.weight), convolve.weight.shape[-1], len(narrow.weight)
        self.channels = self.inner if widen is None else widen.weight.shape[1]
        fits = narrow.weight.shape[1] == self.inner and (widen is None or len(widen.weight) == self.inner)
        if not fits or stride not in (1, 2) or (shortcut and (self.channels, stride) != (self.out_channels, 1)):
            got = [tuple(layer.weight.shape) for layer in self.layers if layer is not None]
            raise InputError("layers of a bottleneck", "as many channels out as go in next", f"{got}, stride {stride}")
        self._compiled = multiplies_rows(dtype) and self.inner % WIDE_STEP == 0 and self.channels % 2 == 0
        if self._compiled:
            self._widen = None if widen is None else packed(widen.weight, dtype, grouped=True)
            self._convolve = convolve.weight.detach().float().flatten(1).T.contiguous()
            self._narrow = packed(narrow.weight, dtype)
            self._biases = [
                None if layer is None else layer.bias.detach().float().contiguous() for layer in self.layers
            ]

    def __call__(self, x: Tensor) -> Tensor:
        if not self._compiled:
            return self.plain(x)
        native.require("maps", x, (None, self.channels, None, None), self.dtype)
        rows = x.permute(0, 2, 3, 1).contiguous()  # no copy where channels lie last already
        count, height, width, _ = rows.shape
        (top, _), (left, _) = (missing(length, self.kernel, self.stride) for length in (height, width))
        out_height, out_width = -(-height // self.stride), -(-width // self.stride)
        out = rows.new_empty(count, out_height, out_width, self.out_channels)
        sizes = (count, height, width, self.channels, self.inner, out_height, out_width, self.out_channels)
        arrays = (self._widen, self._biases[0], self._convolve, self._biases[1], self._narrow, self._biases[2])
        if out.numel():
            native.run(
                "bevfuse_bottleneck",
                ctypes.byref(_Shape(*sizes, self.kernel, self.stride, top, left)),
                native.pointer(rows),
                int(self.dtype == torch.bfloat16),
                *(None if array is None else native.pointer(array) for array in arrays),
                int(self.shortcut),
                native.pointer(out),
                native.threads(),
            )
        return out.permute(0, 3, 1, 2)

    def plain(self, x: Tensor) -> Tensor:
        """The same in torch."""
        widen, convolve, narrow = self.layers
        wide = x.float() if widen is None else F.relu6(F.conv2d(x.float(), self._rounded(widen), widen.bias.float()))
        padded = same_padded(wide, self.kernel, self.stride)
        weight, bias = convolve.weight.float(), convolve.bias.float()
        wide = F.relu6(F.conv2d(padded, weight, bias, self.stride, groups=self.inner)).to(self.dtype).float()
        out = F.conv2d(wide, self._rounded(narrow), narrow.bias.float())
        return (x.float() + out if self.shortcut else out).to(self.dtype)

    def _rounded(self, layer: Layer) -> Tensor:
        return layer.weight.to(self.dtype).float()
