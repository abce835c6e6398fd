"""TensorFlow's padding: a convolution's output is ceil(size / stride) long, and the odd pixel comes last."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def missing(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels of padding before a row or column so long, and behind it, at most one more."""
    wanted = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return wanted // 2, wanted - wanted // 2


def same_padded(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """Maps (..., H, W) with the zeros around them that such a convolution needs."""
    (top, bottom), (left, right) = (missing(length, kernel, stride) for length in maps.shape[-2:])
    return F.pad(maps, (left, right, top, bottom))
