"""Non-maximum suppression in the BEV plane."""

from __future__ import annotations

import torch
from torch import Tensor

from perception.ops import native
from perception.ops.overlap import overlap_bev


def circle_nms(centers: Tensor, scores: Tensor, radius: float, limit: int | None = None) -> Tensor:
    """Rows that stay, best first: each drops all worse ones whose centre (N, 2) is within `radius` metres.

    CenterPoint's suppression (Yin et al., CVPR 2021). Equal scores are ranked by row.
    """
    native.require("centres to suppress", centers, (len(scores), 2), centers.dtype)
    order = torch.argsort(scores, descending=True, stable=True)
    ordered = centers[order]
    if native.runs_on(ordered):
        kept = torch.empty(len(order), dtype=torch.int64)
        arguments = (native.integer(len(order)), _float(radius), native.integer(_limit(limit)), native.pointer(kept))
        count = native.count_of("bevfuse_circle_nms", native.pointer(ordered.contiguous()), *arguments)
        return order[kept[:count]]
    near = torch.cdist(ordered, ordered, compute_mode="donot_use_mm_for_euclid_dist") <= radius
    return order[_survivors(near)][:limit]


def rotated_nms(boxes: Tensor, scores: Tensor, threshold: float, limit: int | None = None) -> Tensor:
    """Rows that stay, best first: each drops all worse ones that share more than `threshold` of their union with it.

    boxes (N, 5): x, y of the centre, length, width [m], yaw [rad]. Equal scores are ranked by row.
    """
    native.require("boxes to suppress", boxes, (len(scores), 5), boxes.dtype)
    order = torch.argsort(scores, descending=True, stable=True)
    ordered = boxes[order].double()
    if ordered.device.type == "cpu" and native.library() is not None:
        kept = torch.empty(len(order), dtype=torch.int64)
        scratch = torch.empty(len(order) * native.count_of("bevfuse_rectangle_bytes"), dtype=torch.uint8)
        arguments = (native.integer(len(order)), _double(threshold), native.integer(_limit(limit)))
        places = (native.pointer(scratch), native.pointer(kept))
        count = native.count_of("bevfuse_rotated_nms", native.pointer(ordered), *arguments, *places)
        return order[kept[:count]]
    return order[_survivors(iou_bev(ordered) > threshold)][:limit]


def iou_bev(boxes: Tensor) -> Tensor:
    """Intersection over union of the footprints of boxes (N, 5), see rotated_nms, with one another (N, N) float64."""
    flat = boxes.double()
    whole = torch.cat([flat[:, :2], torch.zeros_like(flat[:, :1]), flat[:, 2:4], torch.ones_like(flat[:, :1])], dim=1)
    whole = torch.cat([whole, flat[:, 4:]], dim=1)
    shared, area = overlap_bev(whole, whole), flat[:, 2] * flat[:, 3]
    return shared / (area[:, None] + area[None] - shared).clamp(min=1e-12)


def _survivors(near: Tensor) -> Tensor:
    """Which rows stay (N,) bool, of rows that come best first, near (N, N) to one another or not."""
    alive = torch.ones(len(near), dtype=torch.bool, device=near.device)
    for i in range(len(near)):
        if alive[i]:
            alive[i + 1 :] &= ~near[i, i + 1 :]
    return alive


def _limit(limit: int | None) -> int:
    return 2**31 - 1 if limit is None else limit


def _float(number: float) -> object:
    return native.ctypes.c_float(number)


def _double(number: float) -> object:
    return native.ctypes.c_double(number)
