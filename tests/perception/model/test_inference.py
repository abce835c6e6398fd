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
from perception.model.inference import NORMS, fold_norms, for_inference
from perception.model.layers import ConvNormAct, conv_norm_relu
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
