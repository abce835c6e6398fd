"""The order of frames: class-balanced, the same for a seed, and shared by processes without gaps."""

import numpy as np
import pytest

from perception.training.sampling import Schedule
from perception.training.settings import TrainingSettings

RARE = np.zeros((100, 4), bool)  # 100 frames; nobody ever sees the last class
RARE[:, 0], RARE[::5, 1], RARE[3:5, 2] = True, True, True
TOKENS = tuple(f"frame{i}" for i in range(100))


def schedule(processes: int = 1, presence: np.ndarray = RARE, **settings: object) -> Schedule:
    return Schedule(TrainingSettings(**settings), TOKENS[: len(presence)], presence, processes)


def test_balanced_sampling_shows_every_class_equally_often():
    """CBGS: an epoch is as long as all classes' frames together, with as many draws for each class."""
    plan = schedule(batch_size=1)
    order = np.concatenate([plan.order(epoch) for epoch in range(40)])
    assert plan.steps_an_epoch == 100 + 20 + 2
    rare = np.isin(order, [3, 4])
    assert rare.mean() == pytest.approx(1 / 3 + 0.02 / 3, abs=0.03)
    assert np.isin(order, np.arange(0, 100, 5)).mean() == pytest.approx(1 / 3 + 0.2 / 3, abs=0.03)


def test_uniform_sampling_shows_every_frame_once():
    plan = schedule(batch_size=5, sampling="uniform")
    assert plan.steps_an_epoch == 20
    assert sorted(plan.order(0)) == list(range(100))
    assert list(plan.order(0)) != list(plan.order(1))


@pytest.mark.parametrize("sampling", ["balanced", "uniform"])
@pytest.mark.parametrize("frames", [30, 250])
def test_an_epoch_is_as_long_as_asked(sampling, frames):
    plan = schedule(batch_size=5, sampling=sampling, epoch_frames=frames)
    assert len(plan.order(3)) == frames


def test_fewer_frames_than_a_step_needs_are_seen_again():
    plan = schedule(presence=RARE[:3], batch_size=4, accumulate=2, sampling="uniform")
    assert (plan.steps_an_epoch, len(plan.order(0)), set(plan.order(0))) == (1, 8, {0, 1, 2})


def test_a_run_that_goes_on_sees_what_it_would_have_seen():
    plan = schedule(batch_size=4, accumulate=2, epochs=3)
    whole = list(plan.batches(0, 0))
    assert len(whole) == plan.steps * 2
    for first in (1, plan.steps_an_epoch, plan.steps_an_epoch + 3, plan.steps - 1):
        assert list(plan.batches(first, 0)) == whole[first * 2 :]
    assert list(plan.batches(plan.steps, 0)) == []


def test_two_processes_see_together_what_one_sees_in_batches_of_twice_the_size():
    alone, shared = schedule(batch_size=6, accumulate=2), schedule(2, batch_size=3, accumulate=2)
    assert alone.steps == shared.steps
    pairs = zip(shared.batches(0, 0), shared.batches(0, 1), strict=True)
    for whole, (first, second) in zip(alone.batches(0, 0), pairs, strict=True):
        assert sorted(first + second) == sorted(whole)


def test_every_example_has_a_seed_of_its_own():
    keys = [key for batch in schedule(epochs=2).batches(0, 0) for key in batch]
    numbers = [key.generator(seed=0).random() for key in keys]
    assert len(set(numbers)) == len(numbers)
    assert keys[0].generator(0).random() == numbers[0] != keys[0].generator(1).random()
