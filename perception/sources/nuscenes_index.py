"""Index files of large tables: their columns, which are mapped into memory rather than parsed.

Parsing trainval's JSON takes minutes and gigabytes. So where the tables of a version are larger than 64 MB together,
each of more than 1 MB is parsed once, into VERSION/.index/TABLE-ROW.columns, or where the dataset may not be written
to, into a folder under $XDG_CACHE_HOME/bevfuse. Where no such file can be written the columns stay in memory.

An index is a file of Arrow's, and the CRC-32 of it in four bytes more. It names the size and the time of change of the
table, and is made anew when they differ, or when it is damaged.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from calibration.errors import InputError
from perception.sources.columns import Columns, batches_of, schema_of

LEAST_TOGETHER = 64 << 20  # bytes of a version's tables: those of smaller ones, as mini, are parsed in a second or two
LEAST_BYTES = 1 << 20  # of a table: smaller ones are parsed before one would notice
FORMAT = "2"  # changes with the layout of the files
CHECK_BYTES = 4  # of the checksum behind Arrow's file
PIECE = 1 << 20  # bytes that are read at a time
ABANDONED_S = 24 * 3600  # after so long whoever was writing a file has been killed
remarks = logging.getLogger(__name__)


class MappedColumns(Columns):
    """Columns of an index file. Other processes that are handed them map the file too, rather than get its content."""

    def __init__(self, place: Path, schema: pa.Schema, row: type[NamedTuple], batches: list[pa.RecordBatch]) -> None:
        super().__init__(schema, batches, row._fields)
        self._made_of = place, schema, row

    def __reduce__(self) -> tuple[Callable[..., Columns], tuple[Any, ...]]:
        return _map_again, self._made_of


def open_columns(path: Path, row: type[NamedTuple], parse: Callable[[], Iterator[tuple]]) -> Columns:
    """The columns of the table `path`, from its index if it has a good one, else of its rows as `parse` gives them.

    Raises InputError for a value that its column can't hold, and what `parse` raises.
    """
    size, changed = _state(path)  # before it is read: if it changes meanwhile, the index isn't taken for the new one's
    schema = schema_of(row)
    if not _is_worth_it(path, size):
        return Columns(schema, list(batches_of(path, schema, parse())), row._fields)
    schema = schema.with_metadata({"table": f"{FORMAT} {size} {changed}"})
    places = [folder / f"{path.stem}-{row.__name__}.columns" for folder in _folders(path.parent)]
    for place in places:
        if (found := _map(place, schema, row)) is not None:
            return found
    for place in places:
        with suppress(OSError):
            _write(place, schema, batches_of(path, schema, parse()))
            if (found := _map(place, schema, row)) is not None:
                return found
    _say_there_is_none(path.parent, " nor ".join(str(place.parent) for place in places))
    return Columns(schema, list(batches_of(path, schema, parse())), row._fields)


def _state(path: Path) -> tuple[int, int]:
    """Size [bytes] and time of change [ns]; nothing of a table that isn't there, which its parser complains about."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def _is_worth_it(path: Path, size: int) -> bool:
    """Whether a table of this many bytes gets an index."""
    return size >= LEAST_BYTES and sum(_state(table)[0] for table in path.parent.glob("*.json")) >= LEAST_TOGETHER


def _folders(tables: Path) -> list[Path]:
    """Where the indexes of a version may be, the best place first."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256(os.fsencode(tables.resolve())).hexdigest()[:16]
    elsewhere = [Path(cache, "bevfuse", name)] if os.path.isabs(cache) else []  # it isn't for users without a home
    return [tables / ".index", *elsewhere]


def _map(place: Path, schema: pa.Schema, row: type[NamedTuple]) -> MappedColumns | None:
    """The columns in an index file; None where there is none, or an old, foreign or damaged one."""
    try:
        if not _is_whole(place):
            return None
        mapped = pa.memory_map(str(place)).read_buffer()
        reader = pa.ipc.open_file(mapped.slice(0, mapped.size - CHECK_BYTES))
        if not reader.schema.equals(schema, check_metadata=True):
            return None
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return MappedColumns(place, schema, row, batches)
    except (OSError, pa.ArrowException):
        return None


def _map_again(place: Path, schema: pa.Schema, row: type[NamedTuple]) -> MappedColumns:
    columns = _map(place, schema, row)
    if columns is None:
        raise InputError(str(place), "the index that was there when the dataset was opened", "none or another")
    return columns


def _is_whole(place: Path) -> bool:
    """Whether an index file ends in its checksum. Arrow itself crashes on damaged data, or takes them for good."""
    with place.open("rb") as file:
        length = place.stat().st_size - CHECK_BYTES
        return length > 0 and _check(file, length) == file.read()


def _check(file: BinaryIO, length: int) -> bytes:
    """The checksum of a file's next bytes."""
    found = 0
    while length > 0 and (piece := file.read(min(length, PIECE))):
        found, length = zlib.crc32(piece, found), length - len(piece)
    return found.to_bytes(CHECK_BYTES, "little")


def _write(place: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an index file, whole or not at all; OSError where that can't be done."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear(place)
    beside = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}.part")  # others may be at it too
    try:
        with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            remarks.warning("%s: making this index, once", place)
            for batch in batches:
                writer.write_batch(batch)
        with beside.open("r+b") as file:
            check = _check(file, beside.stat().st_size)
            file.write(check)
            file.flush()
            os.fsync(file.fileno())  # so that no failing power leaves the name without the content
        os.replace(beside, place)
    finally:
        with suppress(OSError):  # moved away, or never there
            beside.unlink()


def _clear(place: Path) -> None:
    """Remove what was left of this index by processes that were killed while they wrote it."""
    for left in place.parent.glob(f".{place.name}.*.part"):
        if time.time_ns() - _state(left)[1] > ABANDONED_S * 1e9:
            left.unlink(missing_ok=True)


@functools.cache  # once
def _say_there_is_none(tables: Path, folders: str) -> None:
    remarks.warning("%s: parsed each time, as neither %s can be written to", tables, folders)
