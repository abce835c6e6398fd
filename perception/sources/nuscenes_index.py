"""A table as columns: Arrow record batches, in memory or mapped from an index file that a large table gets.

Parsing trainval's JSON takes minutes and gigabytes. So a table of more than 8 MB is parsed once, into a file that is
mapped rather than read: VERSION/.index/TABLE-ROW.arrow, or where the dataset may not be written to, under
$XDG_CACHE_HOME/bevfuse. The file names the table's size and time of change, and is made anew when they differ. Where
no such file can be written the columns stay in memory.

Tokens are found by the first eight bytes of a hash: those of a million rows would have to be drawn ten million times
for two of them to be taken for one another.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from calibration.errors import InputError

LEAST_BYTES = 8 << 20  # of a table with an index: smaller ones are parsed before one would notice
BATCH = 1 << 15  # rows of each batch but the last
KEY = " key"  # after a token column's name: its hashes
FORMAT = "1"  # changes with the layout of the files
remarks = logging.getLogger(__name__)


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


def open_columns(path: Path, row: type[NamedTuple], parse: Callable[[], Iterator[tuple]]) -> Columns:
    """The columns of the table `path`, from its index if it has a good one, else of its rows as `parse` gives them.

    Raises InputError for a value that its column can't hold, and what `parse` raises.
    """
    schema = _schema(row)
    size, changed = _state(path)
    if size < LEAST_BYTES:
        return Columns(list(_batches(path, schema, parse())), row._fields)
    schema = schema.with_metadata({"table": f"{FORMAT} {size} {changed}"})
    places = [folder / f"{path.stem}-{row.__name__}.arrow" for folder in _folders(path)]
    for place in places:
        if (found := _mapped(place, schema)) is not None:
            return Columns(found, row._fields)
    remarks.warning("%s: reading it into an index, once", path)
    for place in places:
        with suppress(OSError):
            _write(place, schema, _batches(path, schema, parse()))
        if (found := _mapped(place, schema)) is not None:
            return Columns(found, row._fields)
    remarks.warning("%s: no index, as neither %s can be written to", path, " nor ".join(str(p.parent) for p in places))
    return Columns(list(_batches(path, schema, parse())), row._fields)


def _state(path: Path) -> tuple[int, int]:
    """Size [bytes] and time of change [ns]; nothing of a table that isn't there, which its parser complains about."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def _folders(path: Path) -> list[Path]:
    """Where a table's index may be, the best place first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()[:16]
    return [path.parent / ".index", cache / "bevfuse" / name]


def _mapped(place: Path, schema: pa.Schema) -> list[pa.RecordBatch] | None:
    """The batches of an index file; None where there is none, or an old, foreign or damaged one."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(place)))
        if not reader.schema.equals(schema, check_metadata=True):
            return None
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (OSError, pa.ArrowException):
        return None


def _write(place: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an index file, whole or not at all; OSError where that can't be done."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}.part")  # others may be at it too
    try:
        with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        os.replace(beside, place)
    finally:
        with suppress(OSError):  # moved away, or never there
            beside.unlink()


def _schema(row: type[NamedTuple]) -> pa.Schema:
    """A column for each field, and one of hashes for each that is text."""
    hints = get_type_hints(row)
    fields = [pa.field(name, _arrow_type(kind)) for name, kind in hints.items()]
    return pa.schema([*fields, *(pa.field(name + KEY, pa.uint64()) for name, kind in hints.items() if kind is str)])


def _arrow_type(kind: Any) -> pa.DataType:
    if get_origin(kind) is list:
        return pa.list_(_arrow_type(get_args(kind)[0]))
    return {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}[kind]


def _batches(path: Path, schema: pa.Schema, rows: Iterator[tuple]) -> Iterator[pa.RecordBatch]:
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
