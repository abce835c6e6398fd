"""Reading and writing small text files so that mistakes show and nothing is left half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from calibration.errors import InputError

WHY_NO_FOLDER = {
    FileExistsError: "a file",
    NotADirectoryError: "a file above it",
    PermissionError: "no leave to write there",
}


def read_text(path: Path) -> str:
    """The text of a file; raises InputError when it can't be read or isn't UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror or type(error).__name__) from None
    except UnicodeDecodeError as error:
        raise InputError(str(path), "UTF-8 text", f"byte {error.start} that isn't") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; raises InputError for bad syntax and for keys given twice, with the line."""
    try:
        return yaml.load(read_text(path), _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(str(path), "valid YAML", f"{error.problem}{line}") from None
    except yaml.YAMLError as error:
        raise InputError(str(path), "valid YAML", " ".join(str(error).split())) from None


def is_file(path: Path) -> bool:
    """Whether a file is there; InputError where that can't be told, in a folder that may not be read for one."""
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(str(path), "a readable place", error.strerror or type(error).__name__) from None


def make_folder(path: Path, said_of: Path | None = None) -> None:
    """Make a folder and those above it, unless they are there; raises InputError where that can't be done.

    `said_of` is the folder that the user knows of, where this one is beside it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = WHY_NO_FOLDER.get(type(error), "a place where none can be made")
        raise InputError(str(said_of or path), "a folder to write to", got, "choose another place") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to: moved to `path` when the block ends well, removed when it doesn't.

    Raises InputError where that can't be done, and for what is there already and is no ordinary file.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise InputError(str(path), "a place to write a file to", "a folder or a device")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise InputError(str(path), "a place to write to", error.strerror or type(error).__name__) from None
    finally:
        with suppress(OSError):  # moved away, or never there
            beside.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence; a sensor pasted twice is a mistake to show."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
