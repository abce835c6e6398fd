"""Weights from the two file formats of torch.save; nothing in such a file is run, see tensor_pickle.py."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.checkpoints.tensor_pickle import Storage, TensorPlace, TensorUnpickler
from perception.pickles import BROKEN

EXPECTED = "a checkpoint written by torch.save"
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model_state", "model")  # where trainers put the weights

_ZIP_START = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the five pickles that the older format starts with
_LEGACY_VERSION = 1001
_LITTLE_ENDIAN = "save it again on a little-endian machine"


@dataclass(frozen=True)
class StateDict:
    """A file's weights by the names they have there, on the CPU."""

    tensors: dict[str, Tensor]
    skipped: tuple[str, ...]  # what else is in the file, one phrase each


def read_state_dict(path: str | Path) -> StateDict:
    """Read the weights of a checkpoint, be it the bare state dict or a trainer's dictionary around it.

    Only the weights are read from disk; what else a trainer saved, like an optimiser's state, is named and left.
    Raises InputError if the file is missing, damaged, none of torch.save's, or holds no weights by name.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(str(path), EXPECTED, error.strerror or str(error)) from error
    with file:
        try:
            return _weights(_open_archive(file))
        except _NoWeightsError as error:
            raise InputError(str(path), EXPECTED, *error.args) from error
        except (*BROKEN, zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
            got = " ".join(str(error).split()) or type(error).__name__
            raise InputError(str(path), EXPECTED, f"none, or a damaged one ({got})", "fetch the file again") from error


class _NoWeightsError(Exception):
    """A sound file without weights: what it is, and what to do."""


def _open_archive(file: BinaryIO) -> _ZipArchive | _LegacyArchive:
    start = file.read(9)
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not start:
        raise _NoWeightsError("an empty file", "fetch it again")
    if start.startswith(_ZIP_START):
        return _ZipArchive(file)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < length:
        raise _NoWeightsError("a safetensors file", "a native checkpoint needs no import: use it as it is")
    return _LegacyArchive(file)


def _weights(archive: _ZipArchive | _LegacyArchive) -> StateDict:
    content = archive.content
    if not isinstance(content, dict):
        raise _NoWeightsError(f"one object of {type(content).__name__}", "save its state_dict() instead")
    wrapper = next((key for key in STATE_DICT_KEYS if isinstance(content.get(key), dict)), None)
    weights = content if wrapper is None else content[wrapper]
    places = {name: place for name, place in weights.items() if isinstance(place, TensorPlace)}
    if not places or not all(isinstance(name, str) for name in places):
        raise _NoWeightsError(f"no tensors by name, only {_listed(content) or 'nothing'}")
    unread = {
        "beside the weights": [] if wrapper is None else [key for key in content if key != wrapper],
        "among the weights, but no tensors": [name for name in weights if name not in places],
        "objects, not run": sorted(archive.inert),
    }
    skipped = tuple(f"{what}: {_listed(names)}" for what, names in unread.items() if names)
    return StateDict(_load(places, archive), skipped)


def _load(places: Mapping[str, TensorPlace], archive: _ZipArchive | _LegacyArchive) -> dict[str, Tensor]:
    """Each storage is read once; tensors that share one are copied out of it."""
    sharing: dict[Storage, list[str]] = {}
    for name, place in places.items():
        sharing.setdefault(place.storage, []).append(name)
    loaded = {}
    for storage, names in sharing.items():
        data = archive.read(storage) or bytearray(storage.dtype.itemsize)  # frombuffer takes no empty one
        numbers = torch.frombuffer(data, dtype=storage.dtype)
        for name in names:
            tensor = numbers.as_strided(places[name].shape, places[name].stride, places[name].offset)
            loaded[name] = tensor if len(names) == 1 else tensor.clone()
    return {name: loaded[name] for name in places}


class _ZipArchive:
    """The format since torch 1.6: a zip archive of data.pkl and one entry a storage."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        pickled = next((name for name in self._zip.namelist() if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise _NoWeightsError("another kind of zip archive, without data.pkl")
        self._folder = pickled.removesuffix("data.pkl")
        order = f"{self._folder}byteorder"
        if order in self._zip.namelist() and self._zip.read(order) != b"little":
            raise _NoWeightsError("big-endian numbers", _LITTLE_ENDIAN)
        unpickler = TensorUnpickler(io.BytesIO(self._zip.read(pickled)))
        self.content = unpickler.load()
        self.inert = unpickler.inert

    def read(self, storage: Storage) -> bytearray:
        entry = self._zip.getinfo(f"{self._folder}data/{storage.key}")
        if entry.file_size != storage.size:
            raise pickle.UnpicklingError(f"{entry.filename} has {entry.file_size} bytes, not {storage.size}")
        return bytearray(self._zip.read(entry))


class _LegacyArchive:
    """The format before torch 1.6: five pickles, then each storage behind the number of its elements."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if TensorUnpickler(file).load() != _LEGACY_MAGIC or TensorUnpickler(file).load() != _LEGACY_VERSION:
            raise _NoWeightsError("another kind of pickle")
        if not TensorUnpickler(file).load()["little_endian"]:
            raise _NoWeightsError("big-endian numbers", _LITTLE_ENDIAN)
        unpickler = TensorUnpickler(file)
        self.content = unpickler.load()
        self.inert = unpickler.inert
        self._starts: dict[str, int] = {}
        for key in TensorUnpickler(file).load():
            storage = unpickler.storages[key]
            if int.from_bytes(file.read(8), "little") != storage.count:
                raise EOFError(f"storage {key} isn't where it belongs")
            self._starts[key] = file.tell()
            file.seek(storage.size, io.SEEK_CUR)

    def read(self, storage: Storage) -> bytearray:
        self._file.seek(self._starts[storage.key])
        data = bytearray(self._file.read(storage.size))
        if len(data) != storage.size:
            raise EOFError(f"cut short in storage {storage.key}")
        return data


def _listed(names: Iterable, most: int = 6) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
