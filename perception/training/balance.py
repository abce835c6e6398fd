"""How much each sensor's branch learns in a step, and a brake for the one that learns at the other's expense.

Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation" (OGM-GE), CVPR 2022. There the gradient
of the dominant branch is scaled down, for SGD, and noise makes up for what that takes away. AdamW divides gradients by
their own size, so that scaling them would change nothing: here the step itself is scaled, and nothing is added. A
branch dominates if its gradient is the larger one, relative to its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

BRANCHES = ("camera_branch", "lidar_branch")


@dataclass(frozen=True)
class Pull:
    """What the loss does to a branch's weights."""

    gradient: float  # norm
    relative: float  # the same, divided by the norm of the weights that have a gradient; 0 where there is none


def pulls(network: nn.Module) -> dict[str, Pull]:
    """Of each branch that the network has, by name; after the backward pass."""
    found = {}
    for name in BRANCHES:
        branch = getattr(network, name)
        if branch is not None:
            learning = [p for p in branch.parameters() if p.grad is not None]
            gradient, weight = _norm([p.grad for p in learning]), _norm([p.detach() for p in learning])
            found[name] = Pull(gradient, gradient / weight if weight else 0.0)
    return found


def step_factors(found: Mapping[str, Pull], strength: float) -> dict[str, float]:
    """What to scale each branch's step by: 1 for the weaker one, 1 - tanh(strength * (ratio - 1)) for the other.

    A branch that nothing pulls at took no part in the batch: then there is nothing to balance.
    """
    factors = dict.fromkeys(found, 1.0)
    relative = {name: pull.relative for name, pull in found.items()}
    if len(found) == len(BRANCHES) and all(relative.values()) and all(map(math.isfinite, relative.values())):
        stronger, weaker = max(relative, key=relative.get), min(relative, key=relative.get)
        factors[stronger] = 1 - math.tanh(strength * (relative[stronger] / relative[weaker] - 1))
    return factors


@contextmanager
def scaled_steps(network: nn.Module, factors: Mapping[str, float]) -> Iterator[None]:
    """What the weights of a branch change by within this context, they change by the factor's share of."""
    braked = [
        (weight, weight.detach().clone(), factor)
        for name, factor in factors.items()
        if factor != 1
        for weight in getattr(network, name).parameters()
        if weight.grad is not None
    ]
    yield
    with torch.no_grad():
        for weight, before, factor in braked:
            weight.copy_(before + factor * (weight - before))


def _norm(tensors: list[torch.Tensor]) -> float:
    return torch.stack([tensor.norm() for tensor in tensors]).norm().item() if tensors else 0.0
