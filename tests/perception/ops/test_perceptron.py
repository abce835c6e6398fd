"""Layers of a small network in one go against the same one after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.ops.perceptron import Perceptron, highest_of_groups
from perception.ops.rows import Layer, evened, multiplies_rows
from tests.perception.ops.processors import LESSER, alone_and_with_four_threads, run_as_if_on

OFF = {torch.float32: 3e-6, torch.bfloat16: 1e-2}  # relative root mean square


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(
    dtype: torch.dtype = torch.float32, widths: tuple[int, ...] = (12, 32, 70, 5), relu: bool = False
) -> Perceptron:
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    layers = [
        Layer(numbers(out, width, seed=i) / width**0.5, numbers(out, seed=i + 9))
        for i, (width, out) in enumerate(pairwise(widths))
    ]
    return Perceptron(layers, relu, dtype)


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, 120),
    first=st.integers(1, 70),
    hidden=st.lists(st.integers(1, 60).map(lambda half: 2 * half), max_size=2),
    last=st.integers(1, 40),
    relu=st.booleans(),
    dtype=st.sampled_from(sorted(OFF, key=str)),
    seed=st.integers(0, 99),
)
def test_all_at_once_is_one_layer_after_the_other(count, first, hidden, last, relu, dtype, seed):
    network, rows = made(dtype, (first, *hidden, last), relu), numbers(count, first, seed=seed)
    found, plain = network(rows), network.plain(rows)
    assert found.shape == plain.shape == (count, last)
    assert (found - plain).norm() <= OFF[dtype] * (plain.norm() + 1)
    assert not relu or (found >= 0).all()
    assert torch.equal(network(evened(rows)), found)
    assert torch.equal(network.plain(evened(rows)), plain)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 130), max_size=9),
    relu=st.booleans(),
    dtype=st.sampled_from(sorted(OFF, key=str)),
)
def test_the_highest_of_each_group_is_found(counts, relu, dtype):
    network, rows = made(dtype, relu=relu), numbers(sum(counts), 12)
    counts = torch.tensor(counts, dtype=torch.int64)
    found, each = network.highest(rows, counts), network(rows)
    assert torch.equal(found, highest_of_groups(each, counts))
    expected = [part.amax(dim=0) if len(part) else part.new_zeros(5) for part in each.split(counts.tolist())]
    assert torch.equal(found, torch.stack(expected) if expected else torch.zeros(0, 5))


@pytest.mark.parametrize("dtype", OFF, ids=str)
def test_the_number_of_threads_changes_nothing(dtype):
    network, rows, counts = made(dtype), numbers(3000, 12), torch.tensor([0, 700, 1, 2299])
    for compute in (lambda: network(rows), lambda: network.highest(rows, counts)):
        alone, together = alone_and_with_four_threads(compute)
        assert torch.equal(together, alone)


def test_rows_may_lie_in_memory_as_they_like():
    network, rows = made(), numbers(50, 12)
    assert torch.equal(network(rows.T.contiguous().T), network(rows))


def test_what_is_no_number_spoils_its_row_only():
    network, rows = made(), numbers(50, 12)
    expected = network(rows)
    rows[20, 3] = float("nan")
    found = network(rows)
    assert found[20].isnan().all()
    assert torch.equal(found[torch.arange(50) != 20], expected[torch.arange(50) != 20])


def test_layers_and_rows_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="layers of a perceptron: expected as many numbers out"):
        Perceptron([Layer(numbers(8, 4), numbers(8)), Layer(numbers(2, 6), numbers(2))], True, torch.float32)
    with pytest.raises(InputError, match=r"rows of a perceptron: expected \(any, 12\)"):
        made()(numbers(5, 14))
    for counts in ([3, 3], [6, -1]):
        with pytest.raises(InputError, match="rows of groups: expected 5 together"):
            made().highest(numbers(5, 12), torch.tensor(counts))


@pytest.mark.parametrize("isa", LESSER)
def test_lesser_processors_compute_the_same(isa):
    if not multiplies_rows(torch.float32):
        pytest.skip("no kernels here")
    files = [__file__, str(__file__).replace("test_perceptron", "test_trails")]
    done = run_as_if_on(isa, "not lesser", *files)
    assert done.returncode == 0, done.stdout[-2000:]
