"""The network with what it is trained against: an example in, the terms of its loss out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.config import DetectorConfig, plugin_names
from perception.model.inference import lay_channels_last
from perception.model.network import Network
from perception.model.precision import autocast, fastest, in_float32
from perception.training.depth import depth_term
from perception.training.examples import Example
from perception.training.losses import Term
from perception.types import Boxes3D

CRITERIA = "perception.training.criteria"
NORMS = (nn.modules.batchnorm._BatchNorm,)  # of any dimension


class Trainee(nn.Module):
    """Example -> every loss term's total and count, as (K,) tensors; `names` says which.

    Autocast is switched on here rather than by Fabric, which would round the inputs too: points to a quarter metre.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.network = Network(config)
        self.settings = config.training
        self.criterion = criterion_settings(config).build(self.network.head)
        self.lift = self._lift() if self.settings.depth_weight else None
        self.auxiliary = self._auxiliary()
        alone = [f"camera_{name}" for name in self.criterion.names] if self.network.late is not None else []
        self.names = (
            *self.criterion.names,
            *alone,
            *self.auxiliary,
            *(["depth"] if self.lift is not None else []),
        )
        for part in self.settings.frozen:
            part_of(self.network, part, "training.frozen").requires_grad_(False)
        if self.settings.channels_last:
            lay_channels_last(self.network)

    def _lift(self) -> nn.Module:
        """The view transform, from now on keeping its last depth logits."""
        lift = getattr(self.network.camera_branch, "view_transform", None)
        if not hasattr(lift, "depth_logits"):
            raise InputError("training.depth_weight", "a view transform that predicts depths", "none in this detector")
        lift.depth_logits.register_forward_hook(lambda module, inputs, logits: setattr(module, "last", logits))
        return lift

    def _auxiliary(self) -> tuple[str, ...]:
        """The names of the fuser's own losses; if there are any, it keeps the maps it was given last from now on."""
        fuser, grid = self.network.fuser, self.network.grid
        if not hasattr(fuser, "auxiliary"):
            return ()
        widths = (self.network.camera_branch.out_channels, self.network.lidar_branch.out_channels)
        with torch.no_grad():
            names = tuple(fuser.auxiliary(*(torch.zeros(0, width, grid.size_x, grid.size_y) for width in widths)))
        fuser.register_forward_hook(lambda module, maps, fused: setattr(module, "last", maps))
        return names

    def train(self, mode: bool = True) -> Trainee:
        """As any module's; norms that are fixed, and frozen parts, stay as in inference."""
        super().train(mode)
        for part in self.settings.frozen:
            part_of(self.network, part, "training.frozen").eval()
        for module in self.network.modules() if self.settings.fixed_norms else ():
            if isinstance(module, NORMS):
                module.eval()
        return self

    def forward(self, example: Example) -> tuple[Tensor, Tensor]:
        device = example.batch.images.device
        precision = self.settings.precision
        with autocast(device, fastest(device) if precision == "auto" else precision):
            outputs = self.network(example.batch)
            auxiliary = self._auxiliary_terms()
        terms = [*self._head_terms(in_float32(outputs), list(example.boxes)), *auxiliary]
        if self.lift is not None:
            terms.append(self._depth_term(example))
        totals = torch.stack([term.total for term in terms])
        return totals, totals.new_tensor([term.count for term in terms])

    def _head_terms(self, outputs: Any, truth: list[Boxes3D]) -> list[Term]:
        """The criterion's, of both streams where boxes are fused."""
        if self.network.late is None:
            return self.criterion(outputs, truth)
        return [*self.criterion(outputs.main, truth), *self.criterion(outputs.camera, truth)]

    def _auxiliary_terms(self) -> list[Term]:
        if not self.auxiliary:
            return []
        fuser = self.network.fuser
        terms = fuser.auxiliary(*fuser.last)
        del fuser.last  # it holds on to the whole graph
        return [Term(*terms[name]) for name in self.auxiliary]

    def _depth_term(self, example: Example) -> Term:
        if not len(example.batch.images):
            return Term(example.batch.images.new_zeros(()), 0)
        term = depth_term(self.lift.depth_logits.last.float(), example.depth, self.lift.depths)
        del self.lift.depth_logits.last  # it holds on to the whole graph
        return Term(self.settings.depth_weight * term.total, term.count)

    def parameter_groups(self) -> list[dict]:
        """For an optimizer: parameters of equal decay and `rate_factor`. Norms and biases don't decay."""
        factors = self.settings.rate_factors
        for part in factors:
            part_of(self.network, part, "training.rate_factors")
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                parts = [part for part in factors if f"{name}.".startswith(f"{part}.")]
                factor = factors[max(parts, key=len)] if parts else 1.0
                groups.setdefault((factor, parameter.dim() > 1), []).append(parameter)
        return [
            {"params": members, "rate_factor": factor, "weight_decay": self.settings.weight_decay * decays}
            for (factor, decays), members in groups.items()
        ]


def _named_for(network: Network, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A camera detector's decoder and head by the names that they have in a detector that fuses boxes."""
    if network.late is None or any(name.startswith(("lidar_branch.", "camera_stream.")) for name in weights):
        return weights
    return {
        f"camera_stream.{name}" if name.startswith(("bev_decoder.", "head.")) else name: tensor
        for name, tensor in weights.items()
    }


def criterion_settings(config: DetectorConfig) -> object:
    """The settings of the head's criterion; InputError if it has none, or if those given are another head's."""
    name = config.head.name
    if name not in plugin_names(CRITERIA):
        raise InputError(f"head {name}", f"a training criterion of its name in {CRITERIA}", "none")
    given = config.training.criterion
    if given is None:
        return importlib.import_module(f"{CRITERIA}.{name}").Settings()
    if given.name != name:
        raise InputError("training.criterion.name", f"the head's, {name}", given.name)
    return given


def part_of(network: nn.Module, name: str, what: str) -> nn.Module | nn.Parameter:
    """The module of this dotted name; InputError with the nearest name where there is none."""
    modules = dict(network.named_modules())
    if name not in modules or not name:
        raise InputError(what, "a part of the network", repr(name), did_you_mean(name, filter(None, modules)))
    return modules[name]


def _widened(weight: Tensor, shape: torch.Size) -> Tensor:
    """A matrix or kernel (out, in, ...) with zeros for the inputs it lacks; else as it is."""
    same = weight.dim() == len(shape) > 1 and weight.shape[0] == shape[0] and weight.shape[2:] == shape[2:]
    if not same or weight.shape[1] >= shape[1]:
        return weight
    return torch.cat([weight, weight.new_zeros(shape[0], shape[1] - weight.shape[1], *shape[2:])], dim=1)


class WeightAverage:
    """The moving average of a network's weights and statistics: better than any of the weights it is made of.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; exponential, as is usual.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps; early ones count less, or they would never be forgotten."""
        decay = min(self.decay, step / (10 + step))
        pairs = [(self.weights[name], tensor) for name, tensor in network.state_dict().items()]
        floats = [pair for pair in pairs if pair[1].is_floating_point()]
        get_ema_multi_avg_fn(decay)(*map(list, zip(*floats, strict=True)), step)  # all at once
        for average, tensor in pairs:
            if not tensor.is_floating_point():
                average.copy_(tensor)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)


def refiner_of(name: str) -> str:
    """Of which refiner a tensor of this name is; "" where it is the detector's."""
    return name.split(".")[1] if name.startswith("refiners.") else ""


def start_from(network: Network, checkpoints: Iterable[Mapping[str, Tensor]]) -> int:
    """Load what fits of each of these weights, later ones over earlier ones -> how many tensors were loaded.

    Where the network takes more inputs than they know, behind those they know, the new ones count for nothing at first.
    A refiner is taken whole, as it is, or not at all: half of one with half of another would fit, and mean nothing.

    An image backbone that they don't fill starts from the published weights its settings name, which aren't counted.
    """
    own, fitting = network.state_dict(), {}
    for weights in checkpoints:
        given = {name: w for name, w in _named_for(network, weights).items() if name in own}
        widened = {name: w if refiner_of(name) else _widened(w, own[name].shape) for name, w in given.items()}
        fits = {name for name, w in widened.items() if own[name].shape == w.shape}
        others = {refiner_of(name) for name in own if name not in fits} - {""}
        fitting |= {name: widened[name] for name in fits if refiner_of(name) not in others}
    lacking = own.keys() - fitting.keys()
    if any(name.startswith("camera_branch.backbone.") for name in lacking):
        load_pretrained = getattr(network.camera_branch.backbone, "load_pretrained", None)
        if load_pretrained is not None:
            load_pretrained()
    network.load_state_dict(fitting, strict=False)
    return len(fitting)
