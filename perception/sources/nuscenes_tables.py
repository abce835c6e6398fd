"""The tables of a nuScenes dataset, as far as frames need them.

The full tables are gigabytes of JSON with millions of rows for radars and for cameras between keyframes. They are
parsed piece by piece, and only the rows and fields that frames are made of stay in memory. Source of the format: the
schema page of the nuScenes development kit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from copy import copy
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from calibration.errors import InputError

PIECE = 1 << 20  # characters of a table that are parsed at a time, and the most that one row may have
LIST_START = re.compile(r"\s*\[")
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
    translation: list
    rotation: list  # quaternion w, x, y, z
    camera_intrinsic: list  # (3, 3); empty for other sensors


class Pose(NamedTuple):
    """A row of ego_pose: `world_from_ego`."""

    token: str
    translation: list
    rotation: list  # quaternion w, x, y, z


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
    attribute_tokens: list
    translation: list  # of the centre
    size: list  # width, length, height
    rotation: list  # quaternion w, x, y, z
    num_lidar_pts: int
    num_radar_pts: int
    prev: str  # token of the same object's annotation in the keyframe before, "" for none
    next: str


class Instance(NamedTuple):
    token: str
    category_token: str


Row = TypeVar("Row", bound=NamedTuple)


class Table(Generic[Row]):
    """Rows by token; asking for one that isn't there raises InputError with the file's name."""

    def __init__(self, folder: Path, name: str, row: type[Row], keep: Callable[[Row], bool] = lambda row: True) -> None:
        """Read `folder`/`name`.json, keeping the rows that `keep` says; InputError if it is missing or malformed."""
        self.path = folder / f"{name}.json"
        kept = (_sharing_text(made) for made in self._made(row) if keep(made))
        self._rows = {made.token: made for made in kept}

    def __getitem__(self, token: str) -> Row:
        try:
            return self._rows[token]
        except KeyError:
            raise InputError(str(self.path), f"a row with token {token!r}", "none") from None

    def __contains__(self, token: str) -> bool:
        return token in self._rows

    def __iter__(self) -> Iterator[Row]:
        """The rows, in the file's order."""
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def where(self, keep: Callable[[Row], bool]) -> Table[Row]:
        """The same table with some of its rows."""
        table = copy(self)
        table._rows = {row.token: row for row in self if keep(row)}
        return table

    def _made(self, row: type[Row]) -> Iterator[Row]:
        fields, kinds = itemgetter(*row._fields), tuple(get_type_hints(row).values())
        for number, record in enumerate(_records(self.path)):
            try:
                values = fields(record)
            except (KeyError, TypeError):
                raise InputError(str(self.path), f"rows with {', '.join(row._fields)}", f"{record!r:.200}") from None
            if tuple(map(type, values)) != kinds:
                wrong = next(i for i, kind in enumerate(kinds) if type(values[i]) is not kind)
                what = f"{self.path}: {row._fields[wrong]} of row {number}"
                raise InputError(what, f"type {kinds[wrong].__name__}", f"{values[wrong]!r:.80}")
            yield row._make(values)


def _sharing_text(row: Row) -> Row:
    """The same row, its text kept once for all rows: most of it are tokens that others name too."""
    return row._make([sys.intern(value) if type(value) is str else value for value in row])


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
