"""Corrupted frames of a nuScenes dataset, made here or by processes that work ahead."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from perception.robustness import corrupted
from perception.robustness.history import NuScenesHistory
from perception.sources import FrameOptions
from perception.sources.nuscenes import Source
from perception.types import Frame

CLEAN = "clean"
AHEAD = 2  # frames that each process may be ahead


@dataclass(frozen=True)
class Condition:
    """A corruption in one severity, or none."""

    name: str = CLEAN
    severity: int = 0

    @property
    def label(self) -> str:
        """As files and progress bars call it."""
        return self.name if self.name == CLEAN else f"{self.name}-{self.severity}"


@dataclass(frozen=True)
class Recipe:
    """What frames are made of."""

    folder: Path  # of the version's tables
    tokens: tuple[str, ...]
    options: FrameOptions
    seed: int = 0


class FrameMaker:
    """Reads and corrupts frames. Several processes give the same frames in the same order as none."""

    def __init__(self, recipe: Recipe, workers: int = 0) -> None:
        """Open the dataset; InputError as its source and its history raise."""
        self.recipe = recipe
        self._here = _Bench(recipe)
        self._pool, self._window = None, AHEAD * workers
        if workers:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, context, _open_bench, (recipe,))

    @property
    def source(self) -> Source:
        """The clean frames."""
        return self._here.source

    def frame(self, token: str, condition: Condition) -> Frame:
        """One frame, made here."""
        return self._here.frame(token, condition)

    def frames(self, tokens: Sequence[str], condition: Condition) -> Iterator[Frame]:
        """The frames of these samples, in order."""
        if self._pool is None:
            for token in tokens:
                yield self.frame(token, condition)
            return
        waiting, rest = deque(), iter(tokens)
        try:
            for token in rest:
                waiting.append(self._pool.submit(_make, token, condition))
                if len(waiting) > self._window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()

    def close(self) -> None:
        """Let the processes go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class CorruptedSource:
    """The frames of a maker under a condition, as a source (perception.sources.Source)."""

    def __init__(self, maker: FrameMaker, condition: Condition, tokens: Sequence[str] | None = None) -> None:
        self._maker, self._condition = maker, condition
        self._tokens = tuple(maker.recipe.tokens if tokens is None else tokens)
        self.class_names, self.files = maker.source.class_names, maker.source.files
        self.closing_notes = maker.source.closing_notes

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[Frame]:
        return self._maker.frames(self._tokens, self._condition)

    def without(self, tokens: Collection[str]) -> CorruptedSource:
        """The same source less these frames."""
        rest = [token for token in self._tokens if token not in tokens]
        return CorruptedSource(self._maker, self._condition, rest)


class _Bench:
    """A dataset opened in a process."""

    def __init__(self, recipe: Recipe) -> None:
        folder = recipe.folder
        self._seed = recipe.seed
        self.source = Source(folder.parent, recipe.options, version=folder.name, tokens=recipe.tokens)
        self._history = NuScenesHistory(folder, recipe.tokens)

    def frame(self, token: str, condition: Condition) -> Frame:
        frame = self.source.frame(token)
        if condition.name == CLEAN:
            return frame
        return corrupted(frame, condition.name, condition.severity, self._seed, self._history)


_bench: _Bench | None = None  # of a worker process


def _open_bench(recipe: Recipe) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process in front
    _bench = _Bench(recipe)


def _make(token: str, condition: Condition) -> Frame:
    return _bench.frame(token, condition)
