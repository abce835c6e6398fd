"""The first convolution of decoded images against normalising them first."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.model.image_backbones.efficientnet_lite import Settings
from perception.model.inference import for_inference
from perception.ops.pixels import PixelConvolution, normalised
from perception.ops.rows import Layer, multiplies_rows
from tests.perception.ops.processors import LESSER, alone_and_with_four_threads, run_as_if_on

OFF = {torch.float32: 3e-6, torch.bfloat16: 1e-2}  # relative root mean square
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def made(dtype: torch.dtype = torch.float32, out: int = 20, kernel: int = 3, stride: int = 2) -> PixelConvolution:
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    chance = torch.Generator().manual_seed(1)
    layer = Layer(torch.randn(out, 3, kernel, kernel, generator=chance) / 3, torch.randn(out, generator=chance))
    return PixelConvolution(layer, stride, MEAN, STD, dtype)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 130)),
    out=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dtype=st.sampled_from(sorted(OFF, key=str)),
    seed=st.integers(0, 99),
)
def test_bytes_are_convolved_as_numbers_are(shape, out, kernel, stride, dtype, seed):
    convolution, seen = made(dtype, out, kernel, stride), images(*shape, 3, seed=seed)
    found, plain = convolution(seen), convolution.plain(seen)
    assert found.dtype == plain.dtype == dtype
    assert found.shape == plain.shape == (shape[0], out, -(-shape[1] // stride), -(-shape[2] // stride))
    assert (found.float() - plain.float()).norm() <= OFF[dtype] * (plain.float().norm() + 1)


def test_the_number_of_threads_changes_nothing():
    convolution, seen = made(), images(3, 70, 90, 3)
    alone, together = alone_and_with_four_threads(lambda: convolution(seen))
    assert torch.equal(together, alone)


def test_other_images_are_refused():
    for wrong in (images(2, 8, 8, 4), images(8, 8, 3), images(2, 8, 8, 3).float()):
        with pytest.raises(InputError, match=r"images: expected \(any, any, any, 3\) torch.uint8"):
            made()(wrong)


@pytest.mark.parametrize("dtype", OFF, ids=str)
def test_a_backbone_sees_in_decoded_images_what_it_sees_in_normalised_ones(dtype):
    if not multiplies_rows(dtype):
        pytest.skip(f"no kernels for {dtype} here")
    torch.manual_seed(0)
    backbone, seen = Settings(out_stages=(0, 3)).build().eval(), images(2, 64, 96, 3)
    with torch.inference_mode():
        before = backbone(normalised(seen, MEAN, STD))
        assert all(map(torch.equal, backbone.of_pixels(seen, MEAN, STD), before))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            after = for_inference(backbone).of_pixels(seen, MEAN, STD)
    for old, new in zip(before, after, strict=True):
        assert new.dtype == dtype
        assert (new.float() - old).norm() <= 4 * OFF[dtype] * old.norm()


@pytest.mark.parametrize("isa", LESSER)
def test_lesser_processors_compute_the_same(isa):
    if not multiplies_rows(torch.float32):
        pytest.skip("no kernels here")
    done = run_as_if_on(isa, "as_numbers", __file__)
    assert done.returncode == 0, done.stdout[-2000:]
