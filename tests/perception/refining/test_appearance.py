"""The refiner that looks at images: what it learns, what it changes, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import parse_config
from perception.detector import Detector
from perception.model.network import Network
from perception.model.refiners.appearance import (
    GEOMETRY,
    Appearance,
    Settings,
    moved_in_sight,
    normalised,
    what_is_known,
)
from perception.nuscenes import CLASS_NAMES
from perception.refining.appearance import (
    Course,
    Lessons,
    Training,
    augmented,
    lessons_of,
    nearest_in_sight,
)
from perception.refining.lessons import nearest_truth, what_they_are
from perception.refining.train import train_refiner, training_of
from perception.types import Boxes3D, Truth
from tests.perception.refining.checks import same
from tests.perception.training.scenes import random_boxes, scene
from tests.tiny import tiny_data, tiny_frame

TINY = Settings(size=16, out_stage=1, hidden=16)


def refiner(**settings: object) -> Appearance:
    torch.manual_seed(0)
    return TINY.model_copy(update=settings).build(CLASS_NAMES).eval()


def found(count: int = 12, seed: int = 0) -> Boxes3D:
    boxes = random_boxes(count, seed, reach=20.0)
    return replace(boxes, scores=np.linspace(0.9, 0.1, count).astype(np.float32))


def test_without_cameras_boxes_stay_as_they_are() -> None:
    same(refiner().refine(tiny_frame(cameras=()), found()), found())
    empty = Boxes3D.empty(CLASS_NAMES)
    same(refiner().refine(tiny_frame(), empty), empty)


def test_boxes_that_no_camera_sees_stay_as_they_are() -> None:
    boxes, frame = found(), tiny_frame(cameras=("CAM_FRONT",))
    refined = refiner().refine(frame, boxes)
    behind = boxes.select(boxes.centers[:, 1] < -3)  # the front camera looks along y
    assert len(behind)
    rows = [np.nonzero((refined.centers == center).all(axis=1))[0] for center in behind.centers]
    assert all(len(row) == 1 for row in rows)
    same(refined.select(np.concatenate(rows)), behind)


def test_places_and_sizes_are_the_detectors() -> None:
    boxes = found()
    refined = refiner().refine(tiny_frame(), boxes)
    assert {tuple(center) for center in refined.centers} <= {tuple(center) for center in boxes.centers}
    assert ((refined.scores >= 0) & (refined.scores <= 1)).all()
    rows = [np.nonzero((boxes.centers == center).all(axis=1))[0][0] for center in refined.centers]
    turned = np.abs(np.angle(np.exp(1j * (refined.yaws - boxes.yaws[rows]))))
    assert np.all((turned < 1e-5) | (np.abs(turned - np.pi) < 1e-5))


def test_with_no_weight_scores_of_the_best_label_are_the_detectors() -> None:
    boxes = found()
    refined = refiner(weight=0.0, second_label=1.0).refine(tiny_frame(), boxes)
    assert set(np.float32(refined.scores)) <= set(boxes.scores)


def test_a_box_of_two_labels_is_looked_at_once(monkeypatch) -> None:
    boxes, model = found(), refiner()
    twice = Boxes3D.joined([boxes, replace(boxes, labels=(boxes.labels + 1) % len(CLASS_NAMES))])
    counts = []
    whole = model.seen_in
    monkeypatch.setattr(model, "seen_in", lambda views: counts.append(len(views)) or whole(views))
    model.refine(tiny_frame(), boxes)
    model.refine(tiny_frame(), twice)
    assert counts[0] == counts[1]
    known = torch.randn(3, len(CLASS_NAMES) + GEOMETRY)
    views, heading = torch.randn(3, 3, 16, 16), torch.randn(3, 2)
    for one, other in zip(model(views, known, heading), model.opinion(model.seen(views), known, heading), strict=True):
        torch.testing.assert_close(one, other)


def test_fast_boxes_keep_their_heading() -> None:
    boxes = found()
    fast = replace(boxes, velocities=np.full((len(boxes), 2), 5.0, np.float32))
    refined = refiner(standing=1.0).refine(tiny_frame(), fast)
    rows = [np.nonzero((boxes.centers == center).all(axis=1))[0][0] for center in refined.centers]
    np.testing.assert_array_equal(refined.yaws, fast.yaws[rows])
    slow = replace(boxes, velocities=np.zeros((len(boxes), 2), np.float32))
    same(refiner(standing=1.0).refine(tiny_frame(), slow), refiner().refine(tiny_frame(), slow))


@pytest.mark.parametrize(("before", "turned"), [(None, True), (0.9, True), (1.1, False)])
def test_headings_are_turned_only_where_all_that_is_said_speaks_against_them(monkeypatch, before, turned: bool) -> None:
    boxes, model = found(), refiner()
    told = {"head": np.full(len(boxes), 9.0)} | ({} if before is None else {"placement": np.full(len(boxes), before)})
    boxes = replace(boxes, fronts=told)

    def said(seen: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        facing = torch.tensor([-1.5, 0.5]).expand(len(seen), 2)  # of the view, and of how far headings are trusted
        return torch.zeros(len(seen), len(CLASS_NAMES) + 1), facing, torch.zeros(len(seen), 2)

    monkeypatch.setattr(model, "opinion", said)
    yaws = {tuple(center): yaw for center, yaw in zip(boxes.centers.tolist(), boxes.yaws, strict=True)}
    refined = model.refine(tiny_frame(), boxes)
    turns = [abs(yaw - yaws[tuple(center)]) for center, yaw in zip(refined.centers.tolist(), refined.yaws, strict=True)]
    assert any(turn == pytest.approx(np.pi, abs=1e-5) for turn in turns) == turned
    # What the view says is handed on, of the end that it was said of.
    seen = refined.front("appearance") != 0
    assert seen.any()
    np.testing.assert_array_equal(np.abs(refined.front("appearance")[seen]), 1.5)
    assert (refined.front("appearance") > 0).any() == turned


def test_a_box_is_what_is_annotated_there_and_faces_as_it_does() -> None:
    truth = random_boxes(4, 1)
    shifted = replace(
        truth, centers=truth.centers + np.array([0.3, 0, 0]), yaws=truth.yaws + np.array([0, 3.14, 0.1, 1.57])
    )
    far = replace(truth, centers=truth.centers + 300.0)
    there = Truth(truth, np.ones(4, int), np.zeros(4, int))
    kind, facing = what_they_are(shifted, there, *nearest_truth(shifted, there))
    assert kind.tolist() == truth.labels.tolist()
    assert facing.tolist() == [1, 0, 1, -1]
    kind, facing = what_they_are(far, there, *nearest_truth(far, there))
    assert kind.tolist() == [len(CLASS_NAMES)] * 4
    assert facing.tolist() == [-1] * 4


def test_what_is_mirrored_is_mirrored() -> None:
    images = np.arange(4 * 20 * 20 * 3, dtype=np.uint32).reshape(4, 20, 20, 3).astype(np.uint8)
    out, mirrored = augmented(images, 16, np.random.default_rng(0), np.array([True, False, True, False]))
    assert out.shape == (4, 16, 16, 3)
    assert mirrored.dtype == bool


def test_views_that_are_to_keep_still_are_the_middle_of_what_was_collected() -> None:
    images = np.random.default_rng(0).integers(40, 80, (20, 20, 20, 3)).astype(np.uint8)
    still = np.arange(20) % 2 == 0
    out, mirrored = augmented(images, 16, np.random.default_rng(1), still)
    assert set(mirrored[still]) == {True, False}
    middle = np.where(mirrored[:, None, None, None], images[:, 2:18, 2:18][:, :, ::-1], images[:, 2:18, 2:18])
    light = out / middle  # one factor a view and colour
    assert (np.ptp(light, axis=(1, 2)).max(axis=1) < 0.1)[still].all()
    assert (np.ptp(light, axis=(1, 2)).max(axis=1) > 0.1)[~still].mean() > 0.7  # few happen to stay


def test_where_a_thing_is_in_sight_moves_the_box_there() -> None:
    truth = random_boxes(5, 3, reach=25.0)
    rng = np.random.default_rng(0)
    origins = np.array([1.5, 0.5]) + np.zeros((5, 2))
    sight = truth.centers[:, :2] - origins
    found = replace(truth, centers=truth.centers.copy())
    left = np.stack([-sight[:, 1], sight[:, 0]], axis=1) / np.linalg.norm(sight, axis=1, keepdims=True)
    found.centers[:, :2] = origins + sight * rng.uniform(0.93, 1.07, (5, 1)) + left * rng.uniform(-0.1, 0.1, (5, 1))
    nearest, there, place = nearest_in_sight(found, Truth(truth, np.ones(5, int), np.zeros(5, int)), origins)
    assert there.all()
    assert nearest.tolist() == list(range(5))
    moved = moved_in_sight(found, origins, place)
    np.testing.assert_allclose(moved.centers, truth.centers, atol=0.05)
    nothing = Truth(truth.select([]), np.zeros(0, int), np.zeros(0, int))
    assert not nearest_in_sight(found, nothing, origins)[1].any()
    assert len(nearest_in_sight(found.select([]), nothing, origins[:0])[0]) == 0


def test_only_boxes_of_frames_without_points_are_moved() -> None:
    boxes, frame, model = found(), tiny_frame(), refiner()
    torch.nn.init.constant_(model.place.bias, 1.0)
    places = {tuple(center) for center in boxes.centers}
    blind = replace(frame, cloud=None)
    assert {tuple(center) for center in model.refine(frame, boxes).centers} <= places
    assert not {tuple(center) for center in model.refine(blind, boxes).centers} <= places
    never = refiner(measured=False)
    never.load_state_dict(model.state_dict())
    same(never.refine(frame, boxes), model.refine(blind, boxes))


def test_lessons_without_points_say_where_things_are() -> None:
    frame = scene()
    boxes = replace(frame.truth.boxes, scores=np.full(len(frame.truth.boxes), 0.5))
    assert np.isnan(lessons_of(frame, boxes, TINY).place).all()
    blind = lessons_of(replace(frame, cloud=None), boxes, TINY)
    there = blind.kind < len(CLASS_NAMES)
    assert there.any()
    np.testing.assert_allclose(blind.place[there], 0, atol=1e-4)


def painted(count: int, seed: int) -> Lessons:
    """Views whose colour is their class, car or truck, and whose brighter side is where the front is."""
    rng = np.random.default_rng(seed)
    kind, right = rng.integers(0, 2, count), rng.integers(0, 2, count)
    images = np.full((count, 20, 20, 3), 40, np.uint8)
    images[kind == 0, :, :, 0], images[kind == 1, :, :, 2] = 200, 200
    boxes = random_boxes(count, seed)
    boxes = replace(boxes, labels=np.zeros(count, np.int64))

    class Look:  # straight ahead
        bearing, pixels, visible = np.zeros(count), np.full(count, 50.0), np.ones(count)

    known, heading = what_is_known(boxes, Look, True)
    known[:, -3:] = 0  # angles
    heading[:] = [0, 1]
    side = np.where(right == 1, 1, -1)  # the front is to the left of the line of sight, as the heading says, or not
    images[side == 1, :, :10, 1], images[side == -1, :, 10:, 1] = 220, 220
    return Lessons(images, known, heading, kind, right, np.full((count, 2), np.nan, np.float32))


def test_it_learns_what_things_are_and_where_their_front_is(tmp_path: Path) -> None:
    model = refiner()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.2  # so few steps
    settings = Training(epochs=3, epoch_lessons=1280, batch_size=32, learning_rate=0.02, frozen_stages=0)
    said: list[str] = []
    course = Course(model, painted(400, 0), settings)
    train_refiner(course, settings, tmp_path / "last", lambda items, *_: items, said.append)
    lessons = painted(100, 7)
    views = lessons.images[:, 2:18, 2:18]
    with torch.inference_mode():
        arrays = (torch.from_numpy(array) for array in (lessons.known, lessons.heading))
        kind, facing, _ = model(normalised(torch.from_numpy(np.ascontiguousarray(views))), *arrays)
    assert (kind.argmax(dim=1).numpy() == lessons.kind).mean() > 0.9
    assert ((facing.sum(dim=1).numpy() > 0) == lessons.facing).mean() > 0.9
    assert len(said) == 3


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    lessons = painted(60, 0)
    settings = Training(epochs=2, epoch_lessons=64, batch_size=16, frozen_stages=1)

    def train(model: Appearance, state: str, progress: Callable = lambda items, *_: items) -> None:
        train_refiner(Course(model, lessons, settings), settings, tmp_path / state, progress, lambda text: None)

    def stopping(items, total, what):
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt
        return items

    whole, halved, again = refiner(), refiner(), refiner()
    train(whole, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(halved, "halved", stopping)
    train(again, "halved")
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_training_may_be_short(tmp_path: Path, steps: int) -> None:
    settings, said = Training(epochs=1, epoch_lessons=4 * steps, batch_size=4), []
    train_refiner(
        Course(refiner(), painted(20, 0), settings), settings, tmp_path / "last", lambda items, *_: items, said.append
    )
    assert said[0].startswith("epoch 1: loss")


def test_lessons_survive_their_file(tmp_path: Path) -> None:
    frame = scene()
    lessons = lessons_of(frame, found(), TINY)
    assert len(lessons)
    lessons.save(tmp_path / "a.npz")
    loaded = Lessons.load(tmp_path / "a.npz")
    for name in ("images", "known", "heading", "kind", "facing", "place"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(lessons, name))
    twice = Lessons.load_all([tmp_path / "a.npz", tmp_path / "a.npz"])
    for name in ("images", "known", "heading", "kind", "facing", "place"):
        np.testing.assert_array_equal(getattr(twice, name), np.concatenate([getattr(lessons, name)] * 2))


def test_a_detector_has_its_boxes_refined() -> None:
    data = tiny_data(cameras=False, head="centerpoint")
    data["refiners"] = [{"name": "appearance", "size": 16, "out_stage": 1, "hidden": 16, "min_score": 0.0}]
    config = parse_config(data)
    assert config.cameras
    torch.manual_seed(0)
    detector = Detector(config, Network(config))
    frame = tiny_frame()
    before, after = detector.found([frame])[0], detector(frame)
    assert len(before)
    assert len(after)
    assert not np.array_equal(np.sort(before.scores), np.sort(after.scores))
    blind = replace(frame, cameras={})
    same(detector(blind), detector.found([blind])[0])


def test_settings_it_does_not_know_are_refused() -> None:
    assert training_of(Training, ["epochs=3"]).epochs == 3
    with pytest.raises(InputError, match="epoch"):
        training_of(Training, ["epoch=3"])
