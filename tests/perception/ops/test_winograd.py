"""Convolutions by Winograd's transforms against the sums that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from calibration.errors import InputError
from perception.model import fused as layers
from perception.model.fused import FusedConv2d, WinogradConv2d, fused
from perception.ops.dense import PLAIN
from perception.ops.rows import multiplies_rows
from perception.ops.winograd import BOUNDS, TILES, WinogradConvolution, transforms
from tests.perception.ops.processors import alone_and_with_four_threads

OFF = {torch.float32: 2e-6, torch.bfloat16: 1e-2}  # relative root mean square


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(dtype: torch.dtype, cin: int = 24, cout: int = 20, padding: tuple[int, int] = (1, 1), activation="none"):
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    return WinogradConvolution(numbers(cout, cin, 3, 3, seed=1), numbers(cout, seed=2), padding, activation, dtype)


def by_definition(convolution: WinogradConvolution, x: torch.Tensor) -> torch.Tensor:
    sums = F.conv2d(x.double(), convolution.weight.double(), convolution.bias.double(), padding=convolution.padding)
    return PLAIN[convolution.activation](sums)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-30))


@pytest.mark.parametrize("outputs", [2, 4])
def test_transforms_give_the_sums_of_three_products(outputs):
    back, of_weights, into = transforms(outputs)
    rng = np.random.default_rng(0)
    weight, line = rng.normal(size=3), rng.normal(size=outputs + 2)
    expected = np.correlate(line, weight, mode="valid")
    np.testing.assert_allclose(back @ ((of_weights @ weight) * (into @ line)), expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 15), st.integers(1, 19)),
    channels=st.tuples(st.integers(1, 40).map(lambda half: 2 * half), st.integers(1, 70)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    activation=st.sampled_from(sorted(BOUNDS)),
    dtype=st.sampled_from(sorted(TILES, key=str)),
    seed=st.integers(0, 99),
)
def test_sums_are_those_of_the_definition(shape, channels, padding, activation, dtype, seed):
    (count, height, width), (cin, cout) = shape, channels
    convolution = made(dtype, cin, cout, padding, activation)
    x = numbers(count, cin, height + 2, width + 2, seed=seed).to(dtype)
    expected = by_definition(convolution, x)
    found, plain = convolution(x), convolution.plain(x)
    assert found.dtype == plain.dtype == dtype
    assert found.shape == plain.shape == expected.shape
    # Against the terms' size: few sums may be next to nothing.
    terms = F.conv2d(x.double().square(), convolution.weight.double().square(), padding=padding).sum().sqrt()
    assert (found.double() - expected).norm() <= 3 * OFF[dtype] * (terms + expected.norm())
    assert (plain.double() - expected).norm() <= 3 * OFF[dtype] * (terms + expected.norm())


@pytest.mark.parametrize("dtype", TILES, ids=str)
def test_the_number_of_threads_changes_nothing(dtype):
    convolution, x = made(dtype, 48, 64), numbers(2, 48, 37, 50).to(dtype)
    alone, together = alone_and_with_four_threads(lambda: convolution(x))
    assert torch.equal(together, alone)


def test_maps_may_lie_in_memory_as_they_like():
    convolution, x = made(torch.float32), numbers(2, 24, 12, 30)
    expected = convolution(x)
    assert expected.is_contiguous(memory_format=torch.channels_last)
    for other in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(convolution(other), expected)
    assert torch.equal(convolution(F.pad(x, (3, 3))[..., 3:-3]), expected)


def test_what_is_not_a_number_stays_in_its_tiles():
    convolution, x = made(torch.float32, activation="relu"), numbers(1, 24, 16, 16)
    expected = convolution(x)
    x[0, 3, 5, 5] = float("nan")
    spoilt = ~torch.isfinite(convolution(x))
    assert spoilt[:, :, 4:7, 4:7].all()
    assert not spoilt[:, :, 8:].any()
    assert torch.equal(convolution(x)[:, :, 8:], expected[:, :, 8:])


@pytest.mark.parametrize("wrong", [numbers(1, 23, 8, 8), numbers(24, 8, 8), numbers(1, 24, 8, 8).double()], ids=str)
def test_maps_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError, match="maps"):
        made(torch.float32)(wrong)


def test_channels_come_in_pairs_in_bfloat16():
    with pytest.raises(InputError, match="channels"):
        WinogradConvolution(numbers(8, 23, 3, 3), None, (1, 1), "none", torch.bfloat16)


@pytest.mark.parametrize("dtype", TILES, ids=str)
def test_a_layer_for_inference_takes_this_way_where_maps_are_large(dtype, monkeypatch):
    made(dtype)
    monkeypatch.setattr(layers, "multiplies_tiles", lambda dtype: False)
    layer = fused(nn.Conv2d(24, 16, 3, padding=1), "relu")
    assert type(layer) is WinogradConv2d
    taken = []
    convolve = WinogradConvolution.__call__
    monkeypatch.setattr(WinogradConvolution, "__call__", lambda self, x: taken.append(x.dtype) or convolve(self, x))
    large, small = numbers(1, 24, 20, 20), numbers(1, 24, 4, 4)
    expected = torch.relu(F.conv2d(large.double(), layer.weight.double(), layer.bias.double(), padding=1))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        with torch.no_grad():
            layer(small)
            assert not taken
            assert off(layer(large), expected) < OFF[dtype]
            assert taken == [dtype]
            monkeypatch.setattr(layers, "multiplies_tiles", lambda dtype: True)
            assert off(layer(large), expected) < OFF[dtype]
            assert taken == [dtype]  # not where whole tiles are multiplied
        layer(large).sum().backward()  # gradients are torch's
        assert taken == [dtype]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(24, 16, 3, padding=1, stride=2),
        nn.Conv2d(24, 16, 3, padding=1, dilation=2),
        nn.Conv2d(24, 16, 3, padding=1, groups=2),
        nn.Conv2d(24, 16, 5),
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(33, 16, 3),
    ],
    ids=str,
)
def test_other_layers_take_the_usual_way(layer):
    assert type(fused(layer)) is FusedConv2d
