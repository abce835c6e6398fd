"""Several images decoded at a time: decoders let other threads run meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from calibration.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def outcomes(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result | InputError]:
    """Of each item what the function gave, or the InputError that it raised, in their order."""

    def outcome(item: Item) -> Result | InputError:
        try:
            return function(item)
        except InputError as error:
            return error

    items = list(items)
    threads = min(len(items), len(os.sched_getaffinity(0)))
    if threads < 2:
        return list(map(outcome, items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(outcome, items))
