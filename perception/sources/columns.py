"""A table's rows as columns: Arrow record batches, in memory or mapped from a file.

Tokens are found by the first eight bytes of a hash: those of a million rows would have to be drawn ten million times
for two of them to be taken for one another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from calibration.errors import InputError

BATCH = 1 << 15  # rows of each batch but the last
KEY = " key"  # after a token column's name: its hashes


class Columns:
    """The rows of a table, by their numbers."""

    def __init__(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch], fields: Sequence[str]) -> None:
        self._schema, self._batches, self._fields = schema, batches, fields
        self._views: dict[int, dict[str, _View]] = {}  # of the batches that were asked for

    def __reduce__(self) -> tuple[Any, ...]:
        return Columns, (self._schema, self._batches, self._fields)

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def values(self, row: int) -> list[Any]:
        """A row's values, in the order of its fields."""
        batch, place = divmod(int(row), BATCH)
        views = self._viewed(batch)
        return [views[name][place] for name in self._fields]

    def numbers(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Some rows' values of a number or a truth (rows,), or with KEY behind its name, a text's hashes (uint64)."""
        if len(rows) > BATCH:
            whole = [batch.column(name).to_numpy(zero_copy_only=False) for batch in self._batches]
            return np.concatenate(whole)[rows]
        found = np.empty(len(rows), str(self._schema.field(name).type))  # Arrow's names are NumPy's
        for batch, which, places in _by_batch(rows):
            found[which] = self._viewed(batch)[name].values[places]
        return found

    def vectors(self, name: str, rows: np.ndarray, count: int) -> np.ndarray:
        """Some rows' lists of numbers (rows, count), NaN for those of another length."""
        found = np.full((len(rows), count), np.nan)
        for batch, which, places in _by_batch(rows):
            lists = self._viewed(batch)[name]
            starts = lists.starts[places]
            good = lists.starts[places + 1] - starts == count
            found[which[good]] = lists.items.values[starts[good, None] + np.arange(count)]
        return found

    def objects(self, name: str, rows: np.ndarray) -> list[Any]:
        """Some rows' values as Python's own: texts and lists."""
        found = [None] * len(rows)
        for batch, which, places in _by_batch(rows):
            view = self._viewed(batch)[name]
            for number, place in zip(which.tolist(), places.tolist(), strict=True):
                found[number] = view[place]
        return found

    def distinct(self, name: str) -> np.ndarray:
        """Rows that differ in a text: of several with the same one the last, where the first is (rows,) int64."""
        rows = np.arange(len(self))
        keys = self.numbers(name + KEY, rows)
        ordered = np.sort(keys)
        if (ordered[1:] != ordered[:-1]).all():
            return rows
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        last = np.zeros(len(first), np.int64)
        np.maximum.at(last, which, rows)
        return last[np.argsort(first)]

    def _viewed(self, batch: int) -> dict[str, _View]:
        if batch not in self._views:
            arrays = self._batches[batch].columns
            self._views[batch] = {name: _view(array) for name, array in zip(self._schema.names, arrays, strict=True)}
        return self._views[batch]


def _by_batch(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Batch after batch: its number, which of the rows are in it, and where in it they are."""
    batches, places = np.divmod(rows, BATCH)
    if len(rows) and batches.min() == batches.max():  # as a frame's mostly are
        yield int(batches[0]), np.arange(len(rows)), places
        return
    for batch in sorted(set(batches.tolist())):
        which = np.flatnonzero(batches == batch)
        yield batch, which, places[which]


class _Numbers:
    """A column of numbers or truths, read without Arrow's scalars, which take ten times as long."""

    def __init__(self, array: pa.Array) -> None:
        self.values = array.to_numpy(zero_copy_only=False)

    def __getitem__(self, place: int) -> Any:
        return self.values[place].item()


class _Texts:
    def __init__(self, array: pa.StringArray) -> None:
        _, starts, text = array.buffers()
        self._starts, self._text = np.frombuffer(starts, np.int32), memoryview(text or b"")

    def __getitem__(self, place: int) -> str:
        return str(self._text[self._starts[place] : self._starts[place + 1]], "utf-8")


class _Lists:
    def __init__(self, array: pa.ListArray) -> None:
        self.starts, self.items = array.offsets.to_numpy(), _view(array.values)

    def __getitem__(self, place: int) -> list[Any]:
        start, end = self.starts[place], self.starts[place + 1]
        if isinstance(self.items, _Numbers):
            return self.items.values[start:end].tolist()
        return [self.items[item] for item in range(start, end)]


_View = _Numbers | _Texts | _Lists


def _view(array: pa.Array) -> _View:
    if pa.types.is_list(array.type):
        return _Lists(array)
    return _Texts(array) if pa.types.is_string(array.type) else _Numbers(array)


def key_of(token: str) -> np.uint64:
    """The hash that a token is found by."""
    return np.uint64(
        int.from_bytes(hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    )


def schema_of(row: type[NamedTuple]) -> pa.Schema:
    """A column for each field, and one of hashes for each that is text."""
    hints = get_type_hints(row)
    fields = [pa.field(name, _type_of(kind)) for name, kind in hints.items()]
    return pa.schema([*fields, *(pa.field(name + KEY, pa.uint64()) for name, kind in hints.items() if kind is str)])


def _type_of(kind: Any) -> pa.DataType:
    if get_origin(kind) is list:
        return pa.list_(_type_of(get_args(kind)[0]))
    return {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}[kind]


def batches_of(path: Path, schema: pa.Schema, rows: Iterator[tuple]) -> Iterator[pa.RecordBatch]:
    """The rows, BATCH at a time; InputError for a value of the table `path` that its column can't hold."""
    first = 0
    while piece := list(islice(rows, BATCH)):
        texts = dict(zip(schema.names, zip(*piece, strict=True), strict=False))
        arrays = [_array(path, field, texts[field.name], first) for field in schema if not field.name.endswith(KEY)]
        names = [name.removesuffix(KEY) for name in schema.names if name.endswith(KEY)]
        hashes = [pa.array(np.array(list(map(key_of, texts[name])), np.uint64)) for name in names]
        yield pa.record_batch([*arrays, *hashes], schema=schema)
        first += len(piece)


def _array(path: Path, field: pa.Field, values: Sequence[Any], first: int) -> pa.Array:
    """A column's values from row number `first` on; InputError for the first that it can't hold."""
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        if len(values) == 1:
            what, got = f"{path}: {field.name} of row {first}", f"{values[0]!r:.80}"
            raise InputError(what, f"type {_said(field.type)}", got) from None
    middle = len(values) // 2  # which of them is it?
    _array(path, field, values[:middle], first)
    return _array(path, field, values[middle:], first + middle)


def _said(kind: pa.DataType) -> str:
    """A column's type in Python's words."""
    if pa.types.is_list(kind):
        return f"list of {_said(kind.value_type)}"
    return {"string": "str", "double": "float", "int64": "int of 64 bits"}.get(str(kind), str(kind))
