"""Sparse convolution: the seam between the model and whatever computes it.

A back end is a file here with three functions:
    build_rulebook(coordinates, size, batch, kernel) -> Rulebook     who feeds whom, from the coordinates alone
    inverted(rulebook, coordinates) -> Rulebook                      the same the other way round
    convolve(features, weight, rulebook, epilogue) -> features       the arithmetic, differentiable
`torch_backend` runs everywhere and is the readable definition; `native_backend` is our own kernels, which serve CPUs;
`spconv_backend` serves NVIDIA GPUs.
"""

from perception.ops.sparse.tensor import Epilogue, Kernel, Rulebook, SparseTensor, convolve, convolve_inverse

__all__ = ["Epilogue", "Kernel", "Rulebook", "SparseTensor", "convolve", "convolve_inverse"]
