"""The compiled kernels of csrc/: where they are, and how tensors get there.

They are loaded with ctypes and get tensors' addresses, so nothing is copied. Without them (no compiler when bevfuse was
installed) everything runs on torch, with the same results, and slower; so it does with BEVFUSE_KERNELS=off. With
BEVFUSE_KERNELS=/path/to/kernels.so they are that library: one built otherwise, to be checked or compared.
"""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibration.errors import InputError

OUT_OF_MEMORY = 1  # what a kernel returns then
CACHE_LINE = 64  # bytes
FOLDER = Path(__file__).parent

_log = logging.getLogger(__name__)
_forked = False


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None: where they weren't built or can't be loaded, which is said once, and where they are off.

    Raises InputError if BEVFUSE_KERNELS names a library that can't be loaded.
    """
    chosen = os.environ.get("BEVFUSE_KERNELS")
    if chosen:
        return None if chosen == "off" else _named(chosen)
    built = sorted(FOLDER.glob("_kernels*.so"))
    try:
        found = ctypes.CDLL(str(built[0])) if built else None
    except OSError as error:
        _log.warning("fast kernels: %s; torch is used, which is slower", error)
        return None
    if found is None:
        fix = "install a C++ compiler, then bevfuse again"
        _log.warning("fast kernels: expected %s/_kernels.so, got none; torch is used, which is slower; %s", FOLDER, fix)
    return found


def _named(path: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(Path(path).resolve()))
    except OSError as error:
        raise InputError("BEVFUSE_KERNELS", "off or the path of the kernels' library", f"{path}: {error}") from None


@cache
def multiplies_bf16() -> bool:
    """Whether the kernels, which are there, multiply bfloat16 on this processor."""
    return bool(count_of("bevfuse_sparse_has_bf16"))


def runs_on(*tensors: Tensor) -> bool:
    """Whether the kernels are there and take these: float32 numbers on a CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors) and library() is not None


def threads() -> int:
    """How many to use: as many as torch does, but one in a forked process, which has none of its parent's."""
    return 1 if _forked else torch.get_num_threads()


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    """The address of a contiguous CPU tensor's numbers."""
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        got = f"{tensor.device}, strides {tensor.stride()} of shape {tuple(tensor.shape)}"
        raise InputError("tensor for a kernel", "contiguous numbers on the CPU", got)
    return ctypes.c_void_p(tensor.data_ptr())


def at_cache_line(count: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised memory for so many numbers that begins where a cache line does."""
    memory = torch.empty(count * dtype.itemsize + CACHE_LINE, dtype=torch.uint8)
    first = -memory.data_ptr() % CACHE_LINE
    return memory[first : first + count * dtype.itemsize].view(dtype)


def integer(number: int) -> ctypes.c_int64:
    return ctypes.c_int64(number)


def require(what: str, tensor: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype) -> None:
    """InputError for a tensor of another shape (None: any number) or type, before a kernel reads beyond its end."""
    fits = tensor.dim() == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
    if not fits or tensor.dtype != dtype:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(what, f"({wanted}) {dtype}", f"{tuple(tensor.shape)} {tensor.dtype}")


def run(function: str, *arguments: Any) -> None:
    """Call a kernel that returns a status. Raises MemoryError."""
    if getattr(library(), function)(*arguments) == OUT_OF_MEMORY:
        raise MemoryError(f"{function}: expected memory for its work, got none; use smaller batches")


def count_of(function: str, *arguments: Any) -> int:
    """Call a kernel that returns a number of things."""
    called = getattr(library(), function)
    called.restype = ctypes.c_int64
    return called(*arguments)


def _note_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_note_fork)
