"""From a configuration and a dataset to trained weights: what tools/train.py does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from calibration.errors import InputError
from calibration.files import make_folder, write_atomically
from calibration.spelling import counted
from perception.checkpoints.native import read_weights
from perception.config import DetectorConfig, config_text
from perception.detector import choose_device
from perception.training.data import Sources, classes_present, examples, objects_to_paste, open_split
from perception.training.examples import ExampleMaker
from perception.training.loop import Job, StepReport, train
from perception.training.paste import PasteDatabase
from perception.training.sampling import Schedule
from perception.training.settings import TrainingSettings
from perception.training.trainee import Trainee, start_from

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
TENSORBOARD = "tensorboard"  # in OUT, from the first step on


def train_on_nuscenes(
    config: DetectorConfig,
    roots: Sequence[Path],
    out: Path,
    *,
    version: str | None,
    split: str | None,  # None: the version's one training split
    weights: Sequence[Path],  # native checkpoints to start from, later ones over earlier ones
    device: str,
    allow_missing: bool,  # go on without images and clouds that can't be read
    progress: Progress,
    say: Callable[[str], None],
) -> Path | None:
    """Train, or go on training, into the folder `out` -> the file of the averaged weights; None in other processes.

    Raises InputError for a configuration, data, checkpoints or a device that can't be used.
    """
    config = with_training(config)
    fabric = open_fabric(device)
    say = say if fabric.is_global_zero else _silent
    progress = progress if fabric.is_global_zero else _bare
    source = Sources([open_split(config, root, version, split, allow_missing) for root in roots])
    presence = classes_present(source, config.training.min_box_points)
    identity = identity_of(config, source, weights, fabric.world_size)
    with _folder(out, config, fabric):
        torch.manual_seed(config.training.seed)
        trainee = Trainee(config)
        loaded = start_from(trainee.network, map(read_weights, weights))
        if weights:
            say(f"{loaded} of {len(trainee.network.state_dict())} tensors come from {', '.join(map(str, weights))}")
        maker = ExampleMaker(
            config, _depth_stride(trainee), _paste_database(config, source, out, identity, fabric, progress)
        )
        schedule = Schedule(config.training, tuple(source.tokens), presence, fabric.world_size)
        pinned = fabric.device.type == "cuda"
        batches = partial(examples, source, maker, schedule, process=fabric.global_rank, pinned=pinned)
        steps = f"{counted(schedule.steps, 'step')} of {counted(schedule.frames_a_step, 'frame')}"
        say(f"{counted(len(source), 'frame')}, {steps} on {fabric.device}")
        job = Job(trainee, schedule, batches, out, identity)
        with _Scalars(out, fabric) as scalars:
            path = train(job, fabric, partial(progress, what="training"), say, scalars.add)
    return path if fabric.is_global_zero else None


def with_training(config: DetectorConfig) -> DetectorConfig:
    """The configuration as it is trained: with a `training` section, all defaults if it has none, and without refiners,
    which learn from what the detector finds. InputError for one that can't be."""
    config = config.model_copy(update={"training": config.training or TrainingSettings(), "refiners": ()})
    if config.training.paste is not None and config.uses_cameras:
        got = "a detector with cameras, whose images would show nothing of what is pasted"
        raise InputError("training.paste", "a LiDAR detector", got, "leave it out, or train the LiDAR branch first")
    if config.training.paste is not None:
        config = config.model_copy(update={"training": _paste_known(config)})
    return config


def _paste_known(config: DetectorConfig) -> TrainingSettings:
    """The settings with only those classes in `paste.objects` that the detector has."""
    paste = config.training.paste
    known = {name: count for name, count in paste.objects.items() if name in config.classes}
    return config.training.model_copy(update={"paste": paste.model_copy(update={"objects": known})})


def open_fabric(device: str) -> Fabric:
    """Fabric on this device; started by torchrun, as one of its processes, each on a GPU of its own or all on CPUs."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        fix = "pip install -c constraints.txt -e '.[train]'"
        raise InputError("training", "the extra `train`", str(error), fix) from error
    chosen = choose_device(device)
    kind = chosen.type
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        one = 1 if chosen.index is None else [chosen.index]
        fabric = Fabric(accelerator=kind, devices=one)
    else:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        # A frame may come without any image or point, and its branch then takes no part in the step.
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="nccl" if kind == "cuda" else "gloo")
        fabric = Fabric(accelerator=kind, devices=local, num_nodes=world // local, strategy=strategy)
    fabric.launch()
    return fabric


def identity_of(config: DetectorConfig, source: Sources, weights: Sequence[Path], processes: int) -> dict[str, Any]:
    """What a training state belongs to: JSON."""
    tokens = hashlib.sha256("\n".join(source.tokens).encode()).hexdigest()
    return {
        "config": config.model_dump(mode="json", serialize_as_any=True),
        "data": {"version": source.folders[0].name, "frames": len(source), "tokens_sha256": tokens},
        "weights": [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path) for path in weights],
        "processes": processes,
    }


@contextmanager
def _folder(out: Path, config: DetectorConfig, fabric: Fabric) -> Iterator[None]:
    """OUT with the run's config.yaml; where the run fails before its first step, what is new of them goes again."""
    if not fabric.is_global_zero:
        yield
        return
    path, new_folders = out / "config.yaml", [folder for folder in (out, *out.parents) if not folder.exists()]
    is_new = not path.exists()
    make_folder(out)
    try:
        if not (out / "last.ckpt").exists():
            write_atomically(path, config_text(config))
        yield
    except BaseException:
        if is_new and not any((out / name).exists() for name in ("last.ckpt", TENSORBOARD)):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # of folders that something was put into
            for folder in new_folders:
                folder.rmdir()
        raise


def _depth_stride(trainee: Trainee) -> int | None:
    return None if trainee.lift is None else trainee.network.camera_branch.neck.stride


def _paste_database(
    config: DetectorConfig, source: Sources, out: Path, identity: dict[str, Any], fabric: Fabric, progress: Progress
) -> PasteDatabase | None:
    """The objects to paste: read from OUT/paste.npz, or collected by the first process and written there."""
    settings = config.training.paste
    if settings is None:
        return None
    path, points = out / "paste.npz", config.points.model_dump_json()
    of = f"{settings.model_dump_json()} {points} {config.training.seed} {identity['data']}"
    if fabric.is_global_zero and PasteDatabase.load(path, of) is None:
        frames = objects_to_paste(source, settings, config.training.workers)
        frames = progress(frames, len(source), "collecting objects")
        PasteDatabase.collect(frames, settings, config.training.seed).save(path, of)
    fabric.barrier()
    return PasteDatabase.load(path, of)


class _Scalars:
    """TensorBoard's files, of the first process."""

    def __init__(self, out: Path, fabric: Fabric) -> None:
        self.folder, self.fabric, self.writer = out / TENSORBOARD, fabric, None

    def __enter__(self) -> _Scalars:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def add(self, report: StepReport) -> None:
        if not self.fabric.is_global_zero:
            return
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a run that was cut off wrote after its last checkpoint happens once more.
            self.writer = SummaryWriter(str(self.folder), purge_step=report.step)
        scalars = {f"loss/{name}": value for name, value in report.losses.items()}
        scalars |= {"loss": report.loss, "learning_rate": report.learning_rate, "gradient_norm": report.gradient_norm}
        scalars |= {f"gradient_norm/{name}": value for name, value in report.branch_norms.items()}
        scalars |= {f"step_factor/{name}": value for name, value in report.step_factors.items()}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, report.step)


def _silent(message: str) -> None:
    """The first process speaks for all."""


def _bare(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    return items
