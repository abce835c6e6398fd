"""The one-cycle schedule: the learning rate up, then down to almost nothing; the momentum down, then up.

Smith and Topin, "Super-Convergence", 2019. A function of the step alone, so there is nothing to save.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer

from perception.training.settings import TrainingSettings

MOMENTUM = (0.95, 0.85)  # of AdamW's first moment, at the ends and at the peak, as in the public training
SECOND_MOMENT = 0.99


def set_rates(optimizer: Optimizer, settings: TrainingSettings, done: float) -> float:
    """Set learning rate and momentum for when this part of all steps is done (0-1) -> the learning rate."""
    factor, momentum = at(settings, done)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor * group["rate_factor"]
        group["betas"] = (momentum, SECOND_MOMENT)
    return settings.learning_rate * factor


def at(settings: TrainingSettings, done: float) -> tuple[float, float]:
    """Factor on the peak learning rate, and momentum."""
    ends, middle = MOMENTUM
    if done < settings.warmup:
        part = done / settings.warmup
        return _cosine(settings.start_factor, 1.0, part), _cosine(ends, middle, part)
    part = (done - settings.warmup) / (1 - settings.warmup)
    return _cosine(1.0, settings.end_factor, part), _cosine(middle, ends, part)


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
