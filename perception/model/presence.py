"""Which frames of a batch a sensor has seen: a frame whose sensor is missing comes as zeros in that sensor's map."""

from __future__ import annotations

from torch import Tensor


def present(bev: Tensor) -> Tensor:
    """Map (B, C, X, Y) -> (B, 1, 1, 1) bool, false for frames whose map is zero everywhere."""
    return bev.detach().abs().amax(dim=(1, 2, 3), keepdim=True) > 0
