"""Random sparse tensors with a fixed seed, and the kernels that the model uses, for tests of sparse convolution."""

import numpy as np
import torch

from perception.ops.sparse import Kernel, SparseTensor

SUBMANIFOLD = Kernel((3, 3, 3), submanifold=True)
KERNELS = {
    "submanifold": SUBMANIFOLD,
    "halving": Kernel((3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1)),
    "halving without padding in z": Kernel((3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 0)),
    "squeezing z": Kernel((1, 1, 3), stride=(1, 1, 2)),
}


def random_tensor(
    seed: int,
    size: tuple[int, int, int],
    frames: tuple[int, ...] = (0, 1),  # those of the batch that have voxels
    batch: int = 2,
    channels: int = 4,
    density: float = 0.2,
    dtype: torch.dtype = torch.float64,
) -> SparseTensor:
    """In no order, as voxels come; features require gradients."""
    rng = np.random.default_rng(seed)
    active = rng.random((batch, *size)) < density
    active[[frame for frame in range(batch) if frame not in frames]] = False
    coordinates = rng.permutation(np.argwhere(active)).astype(np.int64)
    features = torch.from_numpy(rng.normal(size=(len(coordinates), channels))).to(dtype).requires_grad_()
    return SparseTensor(features, torch.from_numpy(coordinates), size, batch)


def random_weight(seed: int, kernel: Kernel, channels: int = 4, out: int = 3, dtype=torch.float64) -> torch.Tensor:
    """(out, kx, ky, kz, channels), requires gradients."""
    values = np.random.default_rng(seed).normal(size=(out, *kernel.size, channels))
    return torch.from_numpy(values).to(dtype).requires_grad_()


def sorted_by_voxel(tensor: SparseTensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and coordinates in the order of frame, x, y, z: back ends order voxels as they like."""
    order = np.lexsort(tensor.coordinates.T.flip(0).numpy())
    return tensor.features[order], tensor.coordinates[order]
