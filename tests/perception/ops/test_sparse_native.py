"""Our kernels for sparse convolution against torch_backend, and what may not change a bit of their results."""

import itertools
import math
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops.native import library
from perception.ops.sparse import Epilogue, Kernel, SparseTensor, convolve, native_backend, torch_backend
from tests.perception.ops.native_results import all_results, everything
from tests.perception.ops.voxels import KERNELS, SUBMANIFOLD, random_tensor, random_weight

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels were not built")
CHECKOUT = Path(__file__).resolve().parents[3]

few = st.integers(1, 3)
triples = st.tuples(few, few, few)
sizes = st.tuples(*[st.integers(1, 12)] * 3)
channels = st.sampled_from([1, 2, 3, 5, 8, 15, 16, 17, 24, 32, 33, 48, 64, 80, 100, 130])


@st.composite
def kernels(draw) -> Kernel:
    size = draw(triples)
    if draw(st.booleans()):
        return Kernel(size, submanifold=True)
    return Kernel(size, draw(triples), draw(st.tuples(*[st.integers(0, 2)] * 3)))


@st.composite
def clouds(draw) -> SparseTensor:
    density = draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))
    frames = draw(st.sampled_from([(0,), (0, 2), ()]))
    seed, size, width = draw(st.integers(0, 99)), draw(sizes), draw(channels)
    return random_tensor(seed, size, frames, 3, width, density, torch.float32)


def rulebooks(tensor: SparseTensor, kernel: Kernel) -> tuple:
    """Of our kernels, and of torch."""
    arguments = (tensor.coordinates, tensor.size, tensor.batch, kernel)
    return tuple(backend.build_rulebook(*arguments) for backend in (native_backend, torch_backend))


def assert_close(found: torch.Tensor, expected: torch.Tensor, rms: float = 2e-6) -> None:
    """Relative root mean square."""
    assert found.shape == expected.shape
    error = torch.linalg.vector_norm(found.double() - expected.double())
    assert error <= rms * torch.linalg.vector_norm(expected.double()) + 1e-30


def assert_same_pairs(native, plain) -> None:
    for ours, theirs in zip(native.rules.plain, plain.rules, strict=True):
        pairs = (sorted(zip(p.source.tolist(), p.target.tolist(), strict=True)) for p in (ours, theirs))
        assert next(pairs) == next(pairs)


@settings(max_examples=40)
@given(clouds(), kernels())
def test_rulebooks_are_those_of_torch(tensor, kernel):
    if any(n < 1 for n in kernel.output_size(tensor.size)):
        return
    native, plain = rulebooks(tensor, kernel)
    assert torch.equal(native.coordinates, plain.coordinates)
    assert_same_pairs(native, plain)


@settings(max_examples=40)
@given(clouds(), kernels(), channels, st.integers(0, 99))
def test_values_and_gradients_are_those_of_torch(tensor, kernel, out, seed):
    if any(n < 1 for n in kernel.output_size(tensor.size)):
        return
    weight = random_weight(seed, kernel, tensor.features.shape[1], out, torch.float32)
    native, plain = rulebooks(tensor, kernel)
    found = native_backend.convolve(tensor.features, weight, native)
    exact = torch_backend.convolve(tensor.features.double(), weight.double(), plain)
    assert_close(found, exact)
    cotangent = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (tensor.features, weight), cotangent)
    if exact.requires_grad:
        expected = torch.autograd.grad(exact, (tensor.features, weight), cotangent.double())
    else:  # torch has multiplied nothing
        expected = (torch.zeros_like(tensor.features), torch.zeros_like(weight))
    for gradient, expected_gradient in zip(gradients, expected, strict=True):
        assert_close(gradient, expected_gradient)


@settings(max_examples=25)
@given(clouds(), kernels(), channels, st.booleans(), st.booleans(), st.booleans())
def test_bfloat16_is_within_a_percent(tensor, kernel, out, with_norm, with_residual, relu):
    if any(n < 1 for n in kernel.output_size(tensor.size)):
        return
    weight = random_weight(1, kernel, tensor.features.shape[1], out, torch.float32).detach()
    native, plain = rulebooks(tensor, kernel)
    norm = (torch.rand(out) + 0.5, torch.randn(out)) if with_norm else (None, None)
    residual = torch.randn(len(plain.coordinates), out) if with_residual else None
    rounded = None if residual is None else residual.bfloat16()
    features = tensor.features.detach()
    found = native_backend.convolve(features.bfloat16(), weight, native, Epilogue(*norm, rounded, relu))
    assert found.dtype == torch.bfloat16
    assert_close(found, torch_backend.convolve(features, weight, plain, Epilogue(*norm, residual, relu)), rms=0.01)


@pytest.mark.parametrize("cin", [2, 30, 34, 256, 290, 520])
def test_bfloat16_with_few_channels_and_with_many(cin):
    tensor = random_tensor(3, (12, 12, 9), channels=cin, dtype=torch.float32)
    weight = random_weight(3, SUBMANIFOLD, cin, 50, torch.float32).detach()
    native, plain = rulebooks(tensor, SUBMANIFOLD)
    features, rounded = tensor.features.detach().bfloat16(), weight.bfloat16()
    found = native_backend.convolve(features, rounded, native)
    exact = torch_backend.convolve(features.double(), rounded.double(), plain)
    assert_close(found, exact, rms=3e-3)  # products are exact, and the sum is rounded once


def test_products_by_tiles_leave_those_of_others_alone():
    """AMX's tiles have a layout, which oneDNN sets for its own products."""
    tensor = random_tensor(0, (20, 20, 9), channels=64, dtype=torch.float32)
    weight = random_weight(0, SUBMANIFOLD, 64, 64, torch.float32).detach()
    native, _ = rulebooks(tensor, SUBMANIFOLD)
    random = torch.Generator().manual_seed(0)
    matrices = [torch.randn(n, n, generator=random).bfloat16() for n in (40, 100, 256)]
    features = tensor.features.detach().bfloat16()
    expected = native_backend.convolve(features, weight, native)
    squares = [matrix @ matrix for matrix in matrices]
    for _ in range(3):
        for matrix, square in zip(matrices, squares, strict=True):
            assert torch.equal(native_backend.convolve(features, weight, native), expected)
            assert torch.equal(matrix @ matrix, square)


@pytest.mark.parametrize("out", [16, 20])
@pytest.mark.parametrize("relu", [False, True])
def test_an_epilogue_is_what_could_be_done_afterwards(out, relu):
    tensor = random_tensor(0, (20, 20, 9), channels=12, dtype=torch.float32)
    weight = random_weight(0, SUBMANIFOLD, 12, out, torch.float32).detach()
    native, plain = rulebooks(tensor, SUBMANIFOLD)
    parts = torch.randn(out), torch.randn(out), torch.randn(len(tensor.features), out)
    features = tensor.features.detach()
    for chosen in itertools.product(*((part, None) for part in parts)):
        epilogue = Epilogue(*chosen, relu)
        expected = torch_backend.convolve(features, weight, plain, epilogue)
        assert_close(native_backend.convolve(features, weight, native, epilogue), expected)


def test_what_is_not_a_number_stays_so_through_relu():
    tensor = random_tensor(0, (6, 6, 6), dtype=torch.float32)
    features = tensor.features.detach().clone()
    features[3, 1] = float("nan")
    native, plain = rulebooks(tensor, SUBMANIFOLD)
    weight = random_weight(0, SUBMANIFOLD, dtype=torch.float32).detach()
    expected = torch_backend.convolve(features, weight, plain, Epilogue(relu=True)).isnan()
    assert expected.any()
    for dtype in (torch.float32, torch.bfloat16):
        found = native_backend.convolve(features.to(dtype), weight, native, Epilogue(relu=True))
        assert torch.equal(found.isnan(), expected)


def test_bfloat16_has_gradients_too():
    tensor = random_tensor(0, (12, 12, 6), channels=16, dtype=torch.float32)
    weight = random_weight(0, KERNELS["halving"], 16, 32, torch.float32)
    native, plain = rulebooks(tensor, KERNELS["halving"])
    found = native_backend.convolve(tensor.features.bfloat16(), weight, native)
    expected = torch_backend.convolve(tensor.features, weight, plain)
    cotangent = torch.randn_like(expected)
    gradients = torch.autograd.grad(found, (tensor.features, weight), cotangent.bfloat16())
    for gradient, exact in zip(
        gradients, torch.autograd.grad(expected, (tensor.features, weight), cotangent), strict=True
    ):
        assert gradient.dtype == torch.float32
        assert_close(gradient, exact, rms=0.01)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_number_of_threads_does_not_change_a_bit(kernel):
    tensor = random_tensor(0, (60, 60, 11), channels=48, dtype=torch.float32)
    weight = random_weight(0, kernel, 48, 80, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(everything(tensor, weight, kernel))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_callers_may_be_threads():
    tensor = random_tensor(0, (30, 30, 9), channels=16, dtype=torch.float32)
    weight = random_weight(0, SUBMANIFOLD, 16, 16, torch.float32)
    expected = everything(tensor, weight, SUBMANIFOLD)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: everything(tensor, weight, SUBMANIFOLD), range(8)))
    for result in results:
        assert all(map(torch.equal, result, expected))


def _in_child(queue) -> None:
    torch.set_num_threads(1)
    tensor = random_tensor(0, (30, 30, 9), channels=16, dtype=torch.float32)
    with torch.no_grad():
        out = convolve(tensor, random_weight(0, SUBMANIFOLD, 16, 16, torch.float32), SUBMANIFOLD)
    queue.put(float(out.features.sum()))


def test_a_forked_child_with_one_thread_computes_the_same():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    tensor = random_tensor(0, (30, 30, 9), channels=16, dtype=torch.float32)
    with torch.no_grad():
        expected = convolve(tensor, random_weight(0, SUBMANIFOLD, 16, 16, torch.float32), SUBMANIFOLD)  # with threads
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == pytest.approx(float(expected.features.sum()), rel=1e-4)


ISA_SCRIPT = """
import sys
import torch
from tests.perception.ops.native_results import all_results
torch.save(all_results(), sys.argv[1])
"""


def test_every_instruction_set_gives_the_same_to_rounding(tmp_path):
    started = []
    for isa in ("baseline", "avx2", "avx512_bf16"):  # against the best that this processor has
        environment = os.environ | {"BEVFUSE_ISA": isa, "PYTHONPATH": str(CHECKOUT)}
        started.append(subprocess.Popen([sys.executable, "-c", ISA_SCRIPT, tmp_path / isa], env=environment))
    results = [all_results()]
    for process in started:
        assert process.wait(120) == 0
        results.append(torch.load(process.args[-1]))
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            if found.is_floating_point():
                assert_close(found, expected, rms=5e-3 if found.dtype == torch.bfloat16 else 2e-6)
            else:
                assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [(2**20, 2**20, 2**20), (3, 2**40, 2**19), (2**31, 7, 2**28)], ids=str)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_rulebooks_of_huge_grids(kernel, size):
    """Voxels at all corners and borders of a grid for which there can be no bitmap."""
    patch = torch.from_numpy(np.argwhere(np.random.default_rng(0).random((2, 3, 3, 3)) < 0.6))
    corners = torch.tensor(list(itertools.product(*((0, n - 3) for n in size))))
    moved = [patch + torch.cat([torch.zeros(1, dtype=torch.int64), corner]) for corner in corners]
    coordinates = torch.unique(torch.cat(moved), dim=0)
    coordinates = coordinates[torch.randperm(len(coordinates))]
    tensor = SparseTensor(torch.randn(len(coordinates), 4), coordinates, size, 2)
    native, plain = rulebooks(tensor, kernel)
    assert torch.equal(native.coordinates, plain.coordinates)
    assert_same_pairs(native, plain)


@pytest.mark.parametrize(
    "kernel",
    [Kernel((1, 3, 70), submanifold=True), Kernel((1, 1, 40), (1, 1, 3), (0, 0, 20))],
    ids=["submanifold", "strided"],
)
def test_columns_longer_than_a_word(kernel):
    tensor = random_tensor(0, (4, 5, 150), density=0.3, dtype=torch.float32)
    native, plain = rulebooks(tensor, kernel)
    assert torch.equal(native.coordinates, plain.coordinates)
    assert_same_pairs(native, plain)


def test_operands_need_not_be_contiguous():
    tensor = random_tensor(0, (12, 9, 7), channels=8, dtype=torch.float32)
    weight = random_weight(0, SUBMANIFOLD, 8, 6, torch.float32)
    expected = everything(tensor, weight, SUBMANIFOLD)
    features = tensor.features.detach().T.contiguous().T.requires_grad_()
    strided = SparseTensor(features, tensor.coordinates.T.contiguous().T, tensor.size, tensor.batch)
    strided_weight = weight.detach().mT.contiguous().mT.requires_grad_()
    assert not features.is_contiguous()
    assert not strided_weight.is_contiguous()
    assert all(map(torch.equal, everything(strided, strided_weight, SUBMANIFOLD), expected))


def test_other_types_are_computed_by_torch():
    tensor = random_tensor(0, (8, 8, 5))
    weight = random_weight(0, SUBMANIFOLD)
    native, plain = rulebooks(tensor, SUBMANIFOLD)
    expected = torch_backend.convolve(tensor.features, weight, plain)
    torch.testing.assert_close(native_backend.convolve(tensor.features, weight, native), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "size", "message"),
    [
        (Kernel((3, 3, 3), stride=(1, 0, 1)), (6, 6, 5), "sizes and strides of at least 1"),
        (Kernel((0, 3, 3), submanifold=True), (6, 6, 5), "sizes and strides of at least 1"),
        (Kernel((100, 100, 100), submanifold=True), (6, 6, 5), "offsets"),
        (SUBMANIFOLD, (2**21, 2**21, 2**21), "fewer than 2.63 voxels"),
    ],
)
def test_geometry_that_cannot_be_is_named(kernel, size, message):
    with pytest.raises(InputError, match=rf"sparse .*: expected .*{message}.*, got "):
        native_backend.build_rulebook(torch.zeros(1, 4, dtype=torch.int64), size, 1, kernel)


def test_coordinates_of_another_type_are_named():
    with pytest.raises(
        InputError, match=r"sparse coordinates: expected \(any, 4\) torch.int64, got \(3, 4\) torch.int32"
    ):
        native_backend.build_rulebook(torch.zeros(3, 4, dtype=torch.int32), (6, 6, 5), 1, SUBMANIFOLD)


@pytest.mark.parametrize(
    ("features", "weight", "epilogue"),
    [
        (torch.zeros(2, 4), torch.zeros(3, 3, 3, 3, 4), None),
        (torch.zeros(3, 5), torch.zeros(3, 3, 3, 3, 4), None),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 1, 4), None),
        (torch.zeros(3, 4), torch.zeros(3, 27, 4), None),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4, dtype=torch.int32), None),
        (torch.zeros(3, 4, device="meta"), torch.zeros(3, 3, 3, 3, 4), None),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4, device="meta"), None),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4), Epilogue(scale=torch.zeros(4))),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4), Epilogue(shift=torch.zeros(3, 1))),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4), Epilogue(residual=torch.zeros(2, 3))),
        (torch.zeros(3, 4), torch.zeros(3, 3, 3, 3, 4), Epilogue(residual=torch.zeros(3, 3, device="meta"))),
    ],
)
def test_operands_that_do_not_fit_are_named(features, weight, epilogue):
    coordinates = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2], [0, 4, 4, 4]])
    rulebook = native_backend.build_rulebook(coordinates, (6, 6, 5), 1, SUBMANIFOLD)
    with pytest.raises(InputError, match=r"sparse .*: expected .*, got \("):
        native_backend.convolve(features, weight, rulebook, epilogue)


def test_want_of_memory_is_reported(monkeypatch):
    class Library:
        def __getattr__(self, name):
            return lambda *arguments: 1

    monkeypatch.setattr("perception.ops.native.library", Library)
    with pytest.raises(MemoryError):
        native_backend.build_rulebook(torch.zeros(1, 4, dtype=torch.int64), (6, 6, 5), 1, SUBMANIFOLD)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 4), max_size=2),
    st.lists(st.tuples(*[st.integers(0, 4)] * 4), max_size=12),
    kernels(),
)
def test_whatever_the_coordinates_it_is_computed_or_refused(wild, tame, kernel):
    voxels, size = [*tame, *wild], (2, 7, 6, 5)
    fits = len(set(voxels)) == len(voxels) and all(0 <= a < n for row in voxels for a, n in zip(row, size, strict=True))
    coordinates = torch.tensor(voxels, dtype=torch.int64).reshape(-1, 4)
    tensor = SparseTensor(torch.ones(len(coordinates), 3), coordinates, size[1:], size[0])
    weight = random_weight(0, kernel, 3, 4, torch.float32).detach()
    if fits:
        assert math.isfinite(convolve(tensor, weight, kernel).features.sum())
    else:
        with pytest.raises(InputError, match="sparse coordinates"):
            convolve(tensor, weight, kernel)
