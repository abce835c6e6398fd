"""From a head's tensors to Boxes3D."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from perception.types import Boxes3D


def boxes_of_frame(
    centers: Tensor,  # (P, 3) m, gravity centre
    sizes: Tensor,  # (P, 3) m
    yaws: Tensor,  # (P,) rad
    velocities: Tensor,  # (P, 2) m/s
    scores: Tensor,  # (P,)
    labels: Tensor,  # (P,) int64
    class_names: tuple[str, ...],
) -> Boxes3D:
    """One frame's boxes in the lidar frame."""
    floats = (t.detach().float().cpu().numpy() for t in (centers, sizes, yaws, velocities, scores))
    return Boxes3D(*floats, labels.cpu().numpy().astype(np.int64), class_names)
