"""The tables of a nuScenes dataset, as far as frames need them.

The full tables are gigabytes of JSON with millions of rows for radars and for cameras between keyframes. They are
parsed piece by piece, and only the fields that frames are made of are kept, as columns (columns.py), in index files if
they are many (nuscenes_index.py). Rows are made of them when they are asked for. Source of the format: the schema page
of the nuScenes development kit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import copy
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_origin, get_type_hints

import numpy as np

from calibration.errors import InputError
from perception.sources.columns import KEY, key_of
from perception.sources.nuscenes_index import open_columns

PIECE = 1 << 20  # characters of a table that are parsed at a time, and the most that one row may have
LIST_START = re.compile(r"\s*\[")
RECENT = 4096  # rows that a table keeps ready: frames ask for the same calibrations, and for their neighbours' rows
ALL = slice(None)
BETWEEN_ROWS = re.compile(r"[\s,]*")


class Named(NamedTuple):
    """A row of scene, category or attribute."""

    token: str
    name: str


class Sensor(NamedTuple):
    token: str
    channel: str


class Calibration(NamedTuple):
    """A row of calibrated_sensor: `ego_from_sensor`, and a camera's matrix."""

    token: str
    sensor_token: str
    translation: list[float]
    rotation: list[float]  # quaternion w, x, y, z
    camera_intrinsic: list[list[float]]  # (3, 3); empty for other sensors


class Pose(NamedTuple):
    """A row of ego_pose: `world_from_ego`."""

    token: str
    translation: list[float]
    rotation: list[float]  # quaternion w, x, y, z


class Sample(NamedTuple):
    """A keyframe."""

    token: str
    timestamp: int  # microseconds
    scene_token: str


class SampleData(NamedTuple):
    """One image or cloud, of a keyframe or between two."""

    token: str
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int  # microseconds
    filename: str  # relative to the dataset's root
    width: int  # px, of an image
    height: int  # px
    is_key_frame: bool
    prev: str  # token of the same sensor's data before, "" where the scene starts


class Annotation(NamedTuple):
    """A row of sample_annotation: an object in a keyframe, in the world frame."""

    token: str
    sample_token: str
    instance_token: str
    visibility_token: str  # "1" (at most 40 % seen) to "4" (more than 80 %)
    attribute_tokens: list[str]
    translation: list[float]  # of the centre
    size: list[float]  # width, length, height
    rotation: list[float]  # quaternion w, x, y, z
    num_lidar_pts: int
    num_radar_pts: int
    prev: str  # token of the same object's annotation in the keyframe before, "" for none
    next: str


class Instance(NamedTuple):
    token: str
    category_token: str


Row = TypeVar("Row", bound=NamedTuple)


class Table(Generic[Row]):
    """Rows by token; asking for one that isn't there raises InputError with the file's name.

    Of several rows with one token the last one counts, in the place of the first. Where rows are counted, in `places`,
    it is among those that the table has, in the file's order.
    """

    def __init__(self, folder: Path, name: str, row: type[Row]) -> None:
        """Open `folder`/`name`.json; InputError if it is missing or malformed."""
        self.path = folder / f"{name}.json"
        self._row = row
        self._columns = open_columns(self.path, row, self._parsed)
        self._numbers = self._columns.distinct("token")  # in the file, of the rows that are there
        self._forget()

    def _forget(self) -> None:
        self._order: tuple[np.ndarray, np.ndarray] | None = None
        self._recent: dict[str, Row] = {}

    def __getitem__(self, token: str) -> Row:
        found = self._recent.get(token)
        if found is None:
            found = self.at(self.place(token))
            if len(self._recent) >= RECENT:
                self._recent.clear()
            self._recent[token] = found
        return found

    def __contains__(self, token: str) -> bool:
        return bool(self._places(key_of(token)) >= 0)

    def __iter__(self) -> Iterator[Row]:
        """The rows, in the file's order."""
        return map(self.at, range(len(self)))

    def __len__(self) -> int:
        return len(self._numbers)

    def at(self, place: int) -> Row:
        """One row."""
        return self._row._make(self._columns.values(self._numbers[place]))

    def place(self, token: str) -> int:
        """Where the row of this token is."""
        place = int(self._places(key_of(token)))
        if place < 0:
            raise InputError(str(self.path), f"a row with token {token!r}", "none")
        return place

    def where(self, keep: Callable[[Row], bool] | np.ndarray) -> Table[Row]:
        """The same table with some of its rows, which a function of a row, a mask (rows,) or ascending places pick."""
        picked = keep if isinstance(keep, np.ndarray) else np.array([keep(row) for row in self], bool)
        table = copy(self)
        table._numbers = self._numbers[picked]
        table._forget()
        return table

    def column(self, field: str, places: np.ndarray | slice = ALL) -> np.ndarray:
        """A field of some rows (rows,): numbers or truths."""
        return self._columns.numbers(field, self._numbers[places])

    def vectors(self, field: str, places: np.ndarray, count: int) -> np.ndarray:
        """A field of some rows (rows, count), float64: lists of numbers, NaN for those of another length."""
        return self._columns.vectors(field, self._numbers[places], count)

    def objects(self, field: str, places: np.ndarray) -> list[Any]:
        """A field of some rows: texts or lists."""
        return self._columns.objects(field, self._numbers[places])

    def follow(self, field: str, target: Table, places: np.ndarray | slice = ALL) -> np.ndarray:
        """For some rows the place in `target` of the row whose token the field says (rows,) int64, -1 for none."""
        return target._places(self._columns.numbers(field + KEY, self._numbers[places]))

    def follow_surely(self, field: str, target: Table, places: np.ndarray | slice = ALL) -> np.ndarray:
        """The same; raises InputError, as asking for it would, where there is none."""
        found = self.follow(field, target, places)
        if (found < 0).any():
            number = self._numbers[places][int((found < 0).argmax())]
            target.place(self._columns.objects(field, np.array([number]))[0])
        return found

    def _places(self, keys: np.ndarray | np.uint64) -> np.ndarray:
        """Places of the rows with these hashes, -1 for none."""
        if self._order is None:
            own = self._columns.numbers("token" + KEY, self._numbers)
            order = np.argsort(own, kind="stable")
            self._order = order, own[order]
        order, ordered = self._order
        if not len(order):
            return np.full(np.shape(keys), -1)
        found = np.searchsorted(ordered, keys, side="right") - 1
        return np.where(ordered[found] == keys, order[found], -1)

    def _parsed(self) -> Iterator[tuple]:
        """The file's rows, as tuples of the fields that are kept."""
        names, fields = self._row._fields, itemgetter(*self._row._fields)
        kinds = tuple(get_origin(kind) or kind for kind in get_type_hints(self._row).values())
        for number, record in enumerate(_records(self.path)):
            try:
                values = fields(record)
            except (KeyError, TypeError):
                raise InputError(str(self.path), f"rows with {', '.join(names)}", f"{record!r:.200}") from None
            if tuple(map(type, values)) != kinds:
                wrong = next(i for i, kind in enumerate(kinds) if type(values[i]) is not kind)
                what = f"{self.path}: {names[wrong]} of row {number}"
                raise InputError(what, f"type {kinds[wrong].__name__}", f"{values[wrong]!r:.80}")
            yield values


def find_version(root: Path, version: str | None) -> Path:
    """The folder of a version's tables, of the only one for None; InputError, naming those there are, without it."""
    present = sorted(folder.name for folder in root.glob("v1.0-*") if folder.is_dir())
    if version is None and len(present) == 1:
        version = present[0]
    if version is None or not (root / version).is_dir():
        expected = f"the tables of version {version}" if version else "one version's tables, in a folder v1.0-*"
        raise InputError(
            str(root), expected, f"versions: {', '.join(present) or 'none'}", "choose one of those" if present else ""
        )
    return root / version


def _records(path: Path) -> Iterator[Any]:
    """The elements of a file that holds one JSON list, without ever having all of it in memory."""
    decode = json.JSONDecoder().raw_decode
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(PIECE)
            start = LIST_START.match(text)
            position = start.end() if start else None
            while position is not None:
                position = BETWEEN_ROWS.match(text, position).end()
                if text.startswith("]", position):
                    return
                try:
                    record, position = decode(text, position)
                except json.JSONDecodeError:  # broken, or cut where the piece ends
                    piece = file.read(PIECE)
                    if not piece or len(text) - position > PIECE:
                        break
                    text, position = text[position:] + piece, 0
                    continue
                yield record
    except FileNotFoundError:
        raise InputError(str(path), "a nuScenes table", "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a nuScenes table", str(error)) from error
    raise InputError(str(path), "a nuScenes table, a JSON list of objects", "broken JSON", "fetch the file again")
