"""Products and convolutions with their activation equal torch's two steps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from perception.ops import dense
from perception.ops.dense import PLAIN, convolve, fuses, linear, rounded_up

pytestmark = pytest.mark.skipif(not dense.HAS_ONEDNN, reason="torch without oneDNN's operators on this processor")

ACTIVATIONS = tuple(PLAIN)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 0, 5), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_products_equal_torchs(activation: str, shape: tuple[int, ...], biased: bool) -> None:
    x, weight, bias = 4 * numbers(*shape), numbers(7, 5, seed=1), numbers(7, seed=2) if biased else None
    with torch.inference_mode():
        got = linear(x, weight, bias, activation)
    torch.testing.assert_close(got, PLAIN[activation](F.linear(x, weight, bias)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("count", [0, 3])
def test_convolutions_equal_torchs(activation: str, groups: int, last: bool, count: int) -> None:
    x, weight, bias = 3 * numbers(count, 8, 9, 12), numbers(16, 8 // groups, 3, 5, seed=1), numbers(16, seed=2)
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    shape = ((2, 1), (1, 3), (1, 2), groups)
    with torch.inference_mode():
        got = convolve(x, weight, bias, *shape, activation)
    expected = PLAIN[activation](F.conv2d(x, weight, bias, *shape))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 9, 17, 1000])
def test_rows_are_filled_up_to_few_lengths_and_none_comes_back(rows: int) -> None:
    x, weight, bias = numbers(rows, 5), numbers(7, 5, seed=1), numbers(7, seed=2)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias, "relu"), F.linear(x, weight, bias).relu())
    sizes = {rounded_up(count) for count in range(1, 4097)}
    assert len(sizes) <= 8 + 9 * 8 + 1
    assert all(count <= rounded_up(count) <= count * 9 / 8 for count in range(1, 4097))


def test_inputs_that_do_not_lie_side_by_side() -> None:
    x, weight = numbers(6, 10)[::2, ::2], numbers(5, 4).T
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight), x @ weight.T)


@pytest.mark.parametrize("rows", [1, 50, 3000])
def test_any_number_of_threads_gives_the_same(rows: int) -> None:
    x, weight, results = numbers(rows, 384), numbers(96, 384, seed=1), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                results.append(linear(x, weight, None, "gelu"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results[1:])


def test_gradients_go_through_torch() -> None:
    x, weight = numbers(4, 5).double().requires_grad_(), numbers(6, 5).double().requires_grad_()
    assert not fuses(x)
    assert torch.autograd.gradcheck(lambda x, w: linear(x, w, None, "gelu"), (x, weight))
    with torch.inference_mode():
        assert fuses(torch.ones(1))
        assert not fuses(torch.ones(1, dtype=torch.float64))
