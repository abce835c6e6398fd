"""The compiled kernels against their torch twins; without them there is nothing to compare."""

import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops import native, nms
from perception.ops.bev_pool import PoolingPlan, bev_pool, bev_pool_torch, sorted_torch
from perception.ops.nms import circle_nms, iou_bev, rotated_nms
from perception.ops.voxelize import voxelize, voxelize_torch

pytestmark = pytest.mark.skipif(native.library() is None, reason="the kernels are not built")
numbers = st.integers(0, 2**31 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def three_threads():
    """More than there are processors, perhaps."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


# Voxels


@given(
    numbers,
    st.integers(0, 300),
    st.sampled_from([3, 5, 10]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 0, 1, 7]),
)
@settings(deadline=None)
def test_voxels_are_the_twins_to_the_last_bit(seed, count, columns, max_points, max_voxels):
    points = torch.randn(count, columns, generator=generator(seed)) * 2
    points[::17, seed % 3] = float("nan")
    points[5::19, 1] = float("inf")
    points[7::23, 0] = -1e30
    grid = ((-2.0, -1.0, -3.0), (0.3, 0.5, 1.5), (13, 4, 3))
    found, expected = (do(points, *grid, max_points, max_voxels) for do in (voxelize, voxelize_torch))
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0], expected[0])


def test_voxels_of_huge_grids_keep_apart():
    size = (2_000_000, 2_000_000, 200_000)  # 8e17 cells
    points = torch.tensor(
        [[0.5, 0.5, 0.5], [1999999.0, 1999999.0, 199999.0], [1999999.0, 0.0, 199999.0], [0.6, 0.6, 0.6]]
    )
    means, cells = voxelize(points, (0, 0, 0), (1.0, 1.0, 1.0), size)
    assert cells.tolist() == [[0, 0, 0], [1999999, 1999999, 199999], [1999999, 0, 199999]]
    assert means[0].tolist() == pytest.approx([0.55] * 3)


def test_points_need_not_be_contiguous(three_threads):
    whole = torch.randn(40_000, 10, generator=generator(0))
    grid = ((-2.0, -2.0, -2.0), (0.1, 0.1, 0.1), (40, 40, 40))
    for points in (whole[:, ::2], whole[::3], whole[:, :6].T.contiguous().T):
        for found, expected in zip(voxelize(points, *grid), voxelize_torch(points, *grid), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("points", [torch.zeros(3), torch.zeros(3, 2), torch.zeros(3, 3, dtype=torch.int64)])
def test_what_is_no_cloud_is_an_input_error(points):
    with pytest.raises(InputError, match="points to voxelise: expected"):
        voxelize(points, (0, 0, 0), (1, 1, 1), (4, 4, 4))


# BEV pooling


def pooling(seed: int, pixels: int, depths: int, channels: int, cells: int) -> tuple:
    random = generator(seed)
    places = torch.randint(-cells // 2 - 1, cells, (pixels, depths), generator=random)
    image = (2, pixels // 2) if pixels and pixels % 2 == 0 else (1, 1)
    tensors = [torch.randn(*shape, generator=random) for shape in ((pixels, channels), (pixels, depths))]
    return *tensors, PoolingPlan.of(places, cells, image)


@given(
    numbers,
    st.integers(0, 40),
    st.integers(1, 9),
    st.sampled_from([1, 3, 16, 17, 33, 64, 80, 100]),
    st.integers(1, 30),
)
@settings(deadline=None)
def test_pooled_maps_and_gradients_are_the_twins(seed, pixels, depths, channels, cells):
    features, depth, plan = pooling(seed, pixels, depths, channels, cells)
    results = []
    for pool in (bev_pool, bev_pool_torch):
        inputs = [tensor.clone().requires_grad_() for tensor in (features, depth)]
        out = pool(*inputs, plan)
        out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
        results.append([out.detach(), *(tensor.grad for tensor in inputs)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@given(numbers, st.integers(0, 40), st.integers(0, 9), st.integers(0, 30))
@settings(deadline=None)
def test_plans_are_the_twins(seed, pixels, depths, cells):
    places = torch.randint(-3, max(cells, 1), (pixels, depths), generator=generator(seed))
    places = places.clamp(max=cells - 1)
    plan = PoolingPlan.of(places.T.contiguous().T, cells)
    points, rows, offsets, _ = sorted_torch(places, cells)
    flat = places.flatten()
    met = list(dict.fromkeys(flat[flat >= 0].tolist()))
    assert plan.order.tolist() == [*met, *sorted(set(range(cells)) - set(met))]
    for cell, start, end in zip(plan.order.tolist(), plan.offsets, plan.offsets[1:], strict=False):
        its = slice(offsets[cell], offsets[cell + 1])
        assert torch.equal(plan.points[start:end], points[its])
        assert torch.equal(plan.rows[start:end], rows[its])


@pytest.mark.parametrize("wild", [5, 6, 2**31, 2**63 - 1])
def test_a_cell_beyond_the_map_is_an_input_error(wild):
    places = torch.tensor([[0, -(2**63), 4, wild]])
    for make in (PoolingPlan.of, sorted_torch):
        with pytest.raises(InputError, match=f"cells to pool into: expected below 5, or negative for none, got {wild}"):
            make(places, 5)


def test_pooling_does_not_depend_on_the_number_of_threads():
    features, depth, plan = pooling(1, 3000, 20, 80, 2000)
    results, before = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            inputs = [tensor.clone().requires_grad_() for tensor in (features, depth)]
            out = bev_pool(*inputs, plan)
            out.square().sum().backward()
            results.append([out, *(tensor.grad for tensor in inputs)])
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(map(torch.equal, results[0], others))


def test_pooling_needs_what_the_plan_was_made_for():
    features, depth, plan = pooling(2, 10, 4, 8, 5)
    for wrong in ((features[:-1], depth), (features, depth[:, :-1]), (features, depth.double()), (features[0], depth)):
        with pytest.raises(InputError, match="to pool: expected"):
            bev_pool(*wrong, plan)


def test_a_forked_process_pools_as_its_parent_does(three_threads):
    """OpenMP's threads stay behind in the parent: a child that waited for them would wait for ever."""
    features, depth, plan = pooling(3, 4000, 20, 64, 3000)
    expected = bev_pool(features, depth, plan).numpy().tobytes()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def answer() -> None:
        sender.send_bytes(bev_pool(features, depth, plan).numpy().tobytes())

    child = context.Process(target=answer, daemon=True)
    child.start()
    try:
        assert receiver.poll(60)
        assert receiver.recv_bytes() == expected
    finally:
        child.kill()


# Suppression


@given(numbers, st.integers(0, 120), st.sampled_from([None, 0, 1, 20]))
@settings(deadline=None)
def test_suppression_keeps_what_the_twin_keeps(seed, count, limit):
    random = generator(seed)
    boxes = torch.rand(count, 5, generator=random) * torch.tensor([20, 20, 5, 3, 7.0])
    scores = torch.randint(0, 9, (count,), generator=random).float()  # many are equal
    kept = {}
    for name in ("kernel", "twin"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "twin":
                patch.setattr(nms.native, "library", lambda: None)
            kept[name] = [circle_nms(boxes[:, :2], scores, 2.0, limit), rotated_nms(boxes, scores, 0.2, limit)]
    assert all(map(torch.equal, kept["kernel"], kept["twin"]))


def test_footprints_overlap_as_opencv_says():
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(0)
    boxes = random.uniform([0, 0, 0.5, 0.5, -4], [6, 6, 5, 3, 4], (40, 5))
    found = iou_bev(torch.from_numpy(boxes)).numpy()
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes[:i]):
            first, second = (((box[0], box[1]), (box[2], box[3]), float(np.degrees(box[4]))) for box in (a, b))
            corners = cv2.rotatedRectangleIntersection(first, second)[1]
            shared = cv2.contourArea(cv2.convexHull(corners)) if corners is not None else 0.0
            assert found[i, j] == pytest.approx(shared / (a[2] * a[3] + b[2] * b[3] - shared), abs=1e-3)
    for threshold in (0.0, 0.1, 0.5):
        kept = rotated_nms(torch.from_numpy(boxes), torch.arange(40.0), threshold).tolist()
        alive: list[int] = []
        for row in range(39, -1, -1):
            if all(found[row, other] <= threshold for other in alive):
                alive.append(row)
        assert kept == alive


def test_boxes_to_suppress_have_five_numbers():
    with pytest.raises(InputError, match=r"boxes to suppress: expected \(3, 5\)"):
        rotated_nms(torch.zeros(3, 4), torch.zeros(3), 0.5)


# The library

EVERYTHING = """
import sys, torch
from perception.ops import native
from perception.ops.bev_pool import PoolingPlan, bev_pool
from perception.ops.voxelize import voxelize
random = torch.Generator().manual_seed(0)
plan = PoolingPlan.of(torch.randint(-3, 50, (200, 9), generator=random), 50)
features, depth = (torch.randn(200, n, generator=random).requires_grad_() for n in (91, 9))
pooled = bev_pool(features, depth, plan)
pooled.square().sum().backward()
points = torch.randn(500, 5, generator=random)
voxels = voxelize(points, (-1., -1., -1.), (.2, .2, .2), (10, 10, 10))[0]
torch.save([pooled.detach(), features.grad, depth.grad, voxels], sys.argv[1])
print(native.library() is not None and native.library()["bevfuse_isa"] is not None)
"""


def results_with(tmp_path, **environment: str) -> tuple[list[torch.Tensor], str, str]:
    path = tmp_path / "results.pt"
    command = [sys.executable, "-c", EVERYTHING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=True)
    return torch.load(path), done.stdout.strip(), done.stderr


def test_every_kind_of_processor_and_none_give_the_same(tmp_path):
    expected, loaded, said = results_with(tmp_path)
    assert (loaded, said) == ("True", "")
    for environment in ({"BEVFUSE_ISA": isa} for isa in ("baseline", "avx2", "avx512", "abacus")):
        found, loaded, _ = results_with(tmp_path, **environment)
        assert loaded == "True"
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    found, loaded, said = results_with(tmp_path, BEVFUSE_KERNELS="off")
    assert (loaded, said) == ("False", "")
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_kernels_that_are_not_there_are_missed_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    monkeypatch.delenv("BEVFUSE_KERNELS", raising=False)
    without = native.library.__wrapped__
    assert without() is None
    assert "torch is used, which is slower; install a C++ compiler" in caplog.text
    (tmp_path / "_kernels.so").write_bytes(b"no library")
    assert without() is None
    assert "_kernels.so" in caplog.text


def test_a_library_may_be_named_and_is_then_the_one(tmp_path, monkeypatch):
    copy = tmp_path / "others.so"
    shutil.copy(native.library()._name, copy)
    monkeypatch.setenv("BEVFUSE_KERNELS", str(copy))
    assert native.library.__wrapped__()._name == str(copy)
    monkeypatch.setenv("BEVFUSE_KERNELS", str(tmp_path / "missing.so"))
    with pytest.raises(InputError, match=r"BEVFUSE_KERNELS: expected off or the path .* got .*missing.so"):
        native.library.__wrapped__()


@pytest.mark.parametrize("tensor", [torch.zeros(4, 6)[:, ::2], torch.zeros(4, 6).T])
def test_only_contiguous_numbers_reach_a_kernel(tensor):
    with pytest.raises(InputError, match="tensor for a kernel: expected contiguous numbers on the CPU"):
        native.pointer(tensor)
