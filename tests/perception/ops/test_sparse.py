"""Sparse convolution is dense convolution of the tensor with its zeros, wherever an output voxel is active.

Both back ends that a CPU has face these tests; of the native one they see the rulebooks, since it leaves float64 to
torch's arithmetic. Its own is tested in test_sparse_native.py.
"""

import importlib

import pytest
import torch
import torch.nn.functional as F

from calibration.errors import InputError
from perception.ops.native import library
from perception.ops.sparse import Epilogue, Kernel, SparseTensor, convolve, convolve_inverse, torch_backend
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


@pytest.fixture(autouse=True, params=["torch_backend", "native_backend"])
def backend(request, monkeypatch):
    """The back end that serves the CPU."""
    if request.param == "native_backend" and library() is None:
        pytest.skip("the kernels were not built")
    chosen = importlib.import_module(f"perception.ops.sparse.{request.param}")
    monkeypatch.setattr("perception.ops.sparse.tensor.backend_for", lambda device: chosen)
    return chosen


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


def test_a_rulebook_is_made_once_for_the_same_voxels_and_kernel(backend, monkeypatch):
    made = []
    build = backend.build_rulebook

    def counting(coordinates, size, batch, kernel):
        made.append(kernel)
        return build(coordinates, size, batch, kernel)

    monkeypatch.setattr(backend, "build_rulebook", counting)
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


@pytest.mark.parametrize(("built", "chosen"), [(True, "native_backend"), (False, "torch_backend")])
def test_a_cpu_is_served_by_our_kernels_where_they_were_built(built, chosen, monkeypatch):
    monkeypatch.setattr("perception.ops.sparse.tensor.library", lambda: object() if built else None)
    assert backend_for(torch.device("cpu")).__name__.endswith(chosen)


@pytest.mark.parametrize(
    ("voxel", "expected"),
    [
        ((2, 0, 0, 0), "inside"),
        ((-1, 0, 0, 0), "inside"),
        ((0, 6, 0, 0), "inside"),
        ((0, 0, -1, 0), "inside"),
        ((1, 0, 0, 5), "inside"),
        ((0, 0, 0, 2**62), "inside"),
        ((0, -(2**63), 2**63 - 1, 0), "inside"),
        ((0, 3, 3, 3), "no voxel twice"),
    ],
    ids=str,
)
@model_kernels
def test_voxels_outside_the_grid_or_there_twice_are_named(kernel, voxel, expected):
    coordinates = torch.tensor([(0, 3, 3, 3), (1, 3, 3, 3), voxel])
    with pytest.raises(InputError, match=rf"sparse coordinates: expected .*{expected}.*, got \[{voxel[0]}, "):
        convolve(SparseTensor(torch.zeros(3, 4), coordinates, (6, 6, 5), 2), random_weight(0, kernel), kernel)


def test_sorted_changes_the_order_only():
    cloud = random_tensor(0, (8, 8, 5))
    in_order = cloud.sorted()
    features, voxels = sorted_by_voxel(cloud)
    assert torch.equal(in_order.coordinates, voxels)
    assert torch.equal(in_order.features, features)


@pytest.mark.parametrize("kernel", [KERNELS["halving"], KERNELS["squeezing z"], MORE_KERNELS["without overlap"]])
def test_inverse_is_transposed_convolution_at_the_voxels_before(kernel):
    fine = random_tensor(0, (8, 9, 7), channels=3)
    coarse = convolve(fine, random_weight(1, kernel, channels=3, out=4), kernel)
    weight = random_weight(2, kernel, channels=4, out=5)
    back = convolve_inverse(coarse, weight, kernel, fine)
    assert (back.coordinates is fine.coordinates, back.size) == (True, fine.size)
    dense = F.conv_transpose3d(coarse.dense(), weight.permute(4, 0, 1, 2, 3), stride=kernel.stride)
    low = [slice(pad, None) for pad in kernel.padding]
    room = [pad for n in fine.size[::-1] for pad in (0, n)]  # voxels that no output sees stay zero
    dense = F.pad(dense, room)[:, :, low[0], low[1], low[2]]
    torch.testing.assert_close(back.features, at(dense, fine.coordinates))
    cotangent = torch.randn_like(back.features)
    of_sparse = torch.autograd.grad(back.features, (coarse.features, weight), cotangent, retain_graph=True)
    of_dense = torch.autograd.grad(at(dense, fine.coordinates), (coarse.features, weight), cotangent)
    torch.testing.assert_close(of_sparse, of_dense)


def test_inverse_wants_the_voxels_that_the_convolution_gave():
    kernel = KERNELS["halving"]
    fine = random_tensor(0, (8, 8, 8), channels=3)
    other = random_tensor(1, kernel.output_size(fine.size), channels=4)
    with pytest.raises(InputError, match=r"sparse inverse convolution: expected the .* voxels"):
        convolve_inverse(other, random_weight(2, kernel, channels=4), kernel, fine)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("parts", [(), ("scale",), ("shift",), ("residual",), ("scale", "shift", "residual")], ids=str)
def test_an_epilogue_is_what_could_be_done_afterwards(parts, relu):
    cloud = random_tensor(0, (8, 8, 5))
    weight = random_weight(0, SUBMANIFOLD, out=6)
    given = {"scale": torch.randn(6), "shift": torch.randn(6), "residual": torch.randn(len(cloud.features), 6)}
    epilogue = Epilogue(**{name: given[name].double().requires_grad_() for name in parts}, relu=relu)
    plain = convolve(cloud, weight, SUBMANIFOLD).features
    expected = plain * given["scale"] if "scale" in parts else plain
    expected = sum((given[name] for name in parts if name != "scale"), expected)
    expected = expected.relu() if relu else expected
    found = convolve(cloud, weight, SUBMANIFOLD, epilogue).features
    torch.testing.assert_close(found, expected)
    assert found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(convolve(cloud, weight, SUBMANIFOLD, epilogue).features, expected)
