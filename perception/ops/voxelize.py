"""Points to voxels: which points share a cell, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.ops import native

LARGEST = 2**31 - 1  # points, of a cloud


def voxelize(
    points: Tensor,
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
    max_points: int | None = None,
    max_voxels: int | None = None,
    edges: tuple[float, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Average the points of each voxel.

    points (N, >= 3) float32, x, y, z first; `size` counts the voxels along x, y, z from `lower`. With `max_points`,
    only the first so many of a voxel count, and with `max_voxels`, only the voxels whose first point comes first (hard
    voxelisation, Zhou and Tuzel, VoxelNet, CVPR 2018); without, all do (dynamic voxelisation, Zhou et al., CoRL 2019).
    With `edges`, ascending, columns more say what share of a voxel's points is in each span of the last column.
    Returns features (V, C) and coordinates (V, 3) int64, voxels in the order of their first point; points outside are
    ignored, those with a NaN too. On a CPU the same input gives the same result, whatever the number of threads; on a
    GPU sums may differ in the last bit. Raises InputError for what is no such tensor, and for a grid without voxels or
    of 2^63.
    """
    _require_points(points)
    _require_grid(size)
    do = _voxelize_native if native.runs_on(points) and not points.requires_grad else voxelize_torch
    return do(points, lower, voxel, size, max_points, max_voxels, edges)


def voxelize_torch(
    points: Tensor,
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
    max_points: int | None = None,
    max_voxels: int | None = None,
    edges: tuple[float, ...] = (),
) -> tuple[Tensor, Tensor]:
    """The same in plain torch, anywhere."""
    points = with_spans(points, edges)
    cells = torch.floor((points[:, :3] - points.new_tensor(lower)) / points.new_tensor(voxel)).long()
    inside = ((cells >= 0) & (cells < cells.new_tensor(size))).all(dim=1)
    points, cells = points[inside], cells[inside]
    keys = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    order = torch.argsort(keys, stable=True)  # stable: within a voxel, points stay in the order they came
    keys = keys[order]
    starts = torch.ones_like(keys, dtype=torch.bool)
    starts[1:] = keys[1:] != keys[:-1]
    voxel_of = torch.cumsum(starts, 0) - 1  # (N,), voxels numbered by key
    first = torch.nonzero(starts).squeeze(1)
    keys_of_voxels = keys[first]
    by_arrival = torch.argsort(order[first])[:max_voxels]
    if max_points is not None:
        rank = torch.arange(len(keys), device=keys.device) - first[voxel_of]
        kept = rank < max_points
        order, voxel_of = order[kept], voxel_of[kept]
    sums = points.new_zeros(len(first), points.shape[1]).index_add_(0, voxel_of, points[order])
    counts = torch.bincount(voxel_of, minlength=len(first))
    return (sums / counts[:, None])[by_arrival], _unravel(keys_of_voxels[by_arrival], size)


def _voxelize_native(
    points: Tensor,
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
    max_points: int | None,
    max_voxels: int | None,
    edges: tuple[float, ...],
) -> tuple[Tensor, Tensor]:
    """The same by csrc/voxelize.cpp: points are numbered through a hash table, then summed in their order."""
    points, (count, columns) = points.contiguous(), points.shape
    most = min(count, LARGEST if max_voxels is None else max_voxels)
    corner, step, cells = points.new_tensor(lower), points.new_tensor(voxel), torch.tensor(size)
    keys, voxel_of = torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.int32)
    shape = (native.integer(count), native.integer(columns))
    arrays = map(native.pointer, (corner, step, cells, keys))
    native.run("bevfuse_voxel_keys", native.pointer(points), *shape, *arrays, native.threads())
    entries = 1 << (2 * most).bit_length()  # at most half full
    table, keys_of_voxels = torch.full((entries,), -1, dtype=torch.int32), torch.empty(most, dtype=torch.int64)
    numbering = (native.integer(most), native.pointer(table), native.integer(entries))
    arrays = map(native.pointer, (voxel_of, keys_of_voxels))
    found = native.count_of("bevfuse_number_voxels", native.pointer(keys), shape[0], *numbering, *arrays)
    wide = columns + (len(edges) + 1 if edges else 0)
    means, counts = points.new_zeros(found, wide), torch.zeros(found, dtype=torch.int32)
    bounds = points.new_tensor(edges)
    limits = (native.integer(found), native.integer(LARGEST if max_points is None else max_points))
    spans = (native.pointer(bounds), native.integer(len(edges)))
    results = map(native.pointer, (means, counts))
    native.run(
        "bevfuse_voxel_means", native.pointer(points), *shape, native.pointer(voxel_of), *limits, *spans, *results
    )
    return means, _unravel(keys_of_voxels[:found], size)


def with_spans(points: Tensor, edges: tuple[float, ...]) -> Tensor:
    """Points (N, C), and behind them 1 in the column of the span that holds their last number, 0 in the others."""
    if not edges:
        return points
    span = torch.bucketize(points[:, -1].contiguous(), points.new_tensor(edges))
    shares = points.new_zeros(len(points), len(edges) + 1).scatter_(1, span[:, None], 1)
    return torch.cat([points, shares], dim=1)


def points_inside(points: Tensor, lower: tuple[float, float, float], upper: tuple[float, float, float]) -> Tensor:
    """The points (N, C), x, y, z first, that are strictly inside the bounds, in their order."""
    if not native.runs_on(points):
        xyz = points[:, :3]
        return points[((xyz > points.new_tensor(lower)) & (xyz < points.new_tensor(upper))).all(dim=1)]
    points, (count, columns) = points.contiguous(), points.shape
    low, high, inside = points.new_tensor(lower), points.new_tensor(upper), torch.empty_like(points)
    sizes, arrays = map(native.integer, (count, columns)), map(native.pointer, (low, high, inside))
    return inside[: native.count_of("bevfuse_points_inside", native.pointer(points), *sizes, *arrays)]


def _require_points(points: Tensor) -> None:
    if points.dim() != 2 or points.shape[1] < 3 or not points.is_floating_point():
        got = f"{tuple(points.shape)} {points.dtype}"
        raise InputError("points to voxelise", "(N, 3 or more) floating-point numbers, x, y, z first", got)


def _require_grid(size: tuple[int, int, int], batch: int = 1) -> None:
    if min(size) < 1 or batch * math.prod(size) >= 2**63:
        got = " x ".join(map(str, size)) + (f" in {batch} frames" if batch > 1 else "")
        raise InputError("voxel grid", "at least 1 voxel along each axis and fewer than 2^63", got)


def voxelize_batch(
    clouds: Sequence[Tensor],
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
    max_points: int | None = None,
    max_voxels: int | None = None,
    edges: tuple[float, ...] = (),
) -> tuple[Tensor, Tensor]:
    """The voxels of B clouds (N_b, C), each as of `voxelize` -> features (V, C), coordinates (V, 4): frame, x, y, z.

    On a GPU, without limits, all clouds are looked at together, and a frame's voxels come sorted by x, y, z: it would
    else spend its time waiting for one cloud's small kernels after the other's.
    """
    _require_grid(size, len(clouds))
    if clouds[0].device.type == "cuda" and max_points is None and max_voxels is None:
        return _means_at_once([with_spans(cloud, edges) for cloud in clouds], lower, voxel, size)
    features, coordinates = [], []
    for frame, cloud in enumerate(clouds):
        means, cells = voxelize(cloud, lower, voxel, size, max_points, max_voxels, edges)
        features.append(means)
        coordinates.append(torch.cat([cells.new_full((len(cells), 1), frame), cells], dim=1))
    return torch.cat(features), torch.cat(coordinates)


def _means_at_once(
    clouds: Sequence[Tensor],
    lower: tuple[float, float, float],
    voxel: tuple[float, float, float],
    size: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:
    points = torch.cat(list(clouds))
    lengths = torch.tensor([len(cloud) for cloud in clouds], device=points.device)
    frames = torch.repeat_interleave(lengths, output_size=len(points))
    cells = torch.floor((points[:, :3] - points.new_tensor(lower)) / points.new_tensor(voxel)).long()
    inside = ((cells >= 0) & (cells < cells.new_tensor(size))).all(dim=1)
    points, cells, frames = points[inside], cells[inside], frames[inside]
    keys = ((frames * size[0] + cells[:, 0]) * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    keys, voxel_of, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    sums = points.new_zeros(len(keys), points.shape[1]).index_add_(0, voxel_of, points)
    frames = keys // (size[0] * size[1] * size[2])
    cells = _unravel(keys % (size[0] * size[1] * size[2]), size)
    return sums / counts[:, None], torch.cat([frames[:, None], cells], dim=1)


def _unravel(keys: Tensor, size: tuple[int, int, int]) -> Tensor:
    x, rest = keys // (size[1] * size[2]), keys % (size[1] * size[2])
    return torch.stack([x, rest // size[2], rest % size[2]], dim=1)
