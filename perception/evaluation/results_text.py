"""The text of a nuScenes submission, decoded one sample at a time.

As Python objects a whole validation set would take gigabytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from calibration.errors import InputError
from calibration.files import read_text

SPACE = re.compile(r"\s*")


class Member(NamedTuple):
    """A sample's detections, or the meta."""

    token: str | None  # of the sample; None for the meta
    value: Any  # whatever the file has there


def members(path: Path) -> Iterator[Member]:
    """The meta and every sample, in the file's order; InputError for text that isn't JSON or has no results."""
    text = _Text(path, read_text(path))
    results = False
    for key in text.members():
        if key == "results":
            results = True
            for token in text.members():
                yield Member(token, text.value())
        else:
            value = text.value()
            if key == "meta":
                yield Member(None, value)
    text.end()
    if not results:
        raise InputError(str(path), 'a nuScenes results file, an object with "meta" and "results"', 'no "results"')


class _Text:
    """A JSON text that is decoded a value at a time."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text, self._position = path, text, 0
        self._decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; whoever asks must take each one's value before the next."""
        self._take("{")
        if self._next() == "}":
            self._take("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise self._broken("a key that is no string")
            self._take(":")
            yield key
            if self._next() == "}":
                self._take("}")
                return
            self._take(",")

    def value(self) -> Any:
        """The value that starts here."""
        self._next()
        try:
            value, self._position = self._decode(self._text, self._position)
        except (json.JSONDecodeError, RecursionError) as error:
            raise self._broken(getattr(error, "msg", "values nested too deeply")) from None
        return value

    def end(self) -> None:
        """Nothing may follow."""
        if self._next():
            raise self._broken("more after the end")

    def _next(self) -> str:
        self._position = SPACE.match(self._text, self._position).end()
        return self._text[self._position : self._position + 1]

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise self._broken(f"no {mark!r} where one should be")
        self._position += 1

    def _broken(self, reason: str) -> InputError:
        line = self._text.count("\n", 0, self._position) + 1
        return InputError(str(self._path), "a nuScenes results file (JSON)", f"{reason} in line {line}")
