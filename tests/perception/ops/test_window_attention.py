"""Attention within windows by the kernel against the same in torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops import native, window_attention
from perception.ops.window_attention import window_attention_torch, window_order

OFF = {torch.float32: 2e-6, torch.bfloat16: 4e-3}  # relative root mean square; the latter is the results' rounding
needs_kernels = pytest.mark.skipif(native.library() is None, reason="kernels weren't built")


def made(count: int, size: tuple[int, int], heads: int, side: int, shift: int, width: int = 16, scale: float = 1.0):
    chance = torch.Generator().manual_seed(count + side)
    numbers = [
        torch.randn(*shape, generator=chance) * scale
        for shape in ((count, *size, 3 * heads * width), (3 * heads * width,), (heads, side**2, side**2))
    ]
    return *numbers, window_order(*size, side, shift, torch.device("cpu"))


def attended(*given):
    with torch.no_grad():
        return window_attention.window_attention(*given)


@needs_kernels
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 3),
    size=st.tuples(st.integers(1, 13), st.integers(1, 15)),
    heads=st.integers(1, 3),
    side=st.integers(2, 7),
    shifted=st.booleans(),
    width=st.sampled_from([16, 32, 48, 80]),
    dtype=st.sampled_from(sorted(OFF, key=str)),
)
def test_the_kernel_attends_as_torch_does(count, size, heads, side, shifted, width, dtype):
    qkv, padding, bias, order = made(count, size, heads, side, side // 2 if shifted else 0, width)
    qkv = qkv.to(dtype)
    found = attended(qkv, padding, bias, order)
    expected = window_attention_torch(qkv.double(), padding.to(dtype).double(), bias.double(), order)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert (found.double() - expected).norm() <= OFF[dtype] * expected.norm()


@needs_kernels
@pytest.mark.parametrize("scale", [0.0, 30.0, 1e3])
def test_logits_of_any_size_are_shares_of_one(scale):
    qkv, padding, bias, order = made(1, (8, 9), 2, 4, 2, scale=scale)
    found = attended(qkv, padding, bias, order)
    expected = window_attention_torch(qkv.double(), padding.double(), bias.double(), order)
    assert (found.double() - expected).norm() <= 1e-4 * expected.norm().clamp(min=1e-30)


@needs_kernels
def test_the_kernel_is_what_inference_runs(monkeypatch):
    def refused(*given):
        raise AssertionError("the kernel was to be taken")

    monkeypatch.setattr(window_attention, "window_attention_torch", refused)
    attended(*made(1, (8, 9), 2, 4, 2))
    with pytest.raises(AssertionError):  # with gradients torch is
        window_attention.window_attention(*made(1, (8, 9), 2, 4, 2))


@needs_kernels
def test_the_number_of_threads_changes_nothing():
    given_, threads = made(2, (30, 41), 3, 7, 3), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = attended(*given_)
        torch.set_num_threads(4)
        assert torch.equal(attended(*given_), alone)
    finally:
        torch.set_num_threads(threads)


@needs_kernels
def test_a_width_that_is_none_of_the_kernels_is_torchs():
    qkv, padding, bias, order = made(1, (8, 9), 2, 4, 2, width=12)
    expected = window_attention_torch(qkv, padding, bias, order)
    assert torch.equal(attended(qkv, padding, bias, order), expected)


@needs_kernels
def test_what_does_not_fit_is_refused():
    qkv, padding, bias, order = made(1, (8, 9), 2, 4, 2)
    with pytest.raises(InputError, match="padding"):
        attended(qkv, padding[:-1], bias, order)
    with pytest.raises(InputError, match="bias"):
        attended(qkv, padding, bias[:, :, :-1], order)
    with pytest.raises(InputError, match="tokens"):
        attended(qkv[:, :7], padding, bias, order)


@needs_kernels
def test_what_is_not_a_number_stays_in_its_window():
    qkv, padding, bias, order = made(2, (8, 8), 2, 4, 0)
    expected = attended(qkv, padding, bias, order)
    qkv[0, 1, 2, 5] = float("nan")  # of the first head's query
    found = attended(qkv, padding, bias, order)
    assert found[0, 1, 2, :16].isnan().all()
    found[0, 1, 2, :16] = expected[0, 1, 2, :16]
    assert torch.equal(found, expected)
