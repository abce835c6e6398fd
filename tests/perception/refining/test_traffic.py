"""The refiner that judges headings by the traffic: what it sees, what it learns, and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from calibration.transform import Transform
from perception.config import parse_config
from perception.detector import Detector
from perception.model.boxes import has_front
from perception.model.network import Network
from perception.model.refiners.traffic import THING, Settings, Traffic, things_of
from perception.nuscenes import CLASS_NAMES
from perception.refining.traffic import Course, Training, doubted, lessons_of, moved
from perception.refining.train import train_refiner
from perception.types import Boxes3D, Frame, Truth
from tests.perception.refining.checks import same
from tests.perception.training.scenes import random_boxes
from tests.tiny import tiny_data, tiny_frame

CAR = CLASS_NAMES.index("car")
SIDEWAYS = Transform(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), (0.9, 0.0, 1.8))  # as nuScenes' LiDAR


def refiner(**changes: object) -> Traffic:
    torch.manual_seed(0)
    return Settings(**changes).build(CLASS_NAMES).eval()


def frame_of(truth: Boxes3D | None = None) -> Frame:
    told = None if truth is None else Truth(truth, np.full(len(truth), 9), np.zeros(len(truth), int))
    return replace(tiny_frame(cameras=()), truth=told, ego_from_lidar=SIDEWAYS)


def standing(count: int = 12, seed: int = 0) -> Boxes3D:
    boxes = random_boxes(count, seed, reach=20.0)
    return replace(boxes, velocities=np.zeros((count, 2), np.float32), scores=np.linspace(0.9, 0.2, count))


def told(boxes: Boxes3D, seed: int = 1) -> Boxes3D:
    """The boxes, of whose fronts something has been said."""
    logits = np.random.default_rng(seed).normal(0, 3, (2, len(boxes))).astype(np.float32)
    return replace(boxes, fronts={"placement": logits[0], "appearance": logits[1]})


def street(rng: np.random.Generator, count: int = 8) -> Boxes3D:
    """Parked cars: on the right they face as the own car, on the left against it. In the ego frame they would be at y
    from -6 to 6; here they are in the lidar's, whose y is ahead."""
    left = rng.random(count) < 0.5
    along, beside = rng.permutation(np.arange(count) * 6.0 - 24), np.where(left, 6.0, -6.0)
    yaw_ego = np.where(left, np.pi, 0.0) + rng.normal(0, 0.1, count)
    ego = Boxes3D(
        np.stack([along, beside, np.full(count, 0.9)], axis=1),
        np.tile([4.5, 1.9, 1.6], (count, 1)),
        yaw_ego,
        np.zeros((count, 2)),
        np.full(count, 0.8),
        np.full(count, CAR),
        CLASS_NAMES,
        "ego",
    )
    return ego.transformed(SIDEWAYS.inverse(), "lidar")


def turned(boxes: Boxes3D, rows: np.ndarray | slice = slice(None)) -> Boxes3D:
    yaws = boxes.yaws.copy()
    yaws[rows] += np.pi
    return replace(boxes, yaws=yaws)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(np.angle(np.exp(1j * (one - other))))


def test_without_boxes_or_with_moving_or_frontless_ones_all_stays_as_it_is() -> None:
    empty, boxes = Boxes3D.empty(CLASS_NAMES), standing()
    same(refiner().refine(frame_of(), empty), empty)
    fast = replace(boxes, velocities=np.full((len(boxes), 2), 3.0))
    same(refiner().refine(frame_of(), fast), fast)
    cones = replace(boxes, labels=np.full(len(boxes), CLASS_NAMES.index("traffic_cone")))
    same(refiner().refine(frame_of(), cones), cones)
    poor = replace(boxes, scores=np.full(len(boxes), 0.05))
    same(refiner().refine(frame_of(), poor), poor)


def test_only_headings_change_and_only_by_half_a_turn() -> None:
    boxes = standing(40)
    refined = refiner().refine(frame_of(), boxes)
    same(replace(refined, yaws=boxes.yaws), boxes)
    assert (refined.fronts["traffic"] >= 0).all()
    off = apart(refined.yaws, boxes.yaws)
    assert ((off < 1e-6) | (np.abs(off - np.pi) < 1e-6)).all()
    assert (off > 1).any()


def test_unknown_velocities_count_as_standing() -> None:
    boxes = standing(40)
    unknown = replace(boxes, velocities=np.full((len(boxes), 2), np.nan))
    np.testing.assert_array_equal(refiner().refine(frame_of(), unknown).yaws, refiner().refine(frame_of(), boxes).yaws)


def test_the_answer_for_the_other_heading_is_the_opposite() -> None:
    model, things = refiner(), torch.from_numpy(things_of(told(standing(30)), frame_of(), Settings())[1])
    other = things.clone()
    other[:, 0, THING.index("yaw")] += np.pi
    other[:, 0, len(THING) :] *= -1  # what is said of an end stays with it
    with torch.no_grad():
        # What was found is told apart from what wasn't; but for that the two are one question.
        things[:, 0, THING.index("score")] = other[:, 0, THING.index("score")] = 0.0
        model.judge[0].weight[:, 5] = 0  # which of the two was found
        torch.testing.assert_close(model(things), -model(other), rtol=1e-4, atol=1e-5)


def test_it_sees_the_nearest_others_in_the_ego_frame() -> None:
    boxes, settings = standing(20), Settings(others=3, reach_m=15.0)
    rows, things = things_of(boxes, frame_of(), settings)
    ego = boxes.transformed(SIDEWAYS, "ego")
    assert rows.tolist() == np.nonzero(has_front(boxes.labels, CLASS_NAMES))[0].tolist()  # they come best first
    np.testing.assert_allclose(things[:, 0, :2], ego.centers[rows, :2], atol=1e-4)
    for row, around in zip(rows, things[:, 1:], strict=True):
        distance = np.linalg.norm(ego.centers[:, :2] - ego.centers[row, :2], axis=1)
        near = np.argsort(distance)[1:4]
        near = near[distance[near] <= settings.reach_m]
        there = around[:, THING.index("label")] >= 0
        assert there.sum() == len(near)
        np.testing.assert_allclose(around[there, :2], ego.centers[near, :2], atol=1e-4)
        np.testing.assert_allclose(around[there, THING.index("yaw")], ego.yaws[near], atol=1e-4)


def test_a_thing_with_two_labels_does_not_judge_itself() -> None:
    one = standing(1)
    twice = Boxes3D.joined([one, replace(one, labels=(one.labels + 1) % 5, scores=one.scores / 2)])
    things = things_of(twice, frame_of(), Settings())[1]
    assert (things[:, 1:, THING.index("label")] == -1).all()


def test_it_judges_the_best_only() -> None:
    boxes = standing(20)
    rows, things = things_of(boxes, frame_of(), Settings(max_boxes=2))
    assert len(rows) == len(things) == 2
    assert boxes.scores[rows].min() == np.sort(boxes.scores[has_front(boxes.labels, CLASS_NAMES)])[-2]


def test_lessons_are_of_what_stands_and_has_a_front() -> None:
    truth = replace(standing(12), labels=np.full(12, CAR))
    found = replace(turned(truth, np.array([1, 4])), centers=truth.centers + np.array([0.2, 0, 0]))
    lessons = lessons_of(frame_of(truth), found, Settings())
    assert len(lessons) == 12
    assert np.nonzero(lessons.facing == 0)[0].tolist() == [1, 4]
    assert not len(lessons_of(frame_of(truth), replace(found, centers=found.centers + 300), Settings()))


def test_doubts_grow_with_distance_and_spare_what_moves() -> None:
    things = np.zeros((4000, 2, len(THING) + 1), np.float32)
    things[..., -1] = 2.0  # what is said of an end stays with it
    things[:2000, :, THING.index("x")] = 60.0
    things[:, 1, THING.index("vx")] = 4.0
    settings = Training(doubted=0.1, doubted_far=0.4)
    shown, first = doubted(things, settings, np.random.default_rng(0))
    assert first[:2000].mean() == pytest.approx(0.4, abs=0.04)
    assert first[2000:].mean() == pytest.approx(0.1, abs=0.03)
    np.testing.assert_array_equal(shown[:, 1], things[:, 1])
    np.testing.assert_allclose(shown[:, 0, THING.index("yaw")], np.pi * first, rtol=1e-6)
    np.testing.assert_array_equal(shown[:, 0, -1], 2 - 4 * first)
    assert not things[..., THING.index("yaw")].any()


def test_the_own_car_is_shown_elsewhere_and_some_others_not_at_all() -> None:
    things = things_of(told(standing(30)), frame_of(), Settings())[1]
    still = Training(unseen=0.0, unsaid=0.0, shift_m=(0.0, 0.0), turn=0.0)
    np.testing.assert_allclose(moved(things, still, np.random.default_rng(0)), things, rtol=1e-6)
    shown = moved(things, Training(unseen=0.5, unsaid=0.4), np.random.default_rng(0))
    deaf = (shown[..., len(THING) :] == 0).all(axis=1)  # alike for the box and the others: it is the sensor that lacks
    assert deaf[:, 1:].mean() == pytest.approx(0.4, abs=0.15)
    label = THING.index("label")
    np.testing.assert_array_equal(shown[:, 0, label], things[:, 0, label])
    there = things[:, 1:, label] >= 0
    assert (shown[:, 1:, label][there] < 0).mean() == pytest.approx(0.5, abs=0.1)
    # Between things everything stays as it is: distances, and angles between headings.
    for name in ("x", "yaw"):
        assert not np.allclose(shown[:, 0, THING.index(name)], things[:, 0, THING.index(name)], atol=1e-3)
    away = [np.linalg.norm(part[:, 1:, :2] - part[:, :1, :2], axis=2)[there] for part in (things, shown)]
    np.testing.assert_allclose(*away, atol=1e-3)
    turns = [(part[:, 1:, 2] - part[:, :1, 2])[there] for part in (things, shown)]
    np.testing.assert_allclose(*turns, atol=1e-4)


def test_it_learns_which_side_is_driven_on(tmp_path: Path) -> None:
    rng, settings = np.random.default_rng(0), Training(epochs=3, epoch_lessons=2000, learning_rate=1e-2)
    parts = [lessons_of(frame_of(boxes), boxes, Settings()) for boxes in (street(rng) for _ in range(60))]
    model = refiner()
    course = Course(model, type(parts[0]).joined(parts), settings)
    train_refiner(course, settings, tmp_path / "last.ckpt", lambda things, count, what: things, lambda line: None)
    right = street(rng)
    wrong = turned(right, np.array([0, 3]))
    refined = model.eval().refine(frame_of(), wrong)
    assert apart(refined.yaws, right.yaws).max() < 1e-3
    assert apart(refined.yaws, wrong.yaws).max() > 3
    # The same street seen by a LiDAR that is mounted otherwise.
    ahead = replace(frame_of(), ego_from_lidar=Transform(np.eye(3), (0.9, 0.0, 1.8)))
    moved = wrong.transformed(ahead.ego_from_lidar.inverse() @ SIDEWAYS, "lidar")
    again = model.refine(ahead, moved).transformed(SIDEWAYS.inverse() @ ahead.ego_from_lidar, "lidar")
    assert apart(again.yaws, refined.yaws).max() < 1e-3


def test_it_learns_whom_to_believe(tmp_path: Path) -> None:
    rng, settings = np.random.default_rng(0), Training(epochs=3, epoch_lessons=3000, learning_rate=1e-2)

    def found() -> tuple[Boxes3D, Boxes3D]:
        """Cars anywhere, found either way round, and as they are. One tells them apart, the other at random."""
        right = replace(standing(20, int(rng.integers(10**6))), labels=np.full(20, CAR))
        wrong = turned(right, rng.random(20) < 0.5)
        sides = np.where(np.abs(wrong.yaws - right.yaws) > 1, -1, 1)
        noise = rng.normal(0, 4, (2, 20))
        said = {"placement": sides * 1.5 + noise[0] / 8, "appearance": noise[1]}
        return replace(wrong, fronts={name: logits.astype(np.float32) for name, logits in said.items()}), right

    pairs = [found() for _ in range(40)]
    parts = [lessons_of(frame_of(right), wrong, Settings()) for wrong, right in pairs]
    model = refiner()
    course = Course(model, type(parts[0]).joined(parts), settings)
    train_refiner(course, settings, tmp_path / "last.ckpt", lambda things, count, what: things, lambda line: None)
    wrong, right = found()
    refined = model.eval().refine(frame_of(), wrong)
    assert (apart(refined.yaws, right.yaws) < 1e-3).mean() > 0.9
    # With the heading as it was nobody has changed his mind of which end is the front.
    sides = np.sign(np.cos(refined.yaws - wrong.yaws))
    np.testing.assert_allclose(refined.fronts["placement"], sides * wrong.fronts["placement"])


def test_a_detector_needs_no_sensor_for_it() -> None:
    config = parse_config(tiny_data(cameras=False, head="centerpoint") | {"refiners": [{"name": "traffic"}]})
    assert not config.cameras
    assert config.refiners[0] == Settings()


def test_those_it_hears_have_spoken() -> None:
    looks = {"name": "appearance", "size": 16, "out_stage": 1, "hidden": 16, "min_score": 0.0}
    places = {"name": "placement", "min_score": 0.0, "least_points": 1}
    refiners = [places, looks, {"name": "traffic", "min_score": 0.0, "standing": 1e9}]
    config = parse_config(tiny_data(cameras=False, head="centerpoint") | {"refiners": refiners})
    torch.manual_seed(0)
    found = Detector(config, Network(config))(tiny_frame())
    assert set(found.fronts) == {*config.refiners[-1].hears, "traffic"}
    assert all((logits != 0).any() for logits in found.fronts.values())
    assert set(np.abs(found.fronts["head"])) == {1.0}


@pytest.mark.parametrize(("hears", "word"), [(["head", "placment"], "placement"), (["head", "head"], "once")])
def test_whom_nobody_knows_cannot_be_heard(hears: list[str], word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse_config(tiny_data() | {"refiners": [{"name": "traffic", "hears": hears}]})
