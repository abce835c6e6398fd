"""Frames as bad weather, bad light and broken sensors would give them, and how much detectors lose by it.

    worse = corrupted(frame, "fog", severity=2, seed=0, history=history)

Each file in corruptions/ is one corruption, in three severities; physics/ holds what several of them share. The same
seed and frame token give the same result, in any order and in any number of processes, and what is drawn for one sensor
doesn't depend on the others. Severities draw alike: where severity 1 loses a camera, 2 loses it too. A Frame is never
changed; what a corruption leaves alone is shared with the frame it came from.

The benchmarks that the suite follows: MultiCorrupt (Beemelmanns et al., IV 2024), RoboBEV (Xie et al., TPAMI 2025),
Robo3D (Kong et al., ICCV 2023) and Dong et al., "Benchmarking Robustness of 3D Object Detection to Common Corruptions"
(CVPR 2023).
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.robustness import corruptions
from perception.robustness.history import History
from perception.types import Frame

SEVERITIES = (1, 2, 3)
Draw = Callable[[str], np.random.Generator]  # a fresh generator for each name: of a sensor, or of what else is drawn


class Corruption(Protocol):
    """What every file in corruptions/ has."""

    TITLE: str  # for tables
    SENSORS: tuple[str, ...]  # "camera", "lidar" or both: what it changes
    LEVELS: tuple[str, str, str]  # what the severities are, in a few words

    @staticmethod
    def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
        """The frame as it would be; InputError where that takes a history and there is none."""


def corruption_names() -> list[str]:
    """Every corruption: the files in corruptions/."""
    return sorted(name for _, name, _ in pkgutil.iter_modules(corruptions.__path__))


def corruption(name: str) -> Corruption:
    """The corruption of this name; InputError for an unknown one."""
    if name not in corruption_names():
        raise InputError("corruption", "a corruption's name", repr(name), did_you_mean(name, corruption_names()))
    return importlib.import_module(f"{corruptions.__name__}.{name}")


def severities_of(text: str, option: str) -> tuple[int, ...]:
    """Severities given with commas between, ascending, each once; InputError, naming the option, for any other."""
    levels = sorted({part.strip() for part in text.split(",") if part.strip()})
    if not set(levels) <= set(map(str, SEVERITIES)):
        raise InputError(option, "some of 1,2,3", repr(text))
    return tuple(map(int, levels))


def corrupted(frame: Frame, name: str, severity: int, seed: int = 0, history: History | None = None) -> Frame:
    """The frame under a corruption; InputError for an unknown one, and for a severity that isn't 1, 2 or 3."""
    if severity not in SEVERITIES:
        raise InputError("severity", "1, 2 or 3", repr(severity))

    def draw(what: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{seed}|{frame.token}|{name}|{what}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    return corruption(name).corrupt(frame, severity, draw, history)


@cache  # the code that was imported, not what it is edited to while it runs
def code_digest(name: str) -> str:
    """Changes with the code of a corruption, and with what corruptions share: results of other code aren't its own."""
    here = Path(__file__).parent
    files = [Path(__file__), here / "history.py", *sorted((here / "physics").glob("*.py"))]
    digest = hashlib.sha256()
    for path in [*files, here / "corruptions" / f"{name}.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
