"""What an importer must know of one public code's checkpoints; one file each defines a LAYOUT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


def _supports_all(names: Iterable[str]) -> None:
    return None


@dataclass(frozen=True)
class Layout:
    """The names of a public code, and what else is different there."""

    name: str
    marks: frozenset[str]  # a file whose names start with one of these, up to the dot, is of this layout
    native_name: Callable[[str], str | None]  # our name of a tensor there; None for a constant that we derive
    conversions: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # by our names
    converted: str = ""  # what the conversions do, for the report
    unsupported: Callable[[Iterable[str]], str | None] = _supports_all  # what a file with these names is, if not ours
