"""A network's first convolution, of images as they are decoded, on CPUs.

Bytes become numbers about zero right before they are multiplied: a map of them, larger than all that comes later, is
never written.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.ops import native
from perception.ops.rows import Layer, evened, multiplies_rows, packed
from perception.ops.same_padding import missing, same_padded

CHANNELS = 3
MOST = 6.0  # of ReLU6, which follows


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("count", "height", "width", "out_height", "out_width", "out_channels"),
            *("kernel", "stride", "top", "left"),
        )
    ]


class PixelConvolution:
    """Images (N, H, W, 3) uint8 -> (N, out, ceil(H / stride), ceil(W / stride)) of `dtype`, float32 or bfloat16.

    Bytes are normalised, (b - mean) / std by channel; ReLU6 follows; padding is TensorFlow's, the odd pixel last.
    """

    def __init__(
        self,
        layer: Layer,
        stride: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        dtype: torch.dtype,
    ) -> None:
        self.layer, self.stride, self.mean, self.std, self.dtype = layer, stride, mean, std, dtype
        self.out_channels, self.kernel = len(layer.weight), layer.weight.shape[-1]
        self._compiled = multiplies_rows(dtype)
        if self._compiled:
            rows = layer.weight.detach().permute(0, 2, 3, 1).flatten(1)  # as pixels lie in memory
            self._packed, self._bias = packed(evened(rows), dtype), layer.bias.detach().float().contiguous()

    def __call__(self, images: Tensor) -> Tensor:
        if not self._compiled:
            return self.plain(images)
        native.require("images", images, (None, None, None, CHANNELS), torch.uint8)
        images = images.contiguous()
        count, height, width, _ = images.shape
        (top, _), (left, _) = (missing(length, self.kernel, self.stride) for length in (height, width))
        out_height, out_width = -(-height // self.stride), -(-width // self.stride)
        out = torch.empty(count, out_height, out_width, self.out_channels, dtype=self.dtype)
        scale = (1 / torch.tensor(self.std)).repeat(width)
        shift = (-torch.tensor(self.mean) / torch.tensor(self.std)).repeat(width)
        sizes = (count, height, width, out_height, out_width, self.out_channels)
        if out.numel():
            native.run(
                "bevfuse_convolve_pixels",
                ctypes.byref(_Shape(*sizes, self.kernel, self.stride, top, left)),
                native.pointer(images),
                int(self.dtype == torch.bfloat16),
                native.pointer(self._packed),
                native.pointer(self._bias),
                ctypes.c_float(0.0),
                ctypes.c_float(MOST),
                native.pointer(scale),
                native.pointer(shift),
                native.pointer(out),
                native.threads(),
            )
        return out.permute(0, 3, 1, 2)

    def plain(self, images: Tensor) -> Tensor:
        """The same in torch."""
        numbers = same_padded(normalised(images, self.mean, self.std), self.kernel, self.stride)
        weight, numbers = (each.to(self.dtype).float() for each in (self.layer.weight, numbers))
        return F.relu6(F.conv2d(numbers, weight, self.layer.bias.float(), self.stride)).to(self.dtype)


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (N, H, W, 3) uint8 -> (N, 3, H, W) float32, (b - mean) / std by channel, channels last in memory."""
    offset, scale = (images.new_tensor(values, dtype=torch.float32) for values in (mean, std))
    return ((images.float() - offset) / scale).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
