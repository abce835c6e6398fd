"""Pooled maps and their gradients, to be compared between ways to compute them."""

from collections.abc import Callable

import torch

from perception.ops.bev_pool import PoolingPlan

# pixels, depths, channels, cells: within a tile and beyond it, and nothing of each
SHAPES = ((30, 7, 5, 12), (20, 130, 80, 25), (7, 3, 200, 1), (0, 3, 4, 5), (5, 0, 4, 5), (4, 4, 0, 5))


def results(pool: Callable, device: str = "cpu") -> list[torch.Tensor]:
    """Of each shape the map, then the gradients of features and depth, on the CPU. Some points are outside the map."""
    random = torch.Generator().manual_seed(0)
    found = []
    for pixels, depths, channels, cells in SHAPES:
        places = torch.randint(-cells // 2 - 1, cells, (pixels, depths), generator=random)
        plan = PoolingPlan.of(places.to(device), cells)
        features, depth = (torch.randn(pixels, n, generator=random) for n in (channels, depths))
        features[:1], depth[-1:, -1:] = torch.inf, torch.nan
        inputs = [tensor.to(device).requires_grad_() for tensor in (features, depth)]
        out = pool(*inputs, plan)
        out.backward(torch.linspace(-1, 1, out.numel(), device=device).view_as(out))
        found += [tensor.detach().cpu() for tensor in (out, *(tensor.grad for tensor in inputs))]
    return found
