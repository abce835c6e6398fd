"""Dictionaries from a file of someone else's, read with the mistakes that they may hold in mind."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform


class Entry:
    """A dictionary and its place in a file; a field that is missing or malformed raises InputError with that place."""

    def __init__(self, data: Any, place: str) -> None:
        self._data, self.place = _checked(data, dict, place), place

    def __contains__(self, field: str) -> bool:
        return field in self._data

    def value(self, field: str, kind: type) -> Any:
        """The field's value, which must be of this type."""
        if field not in self._data:
            raise InputError(self.place, f"a field {field!r}", f"{', '.join(map(str, self._data)) or 'none'}")
        return _checked(self._data[field], kind, f"{self.place}: {field}")

    def entry(self, field: str) -> Entry:
        """A dictionary in the dictionary."""
        return Entry(self.value(field, dict), f"{self.place}: {field}")

    def entries(self, field: str) -> list[Entry]:
        """A list of dictionaries in the dictionary."""
        place = f"{self.place}: {field}"
        return [Entry(item, f"{place}[{number}]") for number, item in enumerate(self.value(field, list))]

    def transform(self, field: str) -> Transform:
        """A homogeneous matrix (4, 4); three rows alone would put the translation to zero in silence."""
        return Transform.from_matrix(self.numbers(field, (4, 4)), f"{self.place}: {field}")

    def numbers(self, field: str, shape: tuple[int, ...] = (), finite: bool = True) -> np.ndarray:
        """Numbers of this shape, as float64."""
        value = self.value(field, object)
        try:
            numbers = np.array(value, np.float64)
        except (TypeError, ValueError):
            numbers = None
        if numbers is None or numbers.shape != shape or (finite and not np.isfinite(numbers).all()):
            expected = f"{'finite ' if finite else ''}numbers of shape {shape}"
            raise InputError(f"{self.place}: {field}", expected, f"{value!r:.80}")
        return numbers


def _checked(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise InputError(what, f"type {kind.__name__}", f"{value!r:.80}")
    return value
