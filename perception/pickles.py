"""Pickles that carry data and nothing else: numbers, text, containers, and NumPy arrays and scalars.

A pickle is a program, and a downloaded one may run anything. Here every global that a pickle names is looked up in one
short table; NumPy's own reconstruction functions, whose place moved from numpy.core (1.x) to numpy._core (2.x), are
answered by the few lines below, so that both kinds open under both versions, without warnings.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import InputError

# What the unpickler raises at nonsense: the manual names a few and says that there are others.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    LookupError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    SystemError,
)


def load_pickle(path: str | Path, what: str) -> Any:
    """Read a pickle of plain data without running what it may hide.

    `what` is what the error calls the file. Raises InputError for a file that is missing, no pickle or cut short, and
    for one that needs any other global than the few in ALLOWED: it is named, and nothing of it has run.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file).load()
    except OSError as error:
        raise InputError(str(path), what, error.strerror or str(error)) from error
    except _ForbiddenGlobalError as error:
        fix = "open only files that you trust with their own software, and save plain arrays from there"
        raise InputError(str(path), f"{what} of plain data", f"the global {error}", fix) from error
    except BROKEN as error:
        got = " ".join(str(error).split()) or type(error).__name__
        raise InputError(str(path), what, f"no whole pickle ({got})", "fetch the file again") from error


class _ForbiddenGlobalError(Exception):
    """A pickle asks for a class or function that isn't data."""


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        place = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")  # Python 2's name
        if (place, name) not in ALLOWED:
            raise _ForbiddenGlobalError(f"{module}.{name}")
        return ALLOWED[place, name]


class _Type:
    """An array's type, for numbers and text only.

    It stands in for numpy.dtype, which believes a pickle that says that its bytes are addresses of objects.
    """

    __slots__ = ("dtype",)

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r"[biufcSU]\d{1,9}", name):
            raise pickle.UnpicklingError(f"an array of {name!r:.40}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # all else that a plain type's state says is in its name


class _Array(np.ndarray):
    """An array that is filled from a _Type and bytes."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, data = state
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of objects")
        super().__setstate__((1, shape, kind.dtype, is_fortran, data))


def _empty_array(*_: Any) -> _Array:
    """What an array's state is put into, whatever was asked for."""
    return np.empty(0, np.int8).view(_Array)


def _array_from_buffer(buffer: Any, kind: _Type, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, kind.dtype).reshape(shape, order=order)


def _scalar(kind: _Type, data: bytes) -> np.generic:
    return np.frombuffer(data, kind.dtype, 1)[0]


ALLOWED = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct; as a function it would take any bytes for addresses
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,  # protocol 5
    ("_codecs", "encode"): str.encode,  # bytes in protocol 2; unlike _codecs.encode it knows text codecs only
    ("builtins", "bytes"): bytes,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}
