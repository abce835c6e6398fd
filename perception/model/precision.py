"""In which precision what is computed: most of a network bears bfloat16, geometry and points in metres don't."""

from __future__ import annotations

import dataclasses
import functools
import logging
import platform
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.model.batch import Batch
from perception.ops.int8 import computes_int8

Precision = Literal["fp32", "bf16", "int8"]
Result = TypeVar("Result")
Outputs = TypeVar("Outputs")

_log = logging.getLogger(__name__)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; without, torch works number by number, fifty times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fastest(device: torch.device) -> Precision:
    """bf16 where the device computes it, else fp32."""
    return "bf16" if computes_bfloat16(device) else "fp32"


def check_precision(device: torch.device, precision: Precision) -> None:
    """InputError for a precision that this device doesn't compute rightly; a warning for one that it is slow in."""
    if precision == "bf16" and not computes_bfloat16(device):
        what = "expected instructions for bfloat16, got none, which makes it much slower; use fp32"
        _log.warning("precision bf16: %s", what)
    if precision == "int8" and not (device.type == "cpu" and computes_int8()):
        raise InputError("precision int8", "a CPU with AVX-512 and VNNI", f"{device} without", "use fp32 or bf16")


def is_partly_bfloat16(device: torch.device, precision: Precision) -> bool:
    """Whether products are in bfloat16: with int8 those that aren't in eight bits, where that is fast."""
    return precision == "bf16" or (precision == "int8" and computes_bfloat16(device))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which convolutions and products are computed in `precision`; for int8 see for_inference, too."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_partly_bfloat16(device, precision))


def in_full_precision(function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function of a Batch or of tensors, without autocast: bfloat16 would round 50 m to a quarter of one."""

    @functools.wraps(function)
    def guarded(*arguments: Any) -> Result:
        with torch.autocast(_device_of(arguments).type, enabled=False):
            return function(*arguments)

    return guarded


def _device_of(arguments: Iterable[Any]) -> torch.device:
    tensors = (argument.images if isinstance(argument, Batch) else argument for argument in arguments)
    return next(tensor.device for tensor in tensors if isinstance(tensor, Tensor))


def in_float32(outputs: Outputs) -> Outputs:
    """A head's Outputs with all that autocast made shorter back in float32."""
    values = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    floats = {name: _in_float32(value) for name, value in values.items()}
    return dataclasses.replace(outputs, **floats)


def _in_float32(value: Any) -> Any:
    if dataclasses.is_dataclass(value):  # of one of several streams
        return in_float32(value)
    return value.float() if value is not None and value.is_floating_point() else value
