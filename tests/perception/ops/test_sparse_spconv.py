"""Both back ends of sparse convolution agree: ours in plain torch, and spconv, an independent implementation.

With more than one thread spconv 2.3.8 has a data race on a CPU.
"""

import pytest
import torch

from perception.ops.native import library
from perception.ops.sparse import SparseTensor, native_backend, spconv_backend, torch_backend
from tests.perception.ops.voxels import KERNELS, random_tensor, random_weight, sorted_by_voxel

pytest.importorskip("spconv")

native = pytest.param(native_backend, marks=pytest.mark.skipif(library() is None, reason="the kernels were not built"))
backends = [torch_backend, native]
kernels = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
DETECTION_GRID = (1440, 1440, 41)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def convolved(backend, tensor: SparseTensor, weight: torch.Tensor, kernel) -> SparseTensor:
    rulebook = backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
    assert rulebook.coordinates.dtype == torch.int64
    features = backend.convolve(tensor.features, weight, rulebook)
    return SparseTensor(features, rulebook.coordinates, kernel.output_size(tensor.size), tensor.batch)


def assert_agree(tensor: SparseTensor, weight: torch.Tensor, kernel) -> None:
    """Active voxels, values and gradients."""
    found, expected = (convolved(backend, tensor, weight, kernel) for backend in (spconv_backend, torch_backend))
    if kernel.submanifold:
        assert torch.equal(found.coordinates, tensor.coordinates)
    (features, voxels), (expected_features, expected_voxels) = sorted_by_voxel(found), sorted_by_voxel(expected)
    assert torch.equal(voxels, expected_voxels)
    scale = expected_features.abs().max().item()
    torch.testing.assert_close(features, expected_features, rtol=1e-4, atol=1e-5 * scale)
    cotangent = torch.randn_like(features)
    gradients = torch.autograd.grad(features, (tensor.features, weight), cotangent)
    expected_gradients = torch.autograd.grad(expected_features, (tensor.features, weight), cotangent)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        scale = expected_gradient.abs().max().item()
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * scale)


@kernels
@pytest.mark.parametrize(("seed", "size"), list(enumerate([(12, 9, 7), (30, 30, 11), (5, 40, 5)])))
def test_random_clouds(kernel, seed, size):
    tensor = random_tensor(seed, size, channels=8, dtype=torch.float32)
    assert_agree(tensor, random_weight(seed, kernel, channels=8, out=16, dtype=torch.float32), kernel)


def there_and_back(backend, tensor: SparseTensor, weights: list[torch.Tensor], kernel) -> list[torch.Tensor]:
    """Features at the tensor's voxels after a convolution and its inverse, and the gradients of all that is given."""
    rulebook = backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
    coarse = backend.convolve(tensor.features, weights[0], rulebook)
    back = backend.convolve(coarse, weights[1], backend.inverted(rulebook, tensor.coordinates))
    cotangent = torch.linspace(-1, 1, back.numel()).view_as(back)
    return [back.detach(), *torch.autograd.grad(back, (tensor.features, *weights), cotangent)]


@kernels
@pytest.mark.parametrize(("seed", "size"), list(enumerate([(12, 9, 7), (30, 30, 11)])))
@pytest.mark.parametrize("backend", backends, ids=["torch", "native"])
def test_there_and_back(backend, kernel, seed, size):
    tensor = random_tensor(seed, size, channels=8, dtype=torch.float32)
    weights = [random_weight(seed, kernel, channels, out, torch.float32) for channels, out in ((8, 16), (16, 5))]
    expected = there_and_back(spconv_backend, tensor, weights, kernel)
    for found, exact in zip(there_and_back(backend, tensor, weights, kernel), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@kernels
def test_a_surface_in_the_detection_grid_with_an_empty_frame_between(kernel):
    patch = random_tensor(0, (40, 40, 20), frames=(0, 2), batch=3, density=0.05, dtype=torch.float32)
    coordinates = patch.coordinates + torch.tensor([0, 1400, 700, 21])
    tensor = SparseTensor(patch.features, coordinates, DETECTION_GRID, 3)
    assert_agree(tensor, random_weight(0, kernel, dtype=torch.float32), kernel)


@kernels
def test_a_lone_voxel(kernel):
    tensor = SparseTensor(torch.randn(1, 4, requires_grad=True), torch.tensor([[1, 5, 0, 4]]), (6, 6, 5), 2)
    assert_agree(tensor, random_weight(0, kernel, dtype=torch.float32), kernel)


@kernels
def test_nothing_in_nothing_out(kernel):
    tensor = random_tensor(0, (6, 6, 5), frames=(), dtype=torch.float32)
    out = convolved(spconv_backend, tensor, random_weight(0, kernel, dtype=torch.float32), kernel)
    assert out.features.shape == (0, 3)
    assert out.coordinates.shape == (0, 4)


def test_voxels_that_no_output_reaches_vanish():
    kernel = KERNELS["squeezing z"]
    coordinates = torch.tensor([[0, 3, 3, 5], [0, 3, 4, 5]])  # of 6 layers, the outputs see 0 to 4
    tensor = SparseTensor(torch.ones(2, 4), coordinates, (6, 6, 6), 1)
    for backend in (spconv_backend, torch_backend):
        assert len(convolved(backend, tensor, random_weight(0, kernel, dtype=torch.float32), kernel).features) == 0
    assert spconv_backend.build_rulebook(coordinates, (6, 6, 6), 1, kernel).rules is None  # spconv would raise


def test_inputs_need_not_be_contiguous():
    kernel = KERNELS["submanifold"]
    tensor = random_tensor(0, (12, 9, 7), channels=8, dtype=torch.float32)
    strided = SparseTensor(
        tensor.features.detach().T.contiguous().T.requires_grad_(),
        tensor.coordinates.T.contiguous().T,
        tensor.size,
        tensor.batch,
    )
    assert not strided.features.is_contiguous()
    assert not strided.coordinates.is_contiguous()
    weight = random_weight(0, kernel, channels=8, dtype=torch.float32).detach().mT.contiguous().mT.requires_grad_()
    assert_agree(strided, weight, kernel)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(dtype):
    kernel = KERNELS["submanifold"]
    tensor, weight = random_tensor(0, (12, 9, 7), dtype=dtype), random_weight(0, kernel, dtype=dtype)
    rulebook = spconv_backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
    found = spconv_backend.convolve(tensor.features, weight, rulebook)
    exact = spconv_backend.convolve(tensor.features.float(), weight.float(), rulebook)
    assert found.dtype == dtype
    assert torch.equal(found, exact.to(dtype))


def test_autocast_changes_nothing():
    kernel = KERNELS["submanifold"]
    tensor, weight = random_tensor(0, (12, 9, 7), dtype=torch.float32), random_weight(0, kernel, dtype=torch.float32)
    rulebook = spconv_backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, kernel)
    expected = spconv_backend.convolve(tensor.features, weight, rulebook)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spconv_backend.convolve(tensor.features, weight, rulebook), expected)
