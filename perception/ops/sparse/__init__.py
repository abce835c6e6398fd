"""Sparse convolution: the seam between the model and whatever computes it.

A back end is a file here with two functions:
    build_rulebook(coordinates, size, batch, kernel) -> Rulebook     who feeds whom, from the coordinates alone
    convolve(features, weight, rulebook) -> features                 the arithmetic, differentiable
`torch_backend` runs everywhere and is the readable definition; `spconv_backend` serves NVIDIA GPUs.
"""

from perception.ops.sparse.tensor import Kernel, Rulebook, SparseTensor, convolve

__all__ = ["Kernel", "Rulebook", "SparseTensor", "convolve"]
