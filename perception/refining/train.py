"""The refiner's training loop: views drawn so that rare classes count, shifted, mirrored, in other light."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from torch import Tensor

from perception.config import Settings as BaseSettings
from perception.config import input_error_of
from perception.model.refiners.appearance import Appearance, normalised
from perception.overrides import overridden
from perception.refining.collect import Lessons
from perception.training.checkpoint import State, load_state, save_state


class RefinerTraining(BaseSettings):
    """How the refiner learns; with equal settings and lessons equal weights come out."""

    epochs: int = Field(7, ge=1)
    epoch_views: int = Field(40_000, ge=1)  # drawn for each
    batch_size: int = Field(96, ge=2)
    learning_rate: float = Field(2e-3, gt=0)  # at its peak; half of it for the image network
    facing_weight: float = Field(1.5, ge=0)  # of the loss about headings, beside that about classes
    weight_decay: float = Field(0.02, ge=0)
    rarity: float = Field(0.5, ge=0, le=1)  # views of a class are drawn as often as its count to the power 1 - rarity
    frozen_stages: int = Field(1, ge=0)  # of the image network, with its stem: they stay as ImageNet made them
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    seed: int = 0


def refiner_training(overrides: Sequence[str] = ()) -> RefinerTraining:
    """The settings, with "key=value" in place of defaults; InputError for what they don't know."""
    try:
        return RefinerTraining.model_validate(overridden({}, overrides))
    except ValidationError as error:
        raise input_error_of(error, "refiner training") from error


def train_refiner(
    refiner: Appearance,
    lessons: Lessons,
    settings: RefinerTraining,
    state: Path,  # written after every epoch; a run that was interrupted goes on from it
    progress: Callable[[Iterable[Any], int, str], Iterable[Any]],
    say: Callable[[str], None],
) -> None:
    """Train in place."""
    frozen = [refiner.backbone.stem, *refiner.backbone.stages[: settings.frozen_stages]]
    for part in frozen:
        part.requires_grad_(False)
    looking = [p for p in refiner.backbone.parameters() if p.requires_grad]
    judging = [p for name, p in refiner.named_parameters() if not name.startswith("backbone.")]
    rates = [settings.learning_rate / 2, settings.learning_rate]
    groups = [{"params": looking, "lr": rates[0]}, {"params": judging, "lr": rates[1]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    steps = settings.epoch_views // settings.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps * settings.epochs, pct_start=0.2)
    first, saved = 0, load_state(state, {})
    if saved is not None:
        refiner.load_state_dict(saved.network)
        optimizer.load_state_dict(saved.optimizer["optimizer"])
        schedule.load_state_dict(saved.optimizer["schedule"])
        first = saved.step
        say(f"{state}: going on after epoch {first} of {settings.epochs}")
    chances = _chances(lessons.kind, settings.rarity)
    for epoch in range(first, settings.epochs):
        rng = np.random.default_rng([settings.seed, epoch])
        torch.manual_seed(settings.seed * 1000 + epoch)
        refiner.train()
        for part in frozen:
            part.eval()
        drawn = rng.choice(len(lessons), (steps, settings.batch_size), p=chances)
        sums = np.zeros(4)
        for rows in progress(drawn, steps, f"epoch {epoch + 1} of {settings.epochs}"):
            loss, counts = _loss(refiner, lessons, rows, rng, settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(refiner.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            sums += counts
        say(
            f"epoch {epoch + 1}: loss {sums[0] / steps:.3f}, class right {sums[1] / steps:.3f}, "
            f"facing right {sums[2] / max(sums[3], 1):.3f}"
        )
        steering = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        save_state(state, State(epoch + 1, refiner.state_dict(), {}, steering), {})
    refiner.eval()


def _chances(kind: np.ndarray, rarity: float) -> np.ndarray:
    counts = np.bincount(kind)
    chances = counts[kind].astype(np.float64) ** -rarity
    return chances / chances.sum()


def _loss(
    refiner: Appearance, lessons: Lessons, rows: np.ndarray, rng: np.random.Generator, settings: RefinerTraining
) -> tuple[Tensor, np.ndarray]:
    images, mirrored = augmented(lessons.images[rows], refiner.settings.size, rng)
    heading = lessons.heading[rows].copy()
    heading[mirrored, 1] *= -1
    views = normalised(torch.from_numpy(images))
    kind, facing = refiner(views, torch.from_numpy(lessons.known[rows]), torch.from_numpy(heading))
    right_kind, right_facing = (torch.from_numpy(column[rows]) for column in (lessons.kind, lessons.facing))
    loss = F.cross_entropy(kind, right_kind, label_smoothing=settings.label_smoothing)
    known = right_facing >= 0
    if known.any():
        faced = F.binary_cross_entropy_with_logits(facing[known], right_facing[known].float())
        loss = loss + settings.facing_weight * faced
    right = ((facing > 0).long() == right_facing)[known]
    return loss, np.array(
        [
            loss.item(),
            (kind.argmax(1) == right_kind).float().mean().item(),
            right.float().sum().item(),
            int(known.sum()),
        ]
    )


def augmented(images: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Views (K, R, R, 3) -> (K, size, size, 3) uint8, shifted, scaled, mirrored, in other light and other colours; and
    which are mirrored. Colours, for else it learns a few trailers by heart rather than what a trailer is."""
    count, whole = len(images), images.shape[1]
    sides = np.clip(np.rint(size * rng.uniform(0.85, 1.2, count)), 1, whole).astype(int)
    room = whole - sides
    left, top = np.clip(np.rint(rng.normal(room / 2, whole / 30, (2, count))), 0, room).astype(int)
    mirrored = rng.random(count) < 0.5
    brightness = rng.uniform(0.7, 1.35, (count, 1, 1, 1))
    colour = np.where(rng.random((count, 1, 1, 1)) < 0.5, rng.uniform(0.7, 1.4, (count, 1, 1, 3)), 1.0)
    out = np.empty((count, size, size, 3), np.uint8)
    for k in range(count):
        view = images[k, top[k] : top[k] + sides[k], left[k] : left[k] + sides[k]]
        view = cv2.resize(view, (size, size), interpolation=cv2.INTER_LINEAR)
        out[k] = np.minimum((view[:, ::-1] if mirrored[k] else view) * (brightness[k] * colour[k]), 255)
    return out, mirrored
