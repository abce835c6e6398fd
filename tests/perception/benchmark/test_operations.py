"""Counted operations are those that pencil and paper give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from perception.benchmark.operations import counting
from perception.benchmark.stages import replaced
from perception.model.inference import for_inference
from perception.ops.int8 import computes_int8
from perception.ops.sparse import Kernel, SparseTensor, convolve, native_backend, tensor, torch_backend
from perception.ops.sparse.tensor import backend_for

HALVING = Kernel((2, 2, 2), stride=(2, 2, 2))
SUBMANIFOLD = Kernel((3, 3, 3), submanifold=True)
BACKENDS = [torch_backend]
if backend_for(torch.device("cpu")) is native_backend:
    BACKENDS.append(native_backend)


@torch.inference_mode()
def test_a_convolution() -> None:
    convolution, image = nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, 8, 6)
    with counting() as operations:
        convolution(image)
        assert operations() == 2 * 2 * 5 * 8 * 6 * (3 * 3 * 3)


@pytest.mark.skipif(not computes_int8(), reason="this processor has no VNNI")
@torch.inference_mode()
def test_a_convolution_in_eight_bits() -> None:
    network = for_inference(nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()), "int8")
    with counting() as operations:
        network(torch.randn(2, 16, 8, 6))
        assert operations() == 2 * 2 * 32 * 8 * 6 * (16 * 3 * 3)


@torch.inference_mode()
def test_attention_is_its_four_projections_and_two_products() -> None:
    attention, tokens = nn.MultiheadAttention(16, 2, batch_first=True).eval(), torch.randn(3, 10, 16)
    with counting() as operations:
        attention(tokens, tokens, tokens, need_weights=False)
        assert operations() == 3 * (4 * 2 * 10 * 16 * 16 + 2 * 2 * 10 * 10 * 16)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__.rsplit(".", 1)[-1])
@pytest.mark.parametrize(("kernel", "pairs"), [(SUBMANIFOLD, 8 * 8), (HALVING, 8)], ids=["submanifold", "halving"])
def test_a_sparse_convolution_multiplies_once_a_pair(backend, kernel: Kernel, pairs: int) -> None:
    cube = torch.cartesian_prod(*(torch.arange(2) for _ in range(3)))  # in which all are neighbours
    coordinates = torch.cat([torch.zeros(8, 1, dtype=torch.int64), cube + 2], dim=1)
    features, weight = torch.randn(8, 6), torch.randn(4, *kernel.size, 6)
    with torch.inference_mode(), replaced(tensor, "backend_for", lambda device: backend), counting() as operations:
        convolve(SparseTensor(features, coordinates, (6, 6, 6), 1), weight, kernel)
        assert operations() == 2 * pairs * 6 * 4
