"""All that our kernels for sparse convolution compute, to be compared between threads and instruction sets."""

import torch

from perception.ops.sparse import Kernel, SparseTensor, native_backend
from tests.perception.ops.voxels import KERNELS, random_tensor, random_weight


def everything(tensor: SparseTensor, weight: torch.Tensor, kernel: Kernel) -> list[torch.Tensor]:
    """All that the kernels compute of a convolution: rulebook, values, gradients, bfloat16."""
    rulebook = native_backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
    pairs = rulebook.rules
    out = native_backend.convolve(tensor.features, weight, rulebook)
    gradients = torch.autograd.grad(out, (tensor.features, weight), torch.ones_like(out).cumsum(0))
    with torch.no_grad():
        rough = native_backend.convolve(tensor.features.bfloat16(), weight, rulebook)
    return [rulebook.coordinates, pairs.starts, pairs.sources, pairs.targets, out.detach(), *gradients, rough]


def all_results() -> list[torch.Tensor]:
    """Of each kernel, with channels that fill vectors and that don't."""
    found = []
    for seed, (kernel, cin, cout) in enumerate(zip(KERNELS.values(), (5, 16, 64, 33), (16, 40, 72, 100), strict=True)):
        tensor = random_tensor(seed, (12, 12, 9), channels=cin, dtype=torch.float32)
        found += everything(tensor, random_weight(seed, kernel, cin, cout, torch.float32), kernel)
    return found
