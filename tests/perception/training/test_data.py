"""The training split: found, checked, and read the same by any number of workers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import DetectorConfig
from perception.training.data import Sources, classes_present, examples, open_split
from perception.training.examples import ExampleMaker
from perception.training.sampling import Schedule
from perception.training.settings import TrainingSettings
from tests.nuscenes_fixture import VERSION, edited, write_nuscenes
from tests.tiny import tiny_config


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_nuscenes(tmp_path / "nuscenes", samples=2, sweeps=1)


def config(cameras: bool = True, lidar: bool = True, **settings: object) -> DetectorConfig:
    return tiny_config(cameras, lidar).model_copy(update={"training": TrainingSettings(**settings)})


def loaded(root: Path, workers: int, first_step: int = 0, **more: object) -> list:
    settings = config(batch_size=2, workers=workers, epochs=1, epoch_frames=6, **more)
    source = Sources([open_split(settings, root, None, None)])
    schedule = Schedule(settings.training, tuple(source.tokens), classes_present(source, 1))
    return list(examples(source, ExampleMaker(settings), schedule, first_step, process=0))


def test_the_one_training_split_is_found(root):
    assert len(open_split(config(), root, VERSION, None)) == 2
    assert len(open_split(config(), root, VERSION, "tiny_val")) == 2
    (root / VERSION / "splits.json").write_text(json.dumps({"a_train": [], "b_train": []}))
    with pytest.raises(InputError, match=r"one named \.\.\.train, got a_train, b_train; give --split"):
        open_split(config(), root, VERSION, None)


def test_frames_hold_what_the_detector_needs(root):
    source = open_split(config(cameras=False), root, None, None)
    assert source.frame(source.tokens[0]).cameras == {}
    source = open_split(config(lidar=False), root, None, None)
    assert source.frame(source.tokens[1]).cloud is None
    source = open_split(config(lidar=False, depth_weight=1.0), root, None, None)
    assert set(source.frame(source.tokens[1]).cloud.points[:, 4]) == {0}


def test_presence_says_which_classes_can_be_seen_where(root):
    source = Sources([open_split(config(), root, None, None)])
    presence = classes_present(source, 1)
    assert presence.shape == (2, 10)
    assert presence.all()
    with edited(root, "sample_annotation") as rows:
        for row in rows:
            row["num_lidar_pts"] = 0
    source = Sources([open_split(config(), root, None, None)])
    with pytest.raises(InputError, match=r"training split: expected truth of car.* with 1 points or more, got none"):
        classes_present(source, 1)


def test_several_datasets_are_one(root, tmp_path):
    first, second = (open_split(config(), root, None, split) for split in ("tiny_train", "tiny_val"))
    both = Sources([first, second])
    assert both.tokens == (*first.tokens, *second.tokens)
    assert len(both) == 4
    token = second.tokens[1]
    assert np.array_equal(both.frame(token).cloud.points, second.frame(token).cloud.points)
    assert np.array_equal(both.truth(token).boxes.centers, second.truth(token).boxes.centers)
    shown = [source.earlier_image(token, "CAM_FRONT").image for source in (both, second)]
    assert np.array_equal(*shown)
    with pytest.raises(InputError, match=r"expected each frame once, got 2 twice; give each root once"):
        Sources([first, second, first])


def test_data_without_annotations_is_refused(root):
    (root / VERSION / "sample_annotation.json").write_text("[]")
    with pytest.raises(InputError, match="expected annotations to learn from, got none"):
        open_split(config(), root, None, None)


def test_an_empty_split_is_refused(root):
    (root / VERSION / "splits.json").write_text(json.dumps({"empty_train": []}))
    with pytest.raises(InputError, match="samples of split empty_train: expected at least one, got none"):
        open_split(config(), root, None, None)


def test_workers_change_nothing(root):
    alone, shared = loaded(root, workers=0), loaded(root, workers=2)
    assert len(alone) == len(shared) == 3
    for a, b in zip(alone, shared, strict=True):
        assert a.tokens == b.tokens
        assert torch.equal(a.batch.images, b.batch.images)
        assert all(torch.equal(x, y) for x, y in zip(a.batch.clouds, b.batch.clouds, strict=True))
        assert all(np.array_equal(x.centers, y.centers) for x, y in zip(a.boxes, b.boxes, strict=True))
    assert [e.tokens for e in loaded(root, workers=0, first_step=1)] == [e.tokens for e in alone[1:]]


def test_stale_cameras_show_the_keyframe_before(root):
    fresh, stale = loaded(root, workers=0), loaded(root, workers=0, dropout={"stale_camera": 1.0})
    first, _ = open_split(config(), root, None, None).tokens
    for a, b in zip(fresh, stale, strict=True):
        for row, token in enumerate(a.tokens):
            mine = a.batch.image_frame == row
            moved = (a.batch.camera_from_lidar[mine] - b.batch.camera_from_lidar[mine])[:, :3, 3].norm(dim=1)
            assert (moved > 0.5).tolist() == [token != first] * 6  # half a second at 4 m/s


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_read_is_named(root, workers):
    for path in (root / "samples" / "CAM_BACK").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"CAM_BACK.*expected a JPEG or PNG image"):
        loaded(root, workers)
