"""Convolutions in eight bits against the same in plain steps, and against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.detector import load_detector
from perception.model.fused import FusedConv2d, QuantisedConv2d, quantised
from perception.model.inference import for_inference
from perception.model.layers import SamePaddingConv2d
from perception.model.precision import check_precision
from perception.ops.int8 import (
    LARGEST,
    MIDDLE,
    Int8Convolution,
    computes_int8,
    quantise,
    quantise_torch,
    quantised_kernel,
    scale_of,
    scale_of_torch,
)

ON_THIS_CPU = pytest.mark.skipif(not computes_int8(), reason="this processor has no VNNI")
DTYPES = (torch.float32, torch.bfloat16)


def numbers(shape: tuple[int, ...], seed: int, low: float = -3.0) -> torch.Tensor:
    made = torch.empty(shape).uniform_(low, 4.0, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 9), st.integers(1, 90)),
    low=st.sampled_from([-3.0, 0.0]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_the_kernels_round_as_torch_does(shape, low, dtype, seed):
    x = numbers(shape, seed, low).to(dtype)
    scale = scale_of(x) if x.numel() else scale_of(torch.zeros(1, 1, 1, 1))
    if x.numel():
        expected = scale_of_torch(x)
        assert scale.step == pytest.approx(expected.step, rel=1e-5)
        assert scale.zero == expected.zero == (MIDDLE if (x < 0).any() else 0)
    bits = quantise(x, scale)
    assert torch.equal(bits, quantise_torch(x, scale))
    assert bits.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("low", [-3.0, 0.0])
def test_bits_stand_for_numbers_half_a_step_off_at_most(dtype, low):
    x = numbers((2, 5, 7, 11), 0, low).to(dtype)
    scale = scale_of(x)
    back = (quantise(x, scale).float() - scale.zero) * scale.step
    assert (back - x.float()).abs().max() <= scale.step * 0.5001
    assert scale.step == pytest.approx(float(x.abs().max()) / (255 if low == 0 else 127))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_does_not_spoil_the_rest(dtype):
    x = numbers((1, 3, 4, 5), 0, 0.0).to(dtype)
    expected = scale_of(x)
    x[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    assert scale_of(x).step == pytest.approx(scale_of_torch(x).step, rel=1e-5)
    assert scale_of(x).step == pytest.approx(expected.step, rel=0.2)
    bits = quantise(x, expected)
    assert bits[0, 0, 0, :3].tolist() == [0, 255, 0]
    assert torch.equal(bits, quantise_torch(x, expected))


@pytest.mark.parametrize("low", [-3.0, 0.0])
def test_the_rest_keeps_its_steps_where_a_few_are_far_larger(low):
    x = torch.zeros(1, 8, 50, 50)
    x[:, :, :25] = numbers((1, 8, 25, 50), 0, low)
    rms = float(x[x != 0].square().mean().sqrt())
    x[0, 0, 0, 0] = 100.0
    scale = scale_of(x)
    assert LARGEST * rms < scale.step * (255 if low == 0 else 127) < 1.2 * LARGEST * rms
    assert quantise(x, scale)[0, 0, 0, 0] == 255


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_scene_stays_empty(dtype):
    x = torch.zeros(1, 16, 4, 4, dtype=dtype)
    scale = scale_of(x)
    assert scale == scale_of_torch(x)
    assert scale.step > 0
    assert not quantise(x, scale).any()


def test_weights_keep_each_channels_range():
    weight = numbers((6, 4, 3, 3), 1)
    weight[2] *= 1000
    weight[4] = 0
    kernel = quantised_kernel(weight)
    back = kernel.weight.float() * kernel.steps[:, None, None, None]
    assert kernel.weight.abs().flatten(1).amax(1).tolist() == [127, 127, 127, 127, 0, 127]
    assert ((back - weight).abs().flatten(1).amax(1) <= 0.5001 * kernel.steps).all()


@ON_THIS_CPU
@settings(max_examples=30, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    shape=st.sampled_from([(3, 1, 1, 1, 1), (3, 2, 1, 1, 1), (1, 1, 0, 1, 1), (3, 1, 2, 2, 1), (5, 2, 2, 1, 1)]),
    low=st.sampled_from([-3.0, 0.0]),
    dtype=st.sampled_from(DTYPES),
    activation=st.sampled_from(["none", "relu", "relu6"]),
    biased=st.booleans(),
)
def test_it_is_what_the_plain_steps_give(sides, channels, shape, low, dtype, activation, biased):
    size, stride, padding, dilation, groups = shape
    weight, bias = numbers((channels[1], channels[0], size, size), 1), numbers((channels[1],), 2) if biased else None
    x = numbers((2, channels[0], *sides), 3, low).to(dtype)
    if min(sides) + 2 * padding < dilation * (size - 1) + 1:
        return
    how = ((stride,) * 2, (padding,) * 2, (dilation,) * 2, groups)
    with torch.inference_mode():
        convolution = Int8Convolution(weight, bias, *how, activation)
        got, expected = convolution(x, dtype), convolution.plain(x, dtype)
        exact = F.conv2d(x.float(), weight, bias, *how)
    assert got.dtype == dtype
    limit = 1e-5 if dtype == torch.float32 else 2**-7
    assert (got.float() - expected.float()).abs().max() <= limit * expected.float().abs().max() + 1e-6
    if activation == "none":
        assert (got.float() - exact).norm() <= 0.03 * exact.norm() + 1e-3


@ON_THIS_CPU
def test_threads_change_nothing():
    convolution = Int8Convolution(numbers((32, 64, 3, 3), 0), None, (1, 1), (1, 1), (1, 1), 1, "relu")
    x = numbers((1, 64, 64, 64), 1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                results.append(convolution(x, torch.float32))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_only_layers_with_much_to_multiply_are_taken():
    big, grouped = torch.nn.Conv2d(32, 32, 3), torch.nn.Conv2d(32, 32, 3, groups=32)
    point, few = torch.nn.Conv2d(32, 32, 1), torch.nn.Conv2d(32, 8, 3)
    taken = [quantised(FusedConv2d(layer, "relu")) is not None for layer in (big, grouped, point, few)]
    assert taken == [True, False, False, False]


@ON_THIS_CPU
def test_a_network_ready_for_eight_bits_gives_nearly_the_same():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), SamePaddingConv2d(32, 16, 3, stride=1), torch.nn.ReLU()
    )
    x = numbers((1, 16, 20, 30), 0)
    with torch.inference_mode():
        expected = network.eval()(x)
        ready = for_inference(network, "int8")
        got = ready(x)
        with torch.autocast("cpu", torch.bfloat16):
            short = ready(x)
    assert sum(isinstance(module, QuantisedConv2d) for module in ready.modules()) == 2
    assert got.dtype == torch.float32
    assert short.dtype == torch.bfloat16
    for result in (got, short.float()):
        assert (result - expected).norm() < 0.02 * expected.norm()


def test_processors_that_would_overflow_are_refused(monkeypatch):
    monkeypatch.setattr("perception.model.precision.computes_int8", lambda: False)
    expected = "precision int8: expected a CPU with AVX-512 and VNNI, got cpu without; use fp32 or bf16"
    with pytest.raises(InputError, match=expected):
        check_precision(torch.device("cpu"), "int8")


@ON_THIS_CPU
def test_a_detector_finds_the_same_in_eight_bits():
    from perception.benchmark.frame import made_up_frame

    plain, short = (load_detector("configs/sim_fusion.yaml", precision=name) for name in ("fp32", "int8"))
    frame = made_up_frame(plain.config)
    expected, got = plain(frame), short(frame)
    for boxes in (expected, got):
        assert np.isfinite(boxes.scores).all()
    best = expected.scores > 0.3
    assert best.any()
    distances = np.linalg.norm(expected.centers[best, None, :2] - got.centers[None, :, :2], axis=2)
    assert (distances.min(axis=1) < 1.0).mean() > 0.8
