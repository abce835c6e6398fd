"""A network made ready to run and not to be trained: the same results, sooner.

A BatchNorm behind a convolution or a matrix is a factor and an offset for each of its channels, which its weights and
bias can hold just as well (they are folded); activations are computed where sums are; and convolutions over maps are
faster where a place's channels lie side by side.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from perception.model.fused import activation_of, fused, quantised
from perception.model.layers import ConvNormAct
from perception.model.precision import Precision, is_partly_bfloat16

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def for_inference(network: nn.Module, precision: Precision = "fp32") -> nn.Module:
    """The network itself, changed: in evaluation, without gradients, norms folded, activations fused, channels last.

    With "bf16" sparse convolutions take bfloat16 features; the rest is autocast's part, see Detector. With "int8" dense
    convolutions of more than one pixel, which take the most time, are computed in eight bits, and the rest in bfloat16
    where that is fast.
    """
    network.eval().requires_grad_(False)
    for module in list(network.modules()):
        fold_norms(module)
    lay_channels_last(network)
    finalise(network)
    fuse_activations(network)
    if precision == "int8":
        quantise_convolutions(network)
    if is_partly_bfloat16(torch.device("cpu"), precision):
        for module in network.modules():
            if isinstance(getattr(module, "precision", None), torch.dtype):
                module.precision = torch.bfloat16
    return network


def fold_norms(module: nn.Module) -> None:
    """Fold the norms of this very module, not of its parts, into the convolutions or matrices before them."""
    if isinstance(module, ConvNormAct):
        pairs = [("conv", "bn")]
    elif isinstance(module, nn.Sequential):
        names = list(dict(module.named_children()))
        pairs = list(pairwise(names))
    else:
        return
    for conv, norm in pairs:
        before, after = getattr(module, conv), getattr(module, norm)
        if isinstance(before, CONVOLUTIONS) and isinstance(after, NORMS):
            setattr(module, conv, fuse_conv_bn_eval(before, after, isinstance(before, nn.ConvTranspose2d)))
        elif isinstance(before, nn.Linear) and isinstance(after, nn.BatchNorm1d):
            setattr(module, conv, fuse_linear_bn_eval(before, after))
        else:
            continue
        setattr(module, norm, nn.Identity())


def finalise(network: nn.Module) -> None:
    """Let the modules that gain by weights that don't change any more do so, by their method of this name."""
    with torch.no_grad():
        for module in network.modules():
            if callable(getattr(module, "finalise", None)):
                module.finalise()


def fuse_activations(network: nn.Module) -> None:
    """Put layers that compute their activation, too, in the place of those before one, wherever we have such."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvNormAct) and isinstance(child.bn, nn.Identity):
                _put(parent, name, fused(child.conv, "relu"))
        if isinstance(parent, nn.Sequential):
            _fuse_in_sequence(parent)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            _put(parent, name, fused(child))


def _fuse_in_sequence(sequence: nn.Sequential) -> None:
    layers = [(name, child) for name, child in sequence.named_children() if not isinstance(child, nn.Identity)]
    for (name, layer), (next_name, after) in pairwise(layers):
        activation = activation_of(after)
        if activation is not None and _put(sequence, name, fused(layer, activation)):
            setattr(sequence, next_name, nn.Identity())


def _put(parent: nn.Module, name: str, module: nn.Module | None) -> bool:
    if module is not None:
        setattr(parent, name, module)
    return module is not None


def quantise_convolutions(network: nn.Module) -> None:
    """Put convolutions in eight bits in the place of those for which that pays.

    Not in the LiDAR's encoder, whose features are of metres still: two layers of it would cost sim_fusion 0.02 mAP.
    """
    for path, parent in list(network.named_modules()):
        if path.split(".")[0] != "lidar_branch":
            for name, child in list(parent.named_children()):
                _put(parent, name, quantised(child))


def lay_channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions over maps so that their maps have the channels last in memory."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):  # those are matrix products here
            module.to(memory_format=torch.channels_last)
