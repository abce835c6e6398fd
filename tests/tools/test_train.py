"""tools/train.py: what it learns, how it goes on, and what it says when it can't."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception import command
from perception.checkpoints.native import read_weights
from perception.config import load_config
from perception.detector import load_detector
from perception.sources import FrameOptions, open_source
from perception.training import loop
from perception.training.checkpoint import State, load_state, save_state
from perception.training.examples import Example
from perception.training.trainee import Trainee
from tests.commands import TOOLS, Finished, run_tool
from tests.nuscenes_fixture import VERSION, write_nuscenes
from tests.tiny import tiny_yaml

pytest.importorskip("lightning_fabric", reason="training needs the extra `train`")
pytest.importorskip("tensorboard", reason="training needs the extra `train`")

STILL = (
    "training.image={scale: [1, 1], rotation_deg: 0, flip: never, shift: false}",
    "training.scene={rotation_deg: 0, scale: [1, 1], translation_m: 0, flip_x: false, flip_y: false}",
)
SHORT = ("training.epochs=2", "training.epoch_frames=6", "training.batch_size=2", "training.workers=0")


@dataclass(frozen=True)
class Workplace:
    """A dataset of one scene of three frames, and runs over it."""

    root: Path
    folder: Path
    train: Callable[..., Finished]  # arguments after the configuration; `out` and `config` are names in `folder`

    def scalars(self, out: str, tag: str = "loss") -> list[float]:
        """A curve that TensorBoard would draw."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self.folder / out / "tensorboard"))
        events.Reload()
        return [event.value for event in events.Scalars(tag)]

    def weights(self, out: str) -> dict[str, torch.Tensor]:
        return read_weights(self.folder / out / "weights.safetensors")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("made") / "nuscenes", scenes=2, sweeps=1)


@pytest.fixture
def place(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    tiny_yaml(tmp_path / "fusion.yaml")
    tiny_yaml(tmp_path / "lidar.yaml", cameras=False, head="centerpoint")

    def train(*more: str, config: str = "lidar.yaml", out: str = "out") -> Finished:
        arguments = (tmp_path / config, "--data", root, "--version", VERSION, "--out", tmp_path / out, *more)
        return run_tool("train", *arguments, capture=capsys, monkeypatch=monkeypatch)

    return Workplace(root, tmp_path, train)


def interrupting_after(steps: int) -> Callable[..., Iterator]:
    """A progress bar that presses Ctrl-C while the step after so many is under way."""

    def progress(items: Iterable, total: int, what: str) -> Iterator:
        for number, item in enumerate(items):
            if what == "training" and number == steps:
                os.kill(os.getpid(), signal.SIGINT)
            yield item

    return progress


# What it learns


def test_a_detector_learns_a_scene_by_heart(place):
    settings = ("training.epochs=60", "training.batch_size=3", "training.learning_rate=0.01", "training.workers=0")
    settings += ("training.sampling=uniform", "training.average=0.9", "training.fixed_norms=true", *STILL)
    finished = place.train(*settings)
    assert (finished.code, finished.stdout) == (0, f"trained: {place.folder / 'out' / 'weights.safetensors'}\n")
    losses = place.scalars("out")
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 30
    detector = load_detector(place.folder / "lidar.yaml", place.folder / "out" / "weights.safetensors")
    options = FrameOptions(cameras=(), sweeps=detector.config.points.sweeps)
    for frame in open_source("nuscenes", place.root, options, version=VERSION, split="tiny_train"):
        found, truth = detector(frame), frame.truth.boxes.select(frame.truth.lidar_points > 0)
        found = found.select(found.scores > 0.3)
        assert len(found) == len(truth) > 10
        distances = np.linalg.norm(found.centers[:, None] - truth.centers[None], axis=2)
        np.testing.assert_array_equal(np.sort(distances.argmin(axis=0)), np.arange(len(found)))
        assert distances.min(axis=0).max() < 1
        np.testing.assert_array_equal(found.labels[distances.argmin(axis=0)], truth.labels)


def test_a_fused_detector_learns_with_supervised_depths(place):
    settings = ("training.epochs=20", "training.batch_size=3", "training.learning_rate=0.01", "training.workers=0")
    settings += ("training.sampling=uniform", "training.depth_weight=1", *STILL)
    finished = place.train(*settings, config="fusion.yaml")
    assert finished.code == 0
    for tag, factor in (("loss", 2), ("loss/heatmap", 4), ("loss/depth", 1.2)):
        losses = place.scalars("out", tag)
        assert losses[-1] < losses[0] / factor
    assert max(place.scalars("out", "learning_rate")) == pytest.approx(0.01, rel=0.01)
    load_detector(place.folder / "fusion.yaml", place.folder / "out" / "weights.safetensors")


def test_a_detector_for_any_subset_of_sensors_trains_in_balance(place):
    dropout = "training.dropout={cloud: 0.3, camera: 0.3, stale_cloud: 0.5, stale_camera: 0.5}"
    fuser = "fuser={name: completed, fuser: {name: residual}}"
    assert place.train(*SHORT, dropout, fuser, "training.balance.strength=0.5", config="fusion.yaml").code == 0
    for branch in ("camera_branch", "lidar_branch"):
        assert min(place.scalars("out", f"gradient_norm/{branch}")) >= 0
        assert all(0 <= factor <= 1 for factor in place.scalars("out", f"step_factor/{branch}"))
    factors = zip(*(place.scalars("out", f"step_factor/{b}") for b in ("camera_branch", "lidar_branch")), strict=True)
    assert all(max(pair) == 1 for pair in factors)
    assert max(place.scalars("out", "loss/lidar_guess")) > 0
    assert min(place.scalars("out", "loss/camera_guess")) >= 0


def test_objects_are_pasted_in_all_but_the_last_epochs(place):
    assert place.train(*SHORT, "training.paste={fade_epochs: 1}").code == 0
    assert (place.folder / "out" / "paste.npz").is_file()
    assert len(place.scalars("out")) == 6


def test_training_starts_from_other_weights_as_far_as_they_fit(place):
    assert place.train(*SHORT, out="lidar").code == 0
    weights = place.folder / "lidar" / "weights.safetensors"
    frozen = ("training.frozen=[lidar_branch]", "--weights", str(weights))
    finished = place.train(*SHORT, *frozen, config="fusion.yaml", out="fused")
    assert f"tensors come from {weights}" in finished.stderr
    before, after = place.weights("lidar"), place.weights("fused")
    branch = [name for name in before if name.startswith("lidar_branch.")]
    assert branch
    assert all(torch.equal(before[name], after[name]) for name in branch)


def test_epochs_are_kept_where_asked_and_the_configuration_always(place):
    assert place.train(*SHORT, "training.keep_epochs=true").code == 0
    kept = sorted(path.name for path in (place.folder / "out").iterdir())
    expected = ["config.yaml", "epoch_001.safetensors", "epoch_002.safetensors", "last.ckpt", "tensorboard"]
    assert kept == [*expected, "weights.safetensors"]
    last = read_weights(place.folder / "out" / "epoch_002.safetensors")
    assert all(torch.equal(last[name], value) for name, value in place.weights("out").items())
    assert load_config(place.folder / "out" / "config.yaml").training.epochs == 2


# How it goes on


@pytest.mark.parametrize("config", ["lidar.yaml", "fusion.yaml"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(place, monkeypatch, config):
    more = (*SHORT, "training.dropout.camera=0.2", "training.accumulate=2", "training.epoch_frames=12")
    assert place.train(*more, config=config, out="whole").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(command, "with_progress", interrupting_after(1))
        finished = place.train(*more, config=config)
    assert finished.code == 130
    state = place.folder / "out" / "last.ckpt"
    assert f"{state}: 2 of 6 steps kept; the same command goes on" in finished.stderr
    assert not (place.folder / "out" / "weights.safetensors").exists()
    finished = place.train(*more, config=config)
    assert f"{state}: going on after 2 of 6 steps" in finished.stderr
    assert place.scalars("out") == place.scalars("whole")
    whole, resumed = place.weights("whole"), place.weights("out")
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


def test_the_state_is_kept_within_epochs_too(place, monkeypatch):
    saved = []
    monkeypatch.setattr(loop, "save_state", lambda path, state, identity: saved.append(state.step))
    assert place.train(*SHORT, "training.save_minutes=1.0e-9").code == 0
    assert saved == [1, 2, 3, 4, 5, 6]
    assert place.train(*SHORT, out="rarely").code == 0
    assert saved[6:] == [3, 6]


def test_a_finished_run_has_nothing_left_to_do(place):
    assert place.train(*SHORT).code == 0
    before = place.weights("out")
    finished = place.train(*SHORT, "training.workers=1")
    assert finished.code == 0
    assert "finished before, 6 steps" in finished.stderr
    assert all(torch.equal(before[name], value) for name, value in place.weights("out").items())


def test_two_processes_find_the_gradient_of_one_with_batches_of_twice_the_size(place):
    """AdamW's first moment after one step is a tenth or so of the gradient."""
    common = ("training.epochs=1", "training.epoch_frames=4", "training.workers=0", "training.fixed_norms=true")
    common += ("training.depth_weight=1.0", "training.dropout.camera=0.2")
    assert place.train(*common, "training.batch_size=4", config="fusion.yaml", out="alone").code == 0
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(TOOLS / "train.py"))
    data = (place.folder / "fusion.yaml", "--data", place.root, "--version", VERSION, "--out", place.folder / "shared")
    finished = subprocess.run(
        [sys.executable, *torchrun, *map(str, data), *common, "training.batch_size=2"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TOOLS.parent), "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"trained: {place.folder / 'shared' / 'weights.safetensors'}\n"
    alone, shared = (first_moments(place.folder / out / "last.ckpt") for out in ("alone", "shared"))
    largest = max(moment.abs().max() for moment in alone)
    assert largest > 0
    for one, two in zip(alone, shared, strict=True):
        assert (one - two).abs().max() <= 1e-5 * max(one.abs().max(), 1e-3 * largest)


def first_moments(state: Path) -> list[torch.Tensor]:
    return [kept["exp_avg"] for kept in torch.load(state, weights_only=True)["optimizer"]["state"].values()]


# What it says


def refused(finished: Finished, *said: str) -> None:
    assert finished.code == 2
    assert len(finished.stderr.strip().splitlines()[-1:]) == 1
    assert all(words in finished.stderr for words in said), finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "training: expected a known key, got 'epoch'; did you mean epochs?"),
        ("traning.epochs=3", "expected a known key, got 'traning'; did you mean training?"),
        ("training.epochs=soon", "training.epochs"),
        ("training.epochs", "override: expected section.key=value, got 'training.epochs'"),
        ("training.criterion={name: transfusion}", "training.criterion.name: expected the head's, centerpoint"),
        ("training.frozen=[heat]", "training.frozen: expected a part of the network, got 'heat'; did you mean head"),
    ],
)
def test_overrides_that_fit_nothing_are_refused(place, override, said):
    refused(place.train(override), said)


def test_another_split_or_none_is_refused(place):
    refused(place.train("--split", "tiny_trian"), "'tiny_trian'", "did you mean tiny_train?")


def test_a_state_of_another_configuration_is_refused(place):
    assert place.train(*SHORT).code == 0
    state = place.folder / "out" / "last.ckpt"
    before = state.read_bytes()
    refused(
        place.train(*SHORT, "training.learning_rate=0.5"),
        f"{state}: expected the run that this state is of, got config.training.learning_rate 0.5 where it had 0.001",
    )
    refused(place.train(*SHORT, config="fusion.yaml"), f"{state}: expected the run that this state is of")
    refused(place.train(*SHORT, "--split", "tiny_val"), "data.tokens_sha256")
    assert state.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 half a zip"])
def test_a_broken_state_is_refused(place, content):
    (place.folder / "out").mkdir()
    (place.folder / "out" / "last.ckpt").write_bytes(content)
    refused(place.train(*SHORT), "last.ckpt: expected a training state", "use another --out")


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(place):
    frames = [frame.token for frame in open_source("nuscenes", place.root, FrameOptions((), False), version=VERSION)]
    more = ("training.epochs=5", "training.epoch_frames=2", "training.batch_size=2", "training.workers=0")
    finished = place.train(*more, "training.learning_rate=1e20", "training.warmup=0.01")
    refused(finished, "of step ", "expected finite numbers, got NaN or infinity", "last.ckpt is as it was")
    assert sum(token in finished.stderr for token in frames) in (1, 2)
    state = torch.load(place.folder / "out" / "last.ckpt", weights_only=True)
    assert f"of step {state['step'] + 1}," in finished.stderr
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


def test_a_gradient_that_is_not_finite_stops_before_it_does_harm(place, monkeypatch):
    plain = Trainee.forward

    def with_a_kink(self: Trainee, example: Example) -> tuple[torch.Tensor, torch.Tensor]:
        """The same values; where a square root starts, there is no slope."""
        totals, counts = plain(self, example)
        return totals + (0 * next(self.parameters()).sum()).abs().sqrt(), counts

    monkeypatch.setattr(Trainee, "forward", with_a_kink)
    refused(place.train(*SHORT), "gradient of step 1, frames ", "expected finite numbers", "nothing was written")
    assert not (place.folder / "out").exists()


def test_nothing_is_left_of_a_run_that_never_began(place, capsys, monkeypatch):
    refused(place.train(*SHORT, "--weights", str(place.folder / "nowhere.safetensors"), out="new/er"), "nowhere")
    root = Path(shutil.copytree(place.root, place.folder / "damaged"))
    for path in (root / "samples" / "LIDAR_TOP").iterdir():
        path.write_bytes(b"")
    arguments = (place.folder / "lidar.yaml", "--data", root, "--out", place.folder / "new/er", *SHORT)
    refused(run_tool("train", *arguments, capture=capsys, monkeypatch=monkeypatch), "LIDAR_TOP", ": expected ")
    assert not (place.folder / "new").exists()


def test_what_was_in_the_folder_before_a_run_that_never_began_stays(place):
    (place.folder / "out").mkdir()
    config = tiny_yaml(place.folder / "out" / "config.yaml", cameras=False, head="centerpoint")
    refused(place.train(*SHORT, "--weights", "nowhere.safetensors", config="out/config.yaml"), "nowhere")
    assert load_config(config).points is not None


def test_missing_sensors_are_forgiven_where_asked(place, capsys, monkeypatch):
    root = Path(shutil.copytree(place.root, place.folder / "damaged"))
    for path in (root / "samples" / "CAM_BACK").iterdir():
        path.unlink()
    common = (place.folder / "fusion.yaml", "--data", root, "--out", place.folder / "out", *SHORT)
    common += ("training.workers=1",)
    refused(run_tool("train", *common, capture=capsys, monkeypatch=monkeypatch), "CAM_BACK", "expected a file at")
    assert run_tool("train", *common, "--allow-missing", capture=capsys, monkeypatch=monkeypatch).code == 0


@pytest.mark.parametrize("bytes_left", [0, 10_000])
def test_a_full_disk_leaves_the_last_state_whole(tmp_path, bytes_left):
    """A limit on the size of files stands for the disk."""
    state = State(1, {"weight": torch.zeros(100_000)}, {}, {})
    save_state(tmp_path / "last.ckpt", state, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: expected"):
            save_state(tmp_path / "last.ckpt", replace(state, step=2), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_state(tmp_path / "last.ckpt", {}).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_place_that_cannot_be_written_to_is_refused(place):
    (place.folder / "out").write_text("a file")
    refused(place.train(*SHORT), "out: expected a folder to write to")
