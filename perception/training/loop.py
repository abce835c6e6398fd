"""The training loop. Read this first.

    OUT/last.ckpt             all that is needed to go on: after every epoch, every few minutes, and on Ctrl-C
    OUT/config.yaml           the configuration with its overrides
    OUT/tensorboard/          losses, learning rate, gradient norm and each branch's, a step at a time
    OUT/paste.npz             objects to paste, where the configuration asks for it
    OUT/epoch_001.safetensors the averaged weights after an epoch, with `keep_epochs`
    OUT/weights.safetensors   the averaged weights at the end, which load_detector loads

A step is `accumulate` batches in each process. Every random number is a function of seed, epoch and place, so that a
run that was interrupted goes on exactly as it would have gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.optim import AdamW

from calibration.errors import InputError
from calibration.spelling import counted
from perception.checkpoints.native import save_weights
from perception.training.balance import pulls, scaled_steps, step_factors
from perception.training.checkpoint import State, load_state, save_state
from perception.training.examples import Example
from perception.training.interruption import Interruption
from perception.training.one_cycle import set_rates
from perception.training.sampling import Schedule
from perception.training.trainee import Trainee, WeightAverage

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class StepReport:
    """What one step came to."""

    step: int  # steps done with it
    losses: dict[str, float]  # by the criterion's names, averaged over batches and processes
    learning_rate: float
    gradient_norm: float
    branch_norms: dict[str, float]  # of the gradient of each sensor's branch, by its name
    step_factors: dict[str, float]  # what each branch's step was scaled by, where they are balanced

    @property
    def loss(self) -> float:
        return sum(self.losses.values())


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what, and where it goes."""

    trainee: Trainee  # with the weights to start from
    schedule: Schedule
    examples: Callable[[int], Iterator[Example]]  # this process's batches from a step on
    out: Path
    identity: dict[str, Any]  # JSON that tells this run from others


class NotFinite(InputError):  # noqa: N818, named as what it says
    """The loss or its gradient is NaN or infinite."""


def train(
    job: Job,
    fabric: Fabric,
    progress: Callable[[Iterable[int], int], Iterable[int]],  # wraps the steps still to do, of which it gets the number
    say: Callable[[str], None],  # gets a sentence now and then
    observe: Callable[[StepReport], None],  # gets every step's numbers
) -> Path:
    """Train to the end, from where an earlier run of the same job stopped -> OUT/weights.safetensors.

    Raises InputError for a state of another job in OUT, and NotFinite, naming the frames, before such a loss changes
    any weight. On Ctrl-C the state after the last whole step is kept, and KeyboardInterrupt is raised.
    """
    run = Run(job, fabric)
    if run.is_complete:
        say(f"{run.weights_path}: finished before, {counted(run.step, 'step')}")
        return run.weights_path
    if run.step:
        say(f"{run.state_path}: going on after {run.step} of {counted(job.schedule.steps, 'step')}")
    batches = job.examples(run.step)
    with Interruption() as interruption:
        for _ in progress(range(run.step, job.schedule.steps), job.schedule.steps - run.step):
            report = run.take_step(list(islice(batches, job.schedule.settings.accumulate)))
            observe(report)
            stop = run.any_process(interruption.asked)
            if run.ended_epoch:
                run.end_epoch(say, report)
            elif stop or run.is_save_due:
                run.save()
            if stop and run.step < job.schedule.steps:
                fabric.barrier()  # the first process to leave takes the others with it: not before all is written
                done = f"{run.step} of {counted(job.schedule.steps, 'step')}"
                say(f"{run.state_path}: {done} kept; the same command goes on")
                raise KeyboardInterrupt
    return run.finish()


class Run:
    """A job under way: network, optimizer and average, `step` steps on."""

    def __init__(self, job: Job, fabric: Fabric) -> None:
        self.job, self.fabric, self.settings = job, fabric, job.schedule.settings
        self.state_path, self.weights_path = job.out / "last.ckpt", job.out / "weights.safetensors"
        optimizer = AdamW(job.trainee.parameter_groups(), lr=self.settings.learning_rate)
        self.network, self.step, self.saved_at = job.trainee.network, 0, time.monotonic()
        state = load_state(self.state_path, job.identity)
        if state is not None:
            self.network.load_state_dict(state.network)
        self.trainee, self.optimizer = fabric.setup(job.trainee, optimizer)
        self.trainee.train()
        self.average = WeightAverage(self.network, self.settings.average)
        if state is not None:
            self.step = state.step
            self.average.load(state.average)
            optimizer.load_state_dict(state.optimizer)

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run did it all."""
        return self.step == self.job.schedule.steps and self.weights_path.is_file()

    @property
    def ended_epoch(self) -> bool:
        return self.step % self.job.schedule.steps_an_epoch == 0

    @property
    def is_save_due(self) -> bool:
        return time.monotonic() - self.saved_at > 60 * self.settings.save_minutes

    def take_step(self, examples: list[Example]) -> StepReport:
        """One step over these batches: their gradients are averaged, clipped and followed."""
        seeds = np.random.SeedSequence([self.settings.seed, self.step, self.fabric.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        rate = set_rates(self.optimizer, self.settings, self.step / self.job.schedule.steps)
        losses = torch.zeros(len(self.job.trainee.names), device=self.fabric.device)
        for number, example in enumerate(examples, start=1):
            with self.fabric.no_backward_sync(self.trainee, enabled=number < len(examples)):
                terms = self.losses(example)
                self.fabric.backward(terms.sum() / len(examples))
            losses += terms.detach() / len(examples)
        found = pulls(self.network)
        norm = self.fabric.clip_gradients(
            self.trainee, self.optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
        )
        if not norm.isfinite():
            self._give_up("gradient", examples)
        strength = self.settings.balance.strength
        factors = step_factors(found, strength) if strength else {}
        with scaled_steps(self.network, factors):
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.average.update(self.network, self.step)
        means = self.fabric.all_reduce(losses, reduce_op="mean").tolist()
        by_name = dict(zip(self.job.trainee.names, means, strict=True))
        norms = {name: pull.gradient for name, pull in found.items()}
        return StepReport(self.step, by_name, rate, norm.item(), norms, factors)

    def losses(self, example: Example) -> Tensor:
        """The terms' values (K,) for this process, such that their mean over processes is that of one large batch.

        So each total is divided by the mean of the counts over all processes. NotFinite if any process's are not.
        """
        totals, counts = self.trainee(example.to(self.fabric.device))
        counts = self.fabric.all_reduce(counts, reduce_op="mean")
        losses = totals / counts.clamp(min=1 / self.fabric.world_size)
        if self.any_process(not losses.isfinite().all()):
            self._give_up("loss", [example] if not losses.isfinite().all() else [])
        return losses

    def any_process(self, asked: bool) -> bool:
        """Whether it holds in any process: what one of them must do, all do at the same step."""
        return bool(self.fabric.all_reduce(torch.tensor(float(asked), device=self.fabric.device), reduce_op="sum"))

    def _give_up(self, what: str, examples: list[Example]) -> None:
        """Raise NotFinite in every process, with the frames of all that are concerned."""
        tokens = [token for example in examples for token in example.tokens]
        if self.fabric.world_size > 1:
            gathered: list[list[str]] = [[]] * self.fabric.world_size
            torch.distributed.all_gather_object(gathered, tokens)
            tokens = [token for part in gathered for token in part]
        kept = f"{self.state_path} is as it was" if self.state_path.exists() else "nothing was written"
        fix = f"{kept}; look at these frames, lower training.learning_rate or use training.precision=fp32"
        where = f"{what} of step {self.step + 1}, frames {', '.join(tokens)}"
        raise NotFinite(where, "finite numbers", "NaN or infinity", fix)

    def end_epoch(self, say: Callable[[str], None], report: StepReport) -> None:
        """Say how it goes, and keep what there is."""
        epoch = self.step // self.job.schedule.steps_an_epoch
        parts = ", ".join(f"{name} {value:.4g}" for name, value in report.losses.items())
        say(f"epoch {epoch} of {self.settings.epochs}: loss {report.loss:.4g} ({parts})")
        self.save()
        if self.settings.keep_epochs:
            self._save_weights(f"epoch_{epoch:03}.safetensors")

    def save(self) -> None:
        """Write OUT/last.ckpt, from the first process."""
        if self.fabric.is_global_zero:
            optimizer = self.optimizer.optimizer.state_dict()
            state = State(self.step, self.network.state_dict(), self.average.weights, optimizer)
            save_state(self.state_path, state, self.job.identity)
        self.saved_at = time.monotonic()

    def finish(self) -> Path:
        """Write the averaged weights; they are there for all processes then."""
        path = self._save_weights(self.weights_path.name)
        self.fabric.barrier()
        return path

    def _save_weights(self, name: str) -> Path:
        path = self.job.out / name
        if self.fabric.is_global_zero:
            about = {"steps": str(self.step), "seed": str(self.settings.seed)}
            save_weights(path, self.average.weights, about)
        return path
