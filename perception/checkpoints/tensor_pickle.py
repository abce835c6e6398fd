"""The pickle inside a file of torch.save, opened without running it.

A pickle is a program: it names functions and says what to call them with, and a downloaded one may name any. Here the
few names that stand for a tensor are answered by methods that only note down where its numbers lie, and every other
name by an inert class, so that the objects which a training framework left beside the weights need no framework.
torch.load can only do either of the two: refuse such a file (weights_only) or run it.
"""

from __future__ import annotations

import math
import pickle
from typing import Any, BinaryIO, NamedTuple

import torch

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


# Named tuples, because a pickle can't change them once they are made and checked.
class Storage(NamedTuple):
    """Numbers on disk."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


class TensorPlace(NamedTuple):
    """A tensor in a storage, inside its bounds; offset and stride count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TensorUnpickler(pickle.Unpickler):
    """Makes plain containers, TensorPlace and inert objects, and nothing else.

    Raises one of perception.pickles.BROKEN for what is no pickle, or is no tensor where one should be.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self.inert: set[str] = set()  # names of the classes and functions that weren't run

    def find_class(self, module: str, name: str) -> Any:
        # Methods and classes without state: a pickle can set attributes on what it is given here, but to no effect.
        live = {
            ("collections", "OrderedDict"): _Mapping,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
        }
        if (module, name) in live:
            return live[module, name]
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        self.inert.add(f"{module}.{name}")
        return type(f"{module}.{name}", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", type, key, device, element count), in the older format with its view, never used."""
        kind, dtype, key, _, count, *view = pid
        if not isinstance(dtype, torch.dtype):
            return _Inert()  # of a type that no public checkpoint's weights have
        if kind != "storage" or type(key) is not str or type(count) is not int or count < 0 or any(view):
            raise pickle.UnpicklingError(f"a storage that can't be one: {key!r}")
        return self.storages.setdefault(key, Storage(key, dtype, count))

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Any:
        if not isinstance(storage, Storage):
            return _Inert()
        sizes = (offset, *shape, *stride)
        if len(shape) != len(stride) or not all(type(size) is int and size >= 0 for size in sizes):
            raise pickle.UnpicklingError("a tensor without a proper shape")
        reach = offset + 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if math.prod(shape) and reach > storage.count:
            raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
        return TensorPlace(storage, offset, tuple(shape), tuple(stride))

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor


class _Mapping(dict):
    """An OrderedDict, without the attributes that torch keeps module versions in."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Inert:
    """Stands for an object of a class that isn't known here: whatever is done to it, it does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return _Inert()

    def append(self, item: Any) -> None:
        pass

    extend = add = append
