"""Inverted bottlenecks in one go against their layers one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.model.image_backbones.efficientnet_lite import Settings
from perception.model.inference import for_inference
from perception.ops.bottleneck import Bottleneck
from perception.ops.rows import Layer, multiplies_rows
from tests.perception.ops.processors import LESSER, alone_and_with_four_threads, run_as_if_on

OFF = {torch.float32: 3e-6, torch.bfloat16: 1e-2}  # relative root mean square


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(
    dtype: torch.dtype = torch.float32,
    channels: int = 24,
    inner: int = 48,
    out: int = 24,
    kernel: int = 3,
    stride: int = 1,
    widened: bool = True,
) -> Bottleneck:
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    channels = channels if widened else inner
    widen = Layer(numbers(inner, channels, 1, 1, seed=1) / channels**0.5, numbers(inner, seed=2)) if widened else None
    convolve = Layer(numbers(inner, 1, kernel, kernel, seed=3) / kernel, numbers(inner, seed=4))
    narrow = Layer(numbers(out, inner, 1, 1, seed=5) / inner**0.5, numbers(out, seed=6))
    return Bottleneck(widen, convolve, narrow, stride, stride == 1 and channels == out, dtype)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 40)),
    channels=st.integers(1, 20).map(lambda half: 2 * half),
    inner=st.integers(1, 5).map(lambda step: 16 * step),
    out=st.one_of(st.none(), st.integers(1, 40)),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    widened=st.booleans(),
    dtype=st.sampled_from(sorted(OFF, key=str)),
    seed=st.integers(0, 99),
)
def test_all_at_once_is_one_layer_after_the_other(shape, channels, inner, out, kernel, stride, widened, dtype, seed):
    out = out or (channels if widened else inner)  # as many as go in: with a shortcut
    block = made(dtype, channels, inner, out, kernel, stride, widened)
    count, height, width = shape
    x = numbers(count, block.channels, height, width, seed=seed).to(dtype)
    found, plain = block(x), block.plain(x)
    assert found.dtype == plain.dtype == dtype
    assert found.shape == plain.shape == (count, out, -(-height // stride), -(-width // stride))
    assert (found.float() - plain.float()).norm() <= OFF[dtype] * (plain.float().norm() + 1)


@pytest.mark.parametrize("dtype", OFF, ids=str)
def test_maps_too_wide_for_the_cache_go_by_strips(dtype):
    block, x = made(dtype, 16, 96, 24, 5, 2), numbers(1, 16, 71, 353).to(dtype)
    plain = block.plain(x).float()
    assert (block(x).float() - plain).norm() <= OFF[dtype] * plain.norm()


@pytest.mark.parametrize("dtype", OFF, ids=str)
def test_the_number_of_threads_changes_nothing(dtype):
    block, x = made(dtype, inner=96), numbers(3, 24, 37, 150).to(dtype)
    alone, together = alone_and_with_four_threads(lambda: block(x))
    assert torch.equal(together, alone)


def test_maps_may_lie_in_memory_as_they_like():
    block, x = made(), numbers(2, 24, 12, 30)
    expected = block(x)
    assert expected.is_contiguous(memory_format=torch.channels_last)
    for other in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(block(other), expected)


def test_what_is_no_number_spoils_what_sees_it_only():
    block, x = made(), numbers(1, 24, 9, 9)
    expected = block(x)
    x[0, 3, 4, 4] = float("nan")
    spoilt = block(x).isnan().any(dim=1)[0]
    assert spoilt[3:6, 3:6].all()
    assert spoilt.sum() == 9
    assert torch.equal(block(x)[:, :, :3], expected[:, :, :3])


@pytest.mark.parametrize("change", [{"stride": 3}, {"inner": 40}])
def test_layers_that_do_not_fit_are_refused(change):
    narrow = Layer(numbers(24, change.get("inner", 48), 1, 1), numbers(24))
    layers = (Layer(numbers(48, 24, 1, 1), numbers(48)), Layer(numbers(48, 1, 3, 3), numbers(48)), narrow)
    with pytest.raises(InputError, match="layers of a bottleneck: expected as many channels"):
        Bottleneck(*layers, change.get("stride", 1), shortcut=False, dtype=torch.float32)


@pytest.mark.parametrize("x", [numbers(1, 23, 4, 4), numbers(24, 4, 4), numbers(1, 24, 4, 4).double()])
def test_other_maps_are_refused(x):
    with pytest.raises(InputError, match=r"maps: expected \(any, 24, any, any\) torch.float32"):
        made()(x)


@pytest.mark.parametrize("dtype", OFF, ids=str)
def test_a_backbone_made_ready_sees_what_it_saw_before(dtype):
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    torch.manual_seed(0)
    backbone, images = Settings().build().eval(), numbers(2, 3, 64, 96)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.no_grad():
        before = backbone(images)
    ready = for_inference(backbone)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        after = ready(images)
    for old, new in zip(before, after, strict=True):
        assert new.dtype == dtype
        assert (new.float() - old).norm() <= 4 * OFF[dtype] * old.norm()


@pytest.mark.parametrize("isa", LESSER)
def test_lesser_processors_compute_the_same(isa):
    if not multiplies_rows(torch.float32):
        pytest.skip("no kernels here")
    chosen = "all_at_once or by_strips or made_ready"
    done = run_as_if_on(isa, chosen, __file__)
    assert done.returncode == 0, done.stdout[-2000:]
