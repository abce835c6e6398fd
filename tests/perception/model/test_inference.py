"""A network made ready for inference gives the same results."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perception.checkpoints.native import save_weights
from perception.detector import load_detector
from perception.model.fused import FusedConv2d, FusedLinear, FusedPointwiseConv2d, FusedSamePaddingConv2d, fused
from perception.model.inference import NORMS, fold_norms, for_inference, fuse_activations
from perception.model.layers import ConvNormAct, PointwiseConv2d, SamePaddingConv2d, conv_norm_relu
from perception.model.network import Network
from perception.model.precision import in_float32
from perception.prepare import prepare
from tests.tiny import tiny_config, tiny_frame, tiny_network, tiny_yaml

HEADS = ("transfusion", "centerpoint")


def with_statistics(module: nn.Module) -> nn.Module:
    """Norms as after training, not those that change nothing."""
    chance = torch.Generator().manual_seed(3)
    for norm in module.modules():
        if isinstance(norm, NORMS):
            norm.running_mean.copy_(torch.randn(norm.num_features, generator=chance) * 0.1)
            norm.running_var.copy_(torch.rand(norm.num_features, generator=chance) + 0.5)
    return module.eval()


def outputs_of(network: Network, precision: str = "fp32") -> dict[str, Tensor]:
    config = tiny_config()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        outputs = in_float32(network(prepare([tiny_frame()], config)))
    tensors = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


@pytest.mark.parametrize("head", HEADS)
def test_folding_changes_no_result(head: str) -> None:
    network = with_statistics(tiny_network(tiny_config(head=head)))
    expected = outputs_of(network)
    got = outputs_of(for_inference(network))
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1, bias=False), nn.ConvTranspose2d(3, 4, 2, 2, bias=False)],
    ids=lambda module: type(module).__name__,
)
def test_every_kind_of_convolution_takes_its_norm_in(convolution: nn.Module) -> None:
    pair = with_statistics(nn.Sequential(convolution, nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()))
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    expected = pair(x)
    fold_norms(pair)
    assert isinstance(pair[1], nn.Identity)
    torch.testing.assert_close(pair(x), expected)


def test_a_block_of_ours_folds_and_keeps_its_names() -> None:
    block = with_statistics(conv_norm_relu(3, 4, 3))
    assert isinstance(block, ConvNormAct)
    fold_norms(block)
    assert {name for name, _ in block.named_parameters()} == {"conv.weight", "conv.bias"}


def test_a_norm_without_a_convolution_before_it_stays() -> None:
    norms = with_statistics(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    fold_norms(norms)
    assert isinstance(norms[0], nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("layer", "activation", "kind"),
    [
        (nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(inplace=True), FusedConv2d),
        (nn.Conv2d(8, 8, 3, 2, dilation=2, groups=8, bias=False), nn.ReLU6(), FusedConv2d),
        (SamePaddingConv2d(8, 8, 5, 2, groups=8), nn.ReLU6(inplace=True), FusedSamePaddingConv2d),
        (SamePaddingConv2d(8, 8, 3, 1), nn.ReLU(), FusedConv2d),
        (PointwiseConv2d(8, 4), nn.ReLU(), FusedPointwiseConv2d),
        (nn.Linear(12, 3), nn.GELU(), FusedLinear),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_takes_the_activation_behind_it_in(layer: nn.Module, activation: nn.Module, kind: type) -> None:
    pair = nn.Sequential(layer, nn.Identity(), activation).eval()
    x = 3 * torch.randn(2, 8, 11, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, names = pair(x), dict(pair.named_parameters()).keys()
        fuse_activations(pair)
        assert isinstance(pair[0], kind)
        assert isinstance(pair[2], nn.Identity)
        torch.testing.assert_close(pair(x), expected, rtol=1e-5, atol=1e-5)
    assert dict(pair.named_parameters()).keys() == names


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("size", [(1, 6), (6, 7), (7, 12), (12, 13), (13, 1), (16, 16)], ids=str)
def test_a_pixel_more_is_missing_behind_than_before_without_a_copy(kernel: int, size: tuple[int, int]) -> None:
    layer = SamePaddingConv2d(4, 4, kernel, 2, groups=2)
    x = torch.randn(2, 4, *size)
    with torch.inference_mode():
        torch.testing.assert_close(fused(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


def test_a_stride_beyond_the_kernel_is_not_padded_so() -> None:
    assert fused(SamePaddingConv2d(4, 4, 2, 3)) is None


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 4, 3), PointwiseConv2d(8, 4, bias=False), nn.Linear(12, 3)], ids=str)
def test_fused_layers_heed_autocast_and_forget_it(layer: nn.Module) -> None:
    pair, x = nn.Sequential(layer, nn.ReLU()).eval(), torch.randn(2, 8, 11, 12)
    with torch.inference_mode():
        expected = pair(x)
        with torch.autocast("cpu", torch.bfloat16):
            expected_short = pair(x)
        fuse_activations(pair)
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                short = pair(x)
            assert short.dtype == torch.bfloat16
            torch.testing.assert_close(short, expected_short, rtol=2e-2, atol=2e-2)
            torch.testing.assert_close(pair(x), expected, rtol=1e-5, atol=1e-5)


def test_layers_without_an_activation_that_we_fuse_keep_it() -> None:
    for activation in (nn.GELU("tanh"), nn.Sigmoid()):
        pair = nn.Sequential(nn.Linear(3, 4), activation)
        fuse_activations(pair)
        assert isinstance(pair[0], FusedLinear)
        assert pair[0].activation == "none"
        assert pair[1] is activation


def test_layers_whose_owners_take_their_weights_stay() -> None:
    attention = nn.MultiheadAttention(8, 2)
    fuse_activations(attention)
    assert isinstance(attention.out_proj, nn.Linear)


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_differs_by_no_more_than_its_rounding(head: str) -> None:
    network = with_statistics(tiny_network(tiny_config(head=head)))
    expected = outputs_of(network)["heatmap"]
    got = outputs_of(for_inference(network, "bf16"), "bf16")["heatmap"]
    assert not torch.equal(got, expected), "it was not computed in bfloat16"
    difference = (got - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert difference < 0.03


def test_a_detector_in_bfloat16_gives_boxes_in_float32(tmp_path: Path) -> None:
    config = tiny_config()
    save_weights(tmp_path / "weights.safetensors", tiny_network(config).state_dict())
    settings = tiny_yaml(tmp_path / "tiny.yaml")
    boxes = load_detector(settings, tmp_path / "weights.safetensors", precision="bf16")(tiny_frame())
    assert boxes.centers.dtype == boxes.scores.dtype == np.float32
