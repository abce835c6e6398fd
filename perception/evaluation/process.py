"""Which of several processes this is, as torchrun tells them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from calibration.errors import InputError


@dataclass(frozen=True)
class Process:
    """One of `world` processes that share the work."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # on this machine

    @staticmethod
    def from_environment() -> Process:
        """By RANK, WORLD_SIZE and LOCAL_RANK; alone without them. InputError for values that can't be."""
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        local_rank = os.environ.get("LOCAL_RANK", rank)
        if not all(value.isdecimal() for value in (rank, world, local_rank)) or int(rank) >= int(world):
            expected = "whole numbers, RANK the smaller one"
            raise InputError("RANK and WORLD_SIZE", expected, f"{rank!r} and {world!r}")
        return Process(int(rank), int(world), int(local_rank))
