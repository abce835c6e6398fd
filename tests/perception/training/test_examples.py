"""Examples: what of a frame, and of its truth, gets to the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from perception.model.network import Network
from perception.training.examples import Example, ExampleMaker, merged
from perception.training.settings import TrainingSettings
from perception.types import CameraImage, Frame
from tests.perception.training.scenes import scene
from tests.tiny import CAMERAS, tiny_config


def example(frame: Frame, seed: int = 0, **settings: object) -> Example:
    config = tiny_config().model_copy(update={"training": TrainingSettings(**settings)})
    return ExampleMaker(config)(frame, np.random.default_rng(seed))


def test_the_same_generator_makes_the_same_example():
    one, same, other = (example(scene(), seed) for seed in (5, 5, 6))
    assert torch.equal(one.batch.images, same.batch.images)
    assert torch.equal(one.batch.clouds[0], same.batch.clouds[0])
    np.testing.assert_array_equal(one.boxes[0].centers, same.boxes[0].centers)
    assert not torch.equal(one.batch.images, other.batch.images)


def test_truth_that_nobody_could_see_does_not_count():
    frame = scene(objects=4)
    truth = replace(frame.truth, lidar_points=np.array([0, 0, 5, 2]), radar_points=np.array([0, 1, 0, 0]))
    assert len(example(replace(frame, truth=truth)).boxes[0]) == 3
    assert len(example(replace(frame, truth=truth), min_box_points=0).boxes[0]) == 4
    assert len(example(replace(frame, truth=truth), min_box_points=3).boxes[0]) == 1


def test_truth_beside_the_map_does_not_count():
    frame = scene(objects=4)
    moved = frame.truth.boxes.centers + np.array([(0, 0, 0), (90, 0, 0), (0, -90, 0), (0, 0, 0)])
    boxes = replace(frame.truth.boxes, centers=moved)
    assert len(example(replace(frame, truth=replace(frame.truth, boxes=boxes))).boxes[0]) == 2


def test_points_are_capped_in_their_order():
    frame = scene(points=3000)
    capped, whole = example(frame, max_points=500).batch.clouds[0], example(frame).batch.clouds[0]
    assert (len(capped), len(whole) > 2000) == (500, True)
    places = [torch.nonzero((whole == point).all(dim=1))[0].item() for point in capped]
    assert places == sorted(places)


def test_frames_may_lack_sensors():
    frame = scene()
    blind, deaf = replace(frame, cameras={}), replace(frame, cloud=None)
    two = replace(frame, cameras={name: frame.cameras[name] for name in CAMERAS[1:3]})
    batch = merged([example(f) for f in (blind, two, deaf)]).batch
    assert batch.image_frame.tolist() == [1] * 2 + [2] * 6
    assert [len(cloud) > 0 for cloud in batch.clouds] == [True, True, False]
    assert batch.images.shape == (8, 3, 32, 88)
    Network(tiny_config()).train()(batch)


@pytest.mark.parametrize(
    ("dropout", "images", "has_points"),
    [({}, 6, True), ({"cloud": 1}, 6, False), ({"cameras": 1}, 0, True), ({"camera": 1}, 0, True)],
)
def test_sensors_drop_out_as_often_as_asked(dropout, images, has_points):
    batch = example(scene(), dropout=dropout).batch
    assert (len(batch.images), len(batch.clouds[0]) > 0) == (images, has_points)


def test_a_stale_cloud_lacks_its_newest_points_and_truth_stays():
    frame = scene(points=3000)
    whole, stale = (example(frame, dropout=d) for d in ({}, {"stale_cloud": 1, "stale_cloud_s": 0.4}))
    ages, all_ages = stale.batch.clouds[0][:, 4], whole.batch.clouds[0][:, 4]
    since = ages.min()
    assert 0 < since < 0.4
    assert torch.equal(ages, all_ages[all_ages >= since])
    np.testing.assert_array_equal(stale.boxes[0].labels, whole.boxes[0].labels)


def test_stale_cameras_show_what_was_seen_earlier():
    frame, before = scene(), scene(seed=1)
    settings = {"dropout": {"stale_camera": 0.5}}
    config = tiny_config().model_copy(update={"training": TrainingSettings(**settings)})
    maker, asked = ExampleMaker(config), []

    def earlier(name: str) -> CameraImage | None:
        asked.append(name)
        return before.cameras[name] if name != "CAM_BACK" else None  # this one has just started

    made = [maker(frame, np.random.default_rng(seed), True, earlier) for seed in range(4)]
    same = maker(frame, np.random.default_rng(0), True, earlier)
    assert all(len(one.batch.images) == 6 for one in made)
    assert torch.equal(made[0].batch.images, same.batch.images)
    assert 4 < len(asked) < 26
    fresh = maker(frame, np.random.default_rng(0))
    changed = (made[0].batch.images != fresh.batch.images).flatten(1).any(dim=1).tolist()
    assert 0 < sum(changed) <= 6


def test_single_cameras_drop_out_on_their_own():
    counts = [len(example(scene(), seed, dropout={"camera": 0.5}).batch.images) for seed in range(12)]
    assert len(set(counts)) > 2
