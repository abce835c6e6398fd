"""The overlap of upright, rotated boxes."""

from __future__ import annotations

import torch
from torch import Tensor

TOUCHING = 1e-9  # relative; corners this close to an edge are on it


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Volume of intersection over volume of union of boxes (N, 7) and (M, 7) -> (N, M), in float64.

    Rows are x, y, z of the centre, length, width, height [m], yaw [rad].
    """
    a, b = a.double(), b.double()
    volume = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    low = torch.maximum((a[:, 2] - a[:, 5] / 2)[:, None], (b[:, 2] - b[:, 5] / 2)[None])
    high = torch.minimum((a[:, 2] + a[:, 5] / 2)[:, None], (b[:, 2] + b[:, 5] / 2)[None])
    height = (high - low).clamp(min=0)
    i, j = torch.nonzero(_may_touch(a, b) & (height > 0), as_tuple=True)
    volume[i, j] = intersection_area(corners_bev(a[i]), corners_bev(b[j])) * height[i, j]
    union = a[:, 3:6].prod(1)[:, None] + b[:, 3:6].prod(1)[None] - volume
    return volume / union.clamp(min=1e-12)


def overlap_bev(a: Tensor, b: Tensor) -> Tensor:
    """Area of intersection [m2] of the same rows' footprints -> (N, M), in float64."""
    a, b = a.double(), b.double()
    area = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    i, j = torch.nonzero(_may_touch(a, b), as_tuple=True)
    area[i, j] = intersection_area(corners_bev(a[i]), corners_bev(b[j]))
    return area


def _may_touch(a: Tensor, b: Tensor) -> Tensor:
    """Which pairs' circumscribed circles touch (N, M)."""
    reach = (a[:, 3:5].norm(dim=1)[:, None] + b[:, 3:5].norm(dim=1)[None]) / 2
    return (a[:, None, :2] - b[None, :, :2]).norm(dim=2) <= reach


def corners_bev(boxes: Tensor) -> Tensor:
    """Footprints (K, 4, 2), counter-clockwise."""
    signs = boxes.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    x, y = (signs[None] * boxes[:, None, 3:5]).unbind(-1)
    cos, sin = boxes[:, 6:].cos(), boxes[:, 6:].sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1) + boxes[:, None, :2]


def intersection_area(a: Tensor, b: Tensor) -> Tensor:
    """Area (K,) that convex polygons (K, 4, 2), counter-clockwise, share with their partners.

    The corners of the intersection are those of either inside the other, and where edges cross.
    """
    crossings, crossing = _edge_crossings(a, b)
    points = torch.cat([a, b, crossings], dim=1)  # (K, 24, 2)
    valid = torch.cat([_inside(a, b), _inside(b, a), crossing], dim=1)
    count = valid.sum(dim=1, keepdim=True)
    points = torch.where(valid[..., None], points, 0.0)
    middle = points.sum(dim=1, keepdim=True) / count.clamp(min=1)[..., None]
    spokes = points - middle
    angle = torch.where(valid, torch.atan2(spokes[..., 1], spokes[..., 0]), torch.inf)
    order = angle.argsort(dim=1)
    x, y = spokes.gather(1, order[..., None].expand_as(spokes)).unbind(-1)
    past_end = torch.arange(points.shape[1], device=a.device)[None] >= count  # repeat the first: it adds no area
    x, y = (torch.where(past_end, axis[:, :1], axis) for axis in (x, y))
    area = (x * y.roll(-1, dims=1) - y * x.roll(-1, dims=1)).sum(dim=1) / 2
    return torch.where(count[:, 0] >= 3, area, 0.0).clamp(min=0)


def _inside(points: Tensor, polygon: Tensor) -> Tensor:
    """Which points (K, 4, 2) lie in their polygon, its edges included (K, 4)."""
    start, along = polygon[:, None], polygon.roll(-1, dims=1)[:, None] - polygon[:, None]  # (K, 1, 4, 2)
    offset = points[:, :, None] - start  # (K, 4, 4, 2)
    slack = TOUCHING * (along**2).sum(-1)
    return (_cross(along, offset) >= -slack).all(dim=2)


def _edge_crossings(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Points (K, 16, 2) where each edge of a meets each of b, and whether they do (K, 16)."""
    start_a, along_a = a[:, :, None], (a.roll(-1, dims=1) - a)[:, :, None]
    start_b, along_b = b[:, None], (b.roll(-1, dims=1) - b)[:, None]
    turn = _cross(along_a, along_b)  # (K, 4, 4); 0 for parallel edges
    safe = torch.where(turn == 0, 1.0, turn)
    on_a = _cross(start_b - start_a, along_b) / safe
    on_b = _cross(start_b - start_a, along_a) / safe
    crossing = (turn != 0) & (on_a >= 0) & (on_a <= 1) & (on_b >= 0) & (on_b <= 1)
    return (start_a + on_a[..., None] * along_a).flatten(1, 2), crossing.flatten(1, 2)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
