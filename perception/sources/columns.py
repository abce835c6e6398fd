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

    def __init__(self, batches: Sequence[pa.RecordBatch], fields: Sequence[str]) -> None:
        self._batches, self._fields = batches, fields

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def values(self, row: int) -> list[Any]:
        """A row's values, in the order of its fields."""
        batch, place = self._batches[row // BATCH], row % BATCH
        return [batch.column(number)[place].as_py() for number in range(len(self._fields))]

    def numbers(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Some rows' values of a number or a truth (rows,), or with KEY behind its name, a text's hashes (uint64)."""
        if not len(rows):
            return np.zeros(0, np.uint64)
        if len(rows) > BATCH:
            whole = [batch.column(name).to_numpy(zero_copy_only=False) for batch in self._batches]
            return np.concatenate(whole)[rows]
        parts = [column.to_numpy(zero_copy_only=False)[within] for column, within in self._parts(name, rows)]
        return np.concatenate(parts)[_back(rows)]

    def vectors(self, name: str, rows: np.ndarray, count: int) -> np.ndarray:
        """Some rows' lists of numbers (rows, count), NaN for those of another length."""
        parts = [np.zeros((0, count))]
        for column, within in self._parts(name, rows):
            starts, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
            good = starts[within + 1] - starts[within] == count
            part = np.full((len(within), count), np.nan)
            part[good] = values[starts[within[good], None] + np.arange(count)]
            parts.append(part)
        return np.concatenate(parts)[_back(rows)]

    def objects(self, name: str, rows: np.ndarray) -> list[Any]:
        """Some rows' values as Python's own: texts and lists."""
        found = [value for column, within in self._parts(name, rows) for value in column.take(within).to_pylist()]
        return [found[place] for place in _back(rows)]

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

    def _parts(self, name: str, rows: np.ndarray) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Batch after batch a column, and which of its rows are meant, in the order that they have in `rows`."""
        batches = rows // BATCH
        if len(rows) and (batches == batches[0]).all():  # as a frame's mostly are
            yield self._batches[batches[0]].column(name), rows % BATCH
            return
        for batch in np.unique(batches):
            yield self._batches[batch].column(name), rows[batches == batch] % BATCH


def _back(rows: np.ndarray) -> np.ndarray:
    """From the order of batches back to that of `rows`."""
    if len(rows) and rows.max() // BATCH == rows.min() // BATCH:
        return np.arange(len(rows))
    back = np.empty(len(rows), np.int64)
    back[np.argsort(rows // BATCH, kind="stable")] = np.arange(len(rows))
    return back


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
            raise InputError(what, f"type {field.type}", got) from None
    middle = len(values) // 2  # which of them is it?
    _array(path, field, values[:middle], first)
    return _array(path, field, values[middle:], first + middle)
