"""Sparse convolution is dense convolution of the tensor with its zeros, wherever an output voxel is active."""

import pytest
import torch
import torch.nn.functional as F

from calibration.errors import InputError
from perception.ops.sparse import Kernel, SparseTensor, convolve, torch_backend
from perception.ops.sparse.tensor import backend_for
from tests.perception.ops.voxels import KERNELS, SUBMANIFOLD, random_tensor, random_weight, sorted_by_voxel

MORE_KERNELS = KERNELS | {
    "flat submanifold": Kernel((3, 1, 5), submanifold=True),
    "dilating": Kernel((3, 3, 3), padding=(1, 1, 1)),
    "without overlap": Kernel((2, 2, 2), stride=(2, 2, 2)),
    "leaving gaps": Kernel((1, 2, 1), stride=(3, 2, 2)),
}
kernels = pytest.mark.parametrize("kernel", MORE_KERNELS.values(), ids=MORE_KERNELS)
model_kernels = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def dense_convolution(dense: torch.Tensor, weight: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """The definition: (B, C, X, Y, Z) with weight (Cout, kx, ky, kz, Cin)."""
    padding = tuple(k // 2 for k in kernel.size) if kernel.submanifold else kernel.padding
    return F.conv3d(dense, weight.permute(0, 4, 1, 2, 3), stride=kernel.stride, padding=padding)


def at(dense: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
    """Features (N, C) of a dense map (B, C, X, Y, Z) at these voxels."""
    frame, x, y, z = coordinates.T
    return dense[frame, :, x, y, z]


def assert_as_dense(tensor: SparseTensor, weight: torch.Tensor, kernel: Kernel) -> None:
    """Values, active voxels and gradients."""
    sparse = convolve(tensor, weight, kernel)
    dense = dense_convolution(tensor.dense(), weight, kernel)
    assert sparse.size == tuple(dense.shape[2:])
    torch.testing.assert_close(sparse.features, at(dense, sparse.coordinates))
    if kernel.submanifold:
        assert torch.equal(sparse.coordinates, tensor.coordinates)
    else:
        occupied = tensor.with_features(torch.ones_like(tensor.features)).dense().detach()
        reached = dense_convolution(occupied, torch.ones_like(weight), kernel)[:, 0] > 0.5
        assert torch.equal(sparse.coordinates, torch.nonzero(reached))
    cotangent = torch.randn_like(sparse.features)
    inputs = (tensor.features, weight)
    of_sparse = torch.autograd.grad(sparse.features, inputs, cotangent)
    of_dense = torch.autograd.grad(at(dense, sparse.coordinates), inputs, cotangent)
    torch.testing.assert_close(of_sparse, of_dense)


@kernels
@pytest.mark.parametrize(("seed", "size"), list(enumerate([(9, 8, 7), (5, 12, 3), (6, 6, 11), (3, 3, 3)])))
def test_values_active_voxels_and_gradients_are_those_of_dense_convolution(kernel, seed, size):
    assert_as_dense(random_tensor(seed, size), random_weight(seed, kernel), kernel)


@model_kernels
@pytest.mark.parametrize("frames", [(0, 2), (1,), (3,)], ids=str)
def test_frames_may_be_empty(kernel, frames):
    tensor = random_tensor(0, (6, 7, 5), frames, batch=4)
    assert set(tensor.coordinates[:, 0].tolist()) == set(frames)
    assert_as_dense(tensor, random_weight(0, kernel), kernel)


@kernels
@pytest.mark.parametrize("density", [0.01, 1.0], ids=["nearly empty", "full"])
def test_density_does_not_matter(kernel, density):
    assert_as_dense(random_tensor(3, (8, 7, 6), density=density), random_weight(3, kernel), kernel)


@model_kernels
@pytest.mark.parametrize("voxel", [(0, 0, 0), (6, 7, 4), (0, 7, 0), (3, 3, 2), (5, 0, 3)], ids=str)
def test_a_lone_voxel_stays_within_the_borders(kernel, voxel):
    coordinates = torch.tensor([[1, *voxel]])
    tensor = SparseTensor(torch.randn(1, 4, dtype=torch.float64, requires_grad=True), coordinates, (7, 8, 5), 2)
    assert_as_dense(tensor, random_weight(1, kernel), kernel)


@model_kernels
def test_nothing_in_nothing_out(kernel):
    tensor = random_tensor(0, (6, 6, 5), frames=())
    out = convolve(tensor, random_weight(0, kernel), kernel)
    assert out.features.shape == (0, 3)
    assert out.coordinates.shape == (0, 4)
    assert out.coordinates.dtype == torch.int64
    assert out.dense().shape == (2, 3, *kernel.output_size((6, 6, 5)))
    assert not out.dense().any()


def test_voxels_that_no_output_reaches_vanish():
    kernel = Kernel((1, 1, 2), stride=(1, 1, 2))
    tensor = SparseTensor(torch.ones(1, 4), torch.tensor([[0, 3, 3, 4]]), (6, 6, 5), 1)  # outputs see z 0 to 3 only
    assert len(convolve(tensor, random_weight(0, kernel, dtype=torch.float32), kernel).features) == 0


@model_kernels
def test_linear_keys_of_a_huge_grid_do_not_overflow(kernel):
    small = random_tensor(0, (12, 12, 12), frames=(0, 6), batch=7, density=0.1)
    away = (small.coordinates[:, 1:] >= 4).all(dim=1)  # from the lower borders, which aren't in the same place
    coordinates, features = small.coordinates[away], small.features[away].detach()
    near = SparseTensor(features, coordinates, (12, 12, 12), 7)
    offset = 2**20 - 12
    shift = torch.tensor([0, offset, offset, offset])
    far = SparseTensor(features, coordinates + shift, (2**20,) * 3, 7)
    weight = random_weight(0, kernel)
    expected, expected_voxels = sorted_by_voxel(convolve(near, weight, kernel))
    found, voxels = sorted_by_voxel(convolve(far, weight, kernel))
    stride = (1, 1, 1) if kernel.submanifold else kernel.stride
    assert torch.equal(voxels, expected_voxels + shift // torch.tensor([1, *stride]))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@model_kernels
def test_permuting_the_input_only_permutes_the_output(kernel):
    tensor, weight = random_tensor(0, (8, 8, 5)), random_weight(0, kernel)
    order = torch.randperm(len(tensor.features), generator=torch.Generator().manual_seed(0))
    shuffled = SparseTensor(tensor.features[order], tensor.coordinates[order], tensor.size, tensor.batch)
    expected, found = convolve(tensor, weight, kernel), convolve(shuffled, weight, kernel)
    if kernel.submanifold:
        torch.testing.assert_close(found.features, expected.features[order])
    assert torch.equal(sorted_by_voxel(found)[1], sorted_by_voxel(expected)[1])
    torch.testing.assert_close(sorted_by_voxel(found)[0], sorted_by_voxel(expected)[0])


def test_the_number_of_threads_does_not_change_a_bit():
    tensor = random_tensor(0, (40, 40, 11), channels=16, dtype=torch.float32)
    features = (64 * tensor.features.detach()).round()  # whole numbers: no matrix product rounds, however it is split
    weight = torch.ones(16, 3, 3, 3, 16)
    rulebook = torch_backend.build_rulebook(tensor.coordinates, tensor.size, tensor.batch, SUBMANIFOLD)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            results.append(torch_backend.convolve(features, weight, rulebook))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_a_rulebook_is_made_once_for_the_same_voxels_and_kernel(monkeypatch):
    made = []
    build = torch_backend.build_rulebook

    def counting(coordinates, size, batch, kernel):
        made.append(kernel)
        return build(coordinates, size, batch, kernel)

    monkeypatch.setattr(torch_backend, "build_rulebook", counting)
    tensor = random_tensor(0, (8, 8, 5))
    first = convolve(tensor, random_weight(0, SUBMANIFOLD), SUBMANIFOLD)
    second = convolve(first, random_weight(1, SUBMANIFOLD, channels=3), SUBMANIFOLD)
    convolve(tensor, random_weight(2, SUBMANIFOLD), Kernel((3, 3, 3), submanifold=True))
    assert made == [SUBMANIFOLD]
    half = convolve(second, random_weight(3, KERNELS["halving"], channels=3), KERNELS["halving"])
    convolve(half, random_weight(4, SUBMANIFOLD, channels=3), SUBMANIFOLD)
    assert made == [SUBMANIFOLD, KERNELS["halving"], SUBMANIFOLD]  # other voxels, another rulebook


def test_a_rulebook_used_again_gives_the_same_as_a_new_one():
    weights = [random_weight(seed, SUBMANIFOLD, out=4) for seed in range(3)]
    reused = fresh = random_tensor(0, (8, 8, 5))
    for weight in weights:
        reused = convolve(reused, weight, SUBMANIFOLD)
        fresh = convolve(SparseTensor(fresh.features, fresh.coordinates, fresh.size, fresh.batch), weight, SUBMANIFOLD)
    assert torch.equal(reused.features, fresh.features)


def test_dense_puts_every_voxel_in_its_place_and_zeros_elsewhere():
    tensor = random_tensor(0, (5, 4, 3), frames=(1,), batch=3)
    dense = tensor.dense()
    assert dense.shape == (3, 4, 5, 4, 3)
    assert torch.equal(at(dense, tensor.coordinates), tensor.features)
    assert int((dense != 0).sum()) == tensor.features.numel()


def test_autocast_keeps_the_precision_of_the_features():
    tensor, weight = random_tensor(0, (8, 8, 5), dtype=torch.float32), random_weight(0, SUBMANIFOLD).float()
    exact = convolve(tensor, weight, SUBMANIFOLD).features
    with torch.autocast("cpu", torch.bfloat16):
        rough = convolve(tensor, weight, SUBMANIFOLD).features
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("shape", [(3, 3, 3, 3, 5), (3, 3, 3, 4), (3, 4, 3, 3, 3), (3, 3, 3, 1, 4)], ids=str)
def test_a_weight_of_the_wrong_shape_is_named(shape):
    tensor = random_tensor(0, (6, 6, 5), dtype=torch.float32)
    with pytest.raises(InputError, match=r"sparse weight: expected .*Cout, kx, ky, kz, Cin.*, got "):
        convolve(tensor, torch.zeros(shape), SUBMANIFOLD)


@pytest.mark.parametrize(
    ("features", "coordinates"),
    [
        (torch.zeros(3, 4), torch.zeros(2, 4, dtype=torch.int64)),
        (torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int32)),
        (torch.zeros(3, 4), torch.zeros(3, 3, dtype=torch.int64)),
        (torch.zeros(3), torch.zeros(3, 4, dtype=torch.int64)),
    ],
)
def test_features_and_coordinates_must_fit(features, coordinates):
    with pytest.raises(InputError, match="sparse tensor: expected features"):
        SparseTensor(features, coordinates, (6, 6, 5), 1)


@pytest.mark.parametrize(("installed", "chosen"), [(True, "spconv_backend"), (False, "torch_backend")])
def test_a_gpu_is_served_by_spconv_where_it_is_installed(installed, chosen, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    assert backend_for(torch.device("cuda", 1)).__name__.endswith(chosen)
    assert backend_for(torch.device("cpu")) is torch_backend
