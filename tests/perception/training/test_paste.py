"""Ground-truth paste: objects come whole, where there is room, and as many as were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import parse_config
from perception.ops.overlap import overlap_bev
from perception.training.command import with_training
from perception.training.examples import ExampleMaker
from perception.training.paste import PasteDatabase, inside, objects_of
from perception.training.settings import PasteSettings, TrainingSettings
from perception.types import Boxes3D
from tests.perception.training.scenes import random_boxes, scene
from tests.tiny import tiny_config, tiny_data

SETTINGS = PasteSettings(objects={"car": 3, "pedestrian": 4, "bus": 1})


@pytest.fixture(scope="module")
def database() -> PasteDatabase:
    return PasteDatabase.collect((objects_of(scene(seed, objects=10), SETTINGS) for seed in range(8)), SETTINGS, seed=0)


def test_objects_are_collected_with_all_their_points(database):
    assert {database.boxes.class_names[label] for label in database.boxes.labels} == set(SETTINGS.objects)
    assert len(database.boxes) == len(database.points) == 8 * 3
    for index, points in enumerate(database.points):
        assert len(points) >= 30
        assert len(inside(points, database.boxes.select([index]))[0]) == len(points)


def test_a_class_keeps_at_most_so_many_of_any_frame():
    few = SETTINGS.model_copy(update={"most_of_class": 3})
    frames = [scene(seed, objects=10) for seed in range(12)]
    kept = PasteDatabase.collect([objects_of(frame, few) for frame in frames], few, seed=1)
    assert np.bincount(kept.boxes.labels).max() == 3
    first = np.concatenate([frame.truth.boxes.centers for frame in frames[:3]])
    assert not all((center == first).all(axis=1).any() for center in kept.boxes.centers)


def test_what_is_too_sparse_is_not_collected():
    dense = SETTINGS.model_copy(update={"min_points": 31})
    with pytest.raises(InputError, match=r"training\.paste: expected objects of car, pedestrian, bus with 31 points"):
        PasteDatabase.collect([objects_of(scene(), dense)], dense, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_frame_is_filled_up_without_any_two_objects_touching(database, seed):
    frame = scene(100 + seed, objects=4)  # a car, a truck, a construction vehicle and a bus
    before = frame.truth.boxes
    points, boxes = database.paste(frame.cloud.points, before, SETTINGS, np.random.default_rng(seed))
    new = boxes.select(np.arange(len(before), len(boxes)))
    assert 0 < len(new) <= 2 + 4  # cars and pedestrians; there is a bus
    assert not (new.labels == 3).any()
    table = torch.from_numpy(np.column_stack([boxes.centers, boxes.sizes, boxes.yaws]))
    touching = overlap_bev(table, table).numpy() > 0
    assert not touching[len(before) :].sum(axis=1).max() > 1  # each itself
    assert (boxes.contain(points)[len(before) :].sum(axis=1) >= 30).all()


def test_what_was_where_an_object_is_put_goes_away(database):
    ground = np.zeros((4000, 5), np.float32)
    ground[:, :3] = np.random.default_rng(0).uniform((-30, -30, -3), (30, 30, 1), (4000, 3))
    ground[:, 4] = 0.25  # an age no object has
    empty = Boxes3D.empty(database.boxes.class_names)
    points, boxes = database.paste(ground, empty, SETTINGS, np.random.default_rng(0))
    assert boxes.contain(ground).any()
    assert not boxes.contain(points[points[:, 4] == 0.25]).any()


def test_a_database_is_read_back_only_for_what_it_was_made_from(database, tmp_path: Path):
    database.save(tmp_path / "paste.npz", "these frames")
    read = PasteDatabase.load(tmp_path / "paste.npz", "these frames")
    np.testing.assert_array_equal(read.boxes.centers, database.boxes.centers)
    assert all(np.array_equal(a, b) for a, b in zip(read.points, database.points, strict=True))
    assert read.boxes.class_names == database.boxes.class_names
    assert PasteDatabase.load(tmp_path / "paste.npz", "other frames") is None
    assert PasteDatabase.load(tmp_path / "nothing.npz", "these frames") is None


def test_examples_have_what_was_pasted_unless_told_otherwise(database):
    settings = TrainingSettings(paste=SETTINGS)
    maker = ExampleMaker(tiny_config(cameras=False).model_copy(update={"training": settings}), database=database)
    frame = scene(objects=2)
    pasted, plain = (maker(frame, np.random.default_rng(3), paste) for paste in (True, False))
    assert len(pasted.boxes[0]) > len(plain.boxes[0])


def test_detectors_with_cameras_refuse_to_paste():
    config = parse_config(tiny_data() | {"training": {"paste": {}}})
    with pytest.raises(InputError, match=r"training\.paste: expected a LiDAR detector"):
        with_training(config)


def test_boxes_find_the_points_near_them():
    boxes, points = random_boxes(10), np.random.default_rng(0).uniform(-40, 40, (5000, 5)).astype(np.float32)
    expected = boxes.contain(points)
    found = inside(points, boxes)
    assert len(found) == len(boxes)
    assert all(np.array_equal(rows, np.flatnonzero(mask)) for rows, mask in zip(found, expected, strict=True))
