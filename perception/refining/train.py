"""The training loop of refiners: lessons are drawn, shown, and learned from, epoch after epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.config import input_error_of
from perception.overrides import overridden
from perception.training.checkpoint import State, load_state, save_state

LEAST_STEPS = 6  # of a schedule: torch's divides by zero where a fifth of its steps is one
Sums = dict[str, tuple[float, float]]  # what is told of a batch: a sum, and of how many


class Training(BaseSettings):
    """How a refiner learns; with equal settings and lessons equal weights come out."""

    epochs: int = Field(7, ge=1)
    epoch_lessons: int = Field(40_000, ge=1)  # drawn for each
    batch_size: int = Field(96, ge=2)
    learning_rate: float = Field(2e-3, gt=0)  # at its peak
    weight_decay: float = Field(0.02, ge=0)
    gradient_clip: float = Field(10.0, gt=0)
    rarity: float = Field(0.5, ge=0, le=1)  # lessons of a kind are drawn as often as its count to the power 1 - rarity
    seed: int = Field(0, ge=0)


class Course(ABC):
    """A refiner with its lessons, all of which learns alike: perception/refining/NAME.py has a `Course` of its own."""

    def __init__(self, refiner: nn.Module, lessons: Any, settings: Training) -> None:
        self.refiner, self.lessons, self.settings = refiner, lessons, settings

    def parameter_groups(self) -> list[dict]:
        """For an optimizer, with a learning rate each."""
        return [{"params": list(self.refiner.parameters()), "lr": self.settings.learning_rate}]

    def begin(self) -> None:
        """An epoch begins: everything that learns is in training mode."""
        self.refiner.train()

    @abstractmethod
    def kinds(self) -> np.ndarray:
        """Of each lesson a number, equal for those of a kind: rare kinds are drawn more often than they come."""

    @abstractmethod
    def loss(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Sums]:
        """Of these lessons as `rng` shows them."""


def training_of(settings: type[Training], overrides: Sequence[str] = ()) -> Training:
    """The settings, with "key=value" in place of defaults; InputError for what they don't know."""
    try:
        return settings.model_validate(overridden({}, overrides))
    except ValidationError as error:
        raise input_error_of(error, "refiner training") from error


def train_refiner(
    course: Course,
    settings: Training,
    state: Path,  # written after every epoch; a run that was interrupted goes on from it
    progress: Callable[[Iterable[Any], int, str], Iterable[Any]],
    say: Callable[[str], None],
) -> None:
    """Train the course's refiner in place."""
    refiner, groups = course.refiner, course.parameter_groups()
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    steps = max(1, settings.epoch_lessons // settings.batch_size)
    rates = [group["lr"] for group in groups]
    total = max(steps * settings.epochs, LEAST_STEPS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total, pct_start=0.2)
    first, saved = 0, load_state(state, {})
    if saved is not None:
        refiner.load_state_dict(saved.network)
        optimizer.load_state_dict(saved.optimizer["optimizer"])
        schedule.load_state_dict(saved.optimizer["schedule"])
        first = saved.step
        say(f"{state}: going on after epoch {first} of {settings.epochs}")
    kinds = course.kinds()
    chances = np.bincount(kinds)[kinds].astype(np.float64) ** -settings.rarity
    chances = chances / chances.sum()
    for epoch in range(first, settings.epochs):
        rng = np.random.default_rng([settings.seed, epoch])
        torch.manual_seed(settings.seed * 1000 + epoch)
        course.begin()
        drawn = rng.choice(len(course.lessons), (steps, settings.batch_size), p=chances)
        loss_sum, sums = 0.0, {}
        for rows in progress(drawn, steps, f"epoch {epoch + 1} of {settings.epochs}"):
            loss, told = course.loss(rows, rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(refiner.parameters(), settings.gradient_clip)
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
            sums = {name: np.add(sums.get(name, (0.0, 0.0)), pair) for name, pair in told.items()}
        say(f"epoch {epoch + 1}: loss {loss_sum / steps:.3f}, {_told(sums)}")
        steering = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        save_state(state, State(epoch + 1, refiner.state_dict(), {}, steering), {})
    refiner.eval()


def _told(sums: Mapping[str, tuple[float, float]]) -> str:
    return ", ".join(f"{name} {total / max(count, 1):.3f}" for name, (total, count) in sums.items())
