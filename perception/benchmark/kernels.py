"""Our kernels beside plain torch, each on work of the size that the detector has for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from perception.benchmark.comparing import Comparison, Rounds, relative_rms, take_turns
from perception.benchmark.stages import replaced
from perception.model.batch import Batch
from perception.model.lift_splat import LiftSplat
from perception.ops import native
from perception.ops.bev_pool import PoolingPlan, bev_pool, bev_pool_plain
from perception.ops.nms import rotated_nms

BOXES, AREA, THRESHOLD = 1000, 100.0, 0.2  # a frame's candidates; m, the side of where they are; shared of the union
Gradients = tuple[Tensor, Tensor]


def compare_pooling(view_transform: LiftSplat, batch: Batch, rounds: Rounds) -> list[Comparison]:
    """BEV pooling with this batch's calibration, forward and backward, beside index_add.

    Ours sorts the frustum points anew each time, as a detector does whose cameras may move, and once more not at all.
    """
    pooling = _Pooling(view_transform, batch)
    ours, theirs = pooling.ours, pooling.theirs
    there = take_turns(lambda: ours().detach(), lambda: theirs().detach(), rounds("BEV pooling"))
    plan = PoolingPlan.of(pooling.cells, pooling.count, pooling.image)
    planned = take_turns(
        lambda: bev_pool(pooling.features, pooling.depth, plan).detach(),
        lambda: theirs().detach(),
        rounds("BEV pooling, its plan kept"),
    )
    back = take_turns(lambda: pooling.gradients(ours), lambda: pooling.gradients(theirs), rounds("BEV pooling, back"))
    points = f"{pooling.cells.numel():,} frustum points, {pooling.features.shape[1]} channels"
    found, expected = (torch.cat([gradient.flatten() for gradient in side]) for side in (back.ours, back.theirs))
    return [
        there.compared("BEV pooling", "index_add", relative_rms(there.ours, there.theirs), points),
        planned.compared("BEV pooling, its plan kept", "index_add", relative_rms(planned.ours, planned.theirs), points),
        back.compared("BEV pooling, there and back", "index_add", relative_rms(found, expected), points),
    ]


class _Pooling:
    """Features and depths of the sizes that the view transform pools, for the cells of this batch's frustum points."""

    def __init__(self, view_transform: LiftSplat, batch: Batch) -> None:
        generator = torch.Generator().manual_seed(0)
        self.cells = view_transform.cells(batch).flatten(0, 1)  # (P, D)
        self.count = batch.size * view_transform.fine_grid.size_x * view_transform.fine_grid.size_y
        self.image = view_transform.feature_size
        pixels, depths = self.cells.shape
        self.features = torch.randn(pixels, view_transform.out_channels, generator=generator).requires_grad_()
        self.depth = torch.randn(pixels, depths, generator=generator).softmax(dim=1).requires_grad_()
        self.cotangent = torch.randn(self.count, view_transform.out_channels, generator=generator)

    def ours(self) -> Tensor:
        return bev_pool(self.features, self.depth, PoolingPlan.of(self.cells, self.count, self.image))

    def theirs(self) -> Tensor:
        return bev_pool_plain(self.features, self.depth, self.cells, self.count)

    @torch.enable_grad()
    def gradients(self, pool: Callable[[], Tensor]) -> Gradients:
        return torch.autograd.grad(pool(), (self.features, self.depth), self.cotangent)


def compare_suppression(rounds: Rounds) -> Comparison:
    """Rotated suppression beside the same in torch, which must keep the same boxes."""
    boxes, scores = _crowd()
    turns = take_turns(
        lambda: rotated_nms(boxes, scores, THRESHOLD), lambda: _without_kernels(boxes, scores), rounds("rotated NMS")
    )
    same = "the same" if torch.equal(turns.ours, turns.theirs) else "others"
    return turns.compared("rotated NMS", "torch", None, f"{BOXES} boxes, of which {len(turns.ours)} stay; {same} there")


def _crowd() -> tuple[Tensor, Tensor]:
    """Boxes (N, 5) as rotated_nms takes them, and scores: clusters, as a head finds them around its objects."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.rand(BOXES // 10, 2, generator=generator) * AREA
    centers = objects.repeat_interleave(10, dim=0) + torch.randn(BOXES, 2, generator=generator)
    sizes = torch.tensor([4.6, 1.9]) * (0.8 + 0.4 * torch.rand(BOXES, 2, generator=generator))
    yaws = torch.rand(BOXES, 1, generator=generator) * 6.28
    return torch.cat([centers, sizes, yaws], dim=1), torch.rand(BOXES, generator=generator)


def _without_kernels(boxes: Tensor, scores: Tensor) -> Tensor:
    with replaced(native, "library", lambda: None):
        return rotated_nms(boxes, scores, THRESHOLD)
