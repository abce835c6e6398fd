"""Which frames are looked at, in which order: a function of the settings, the data and the epoch alone.

So a run that goes on after an interruption sees what it would have seen, and so do two processes that share the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from perception.training.settings import TrainingSettings

ORDER, EXAMPLE = 0, 1  # what a generator is seeded for


class Key(NamedTuple):
    """One example: a frame, and the seed of what is drawn for it."""

    token: str
    epoch: int
    place: int  # in the epoch's order

    def generator(self, seed: int) -> np.random.Generator:
        """For everything that is random about this example."""
        return np.random.default_rng([seed, EXAMPLE, self.epoch, self.place])


@dataclass(frozen=True)
class Schedule:
    """The order of a whole training run."""

    settings: TrainingSettings
    tokens: tuple[str, ...]
    presence: np.ndarray  # (frames, classes) bool: which classes each frame has truth of
    processes: int = 1

    @property
    def frames_a_step(self) -> int:
        return self.settings.batch_size * self.settings.accumulate * self.processes

    @property
    def steps_an_epoch(self) -> int:
        """Whole steps only: the frames that are left over have better luck in another epoch's order."""
        return max(1, self._epoch_frames() // self.frames_a_step)

    @property
    def steps(self) -> int:
        return self.settings.epochs * self.steps_an_epoch

    def batches(self, first_step: int, process: int) -> Iterator[list[Key]]:
        """One process's batches, `accumulate` a step, from a step on."""
        settings = self.settings
        for epoch in range(first_step // self.steps_an_epoch, settings.epochs):
            shape = (self.steps_an_epoch, settings.accumulate, settings.batch_size, self.processes)
            places = np.arange(np.prod(shape)).reshape(shape)[..., process]
            rows = self.order(epoch)
            skipped = max(0, first_step - epoch * self.steps_an_epoch)
            for batch in places[skipped:].reshape(-1, settings.batch_size):
                yield [Key(self.tokens[rows[place]], epoch, int(place)) for place in batch]

    def order(self, epoch: int) -> np.ndarray:
        """Rows of `tokens` for one epoch; from the start again where there are fewer than a step needs."""
        rng = np.random.default_rng([self.settings.seed, ORDER, epoch])
        drawn = self._balanced(rng) if self.settings.sampling == "balanced" else self._uniform(rng)
        return np.resize(drawn, self.steps_an_epoch * self.frames_a_step)

    def _epoch_frames(self) -> int:
        whole = self.presence.sum() if self.settings.sampling == "balanced" else len(self.tokens)
        return self.settings.epoch_frames or int(whole)

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        """Equally many frames for each class, rare or not (Zhu et al., "Class-balanced Grouping and Sampling", 2019).

        An epoch is as long as all classes' frames together, so that frequent classes are seen about as often as before.
        """
        pools = [pool for pool in map(np.flatnonzero, self.presence.T) if len(pool)]
        count = self._epoch_frames()
        draws = [rng.choice(pool, -(-count // len(pools))) for pool in pools]
        return rng.permutation(np.concatenate(draws))[:count]

    def _uniform(self, rng: np.random.Generator) -> np.ndarray:
        count = self._epoch_frames()
        rounds = -(-count // len(self.tokens))
        return np.concatenate([rng.permutation(len(self.tokens)) for _ in range(rounds)])[:count]
