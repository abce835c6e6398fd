"""When each stage of a detector begins and ends: its functions are wrapped from outside while someone measures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import perception.detector
from perception.detector import Detector
from perception.model.lidar_encoders.sparse import SparseConv
from perception.model.network import CameraBranch, LidarBranch
from perception.ops.sparse.tensor import backend_for

DECODE, WHOLE = "decode", "end to end"


class Meter(Protocol):
    """What listens to stages; one may begin within another."""

    def enter(self, stage: str) -> None:
        """The stage of this name begins."""

    def leave(self) -> None:
        """The stage that began last ends."""


STREAM = {"bev_decoder": "BEV decoder", "head": "head"}  # what the cameras have twice where boxes are fused


@dataclass(frozen=True)
class Call:
    """A function that is a stage, and where it is looked up each time it is called."""

    stage: str
    owner: Any  # a module, of Python or of torch
    attribute: str


def calls_of(detector: Detector) -> list[Call]:
    """The stages of a detector, in the order in which they begin; those of parts it lacks are left out."""
    network = detector.network
    calls = [Call("preprocess", perception.detector, "prepare")]
    if network.camera_branch is not None:
        calls += _camera_calls(network.camera_branch)
    if network.lidar_branch is not None:
        calls += lidar_calls(network.lidar_branch)
    if network.decoration is not None:
        calls.insert(-1, Call("decoration", network.decoration, "forward"))
    if network.fuser is not None:
        calls.append(Call("fuser", network.fuser, "forward"))
    calls.append(Call("BEV decoder", network.bev_decoder, "forward"))
    calls.append(Call("head", network.head, "forward"))
    if network.late is not None:
        calls += [Call(f"camera {stage}", network.camera_stream[name], "forward") for name, stage in STREAM.items()]
    calls.append(Call("decode boxes", network, "decode"))
    return [*calls, *(Call(f"refiner {name}", part, "refine") for name, part in network.refiners.items())]


def _camera_calls(branch: CameraBranch) -> list[Call]:
    parts = {"image backbone": branch.backbone, "image neck": branch.neck, "view transform": branch.view_transform}
    return [Call(stage, part, "forward") for stage, part in parts.items() if part is not None]


def lidar_calls(branch: LidarBranch) -> list[Call]:
    """The encoder's time is without its rulebooks, where it has any."""
    calls = [Call("voxelise", branch, "voxels"), Call("LiDAR encoder", branch.encoder, "forward")]
    if is_sparse(branch):
        backend = backend_for(next(branch.parameters()).device)
        calls.insert(1, Call("rulebooks", backend, "build_rulebook"))
    return calls


def is_sparse(branch: LidarBranch) -> bool:
    """Whether the LiDAR encoder is made of sparse convolutions."""
    return any(isinstance(part, SparseConv) for part in branch.encoder.modules())


@contextmanager
def listening(calls: list[Call], meter: Meter) -> Iterator[None]:
    """Tell the meter of every stage that begins or ends while the block lasts."""
    with ExitStack() as stack:
        for call in calls:
            stack.enter_context(replaced(call.owner, call.attribute, _told(call, meter)))
        yield


def _told(call: Call, meter: Meter) -> Callable[..., Any]:
    function = getattr(call.owner, call.attribute)

    @functools.wraps(function)
    def told(*arguments: Any, **named: Any) -> Any:
        with entered(meter, call.stage):
            return function(*arguments, **named)

    return told


@contextmanager
def entered(meter: Meter, stage: str) -> Iterator[None]:
    """A stage that is the block itself."""
    meter.enter(stage)
    try:
        yield
    finally:
        meter.leave()


@contextmanager
def replaced(owner: Any, attribute: str, value: Any) -> Iterator[None]:
    """Another attribute while the block lasts; a method comes back as the class's, not the object's own."""
    own, before = attribute in vars(owner), getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, attribute, before)
        else:
            delattr(owner, attribute)
