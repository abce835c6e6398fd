"""The refiner that fits boxes to points: what it sees, what it learns, what it leaves as it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from perception.model.boxes import turned_round
from perception.model.inference import for_inference
from perception.model.refiners.placement import (
    FIT,
    GEOMETRY,
    POINT,
    Placement,
    Settings,
    Surroundings,
    fitted,
    seen_from_faces,
    surroundings_of,
)
from perception.nuscenes import CLASS_NAMES
from perception.refining.placement import Course, Lessons, Training, lessons_of, wanted_fit
from perception.refining.train import train_refiner
from perception.types import Boxes3D, Frame, PointCloud, Truth
from tests.tiny import tiny_frame

TINY = Settings(points=48, channels=(16, 32), hidden=32, min_score=0.0)
CAR, BARRIER, NOTHING = CLASS_NAMES.index("car"), CLASS_NAMES.index("barrier"), len(CLASS_NAMES)


def refiner(**changes: object) -> Placement:
    torch.manual_seed(0)
    return TINY.model_copy(update=changes).build(CLASS_NAMES).eval()


def cars(rng: np.random.Generator, count: int = 6) -> Boxes3D:
    """Standing cars 15 m apart, of several sizes and headings."""
    row = np.arange(count)
    return Boxes3D(
        np.stack([15.0 * (row % 3) - 15, 15.0 * (row // 3) - 20, np.full(count, -0.9)], axis=1),
        rng.uniform([3.8, 1.7, 1.4], [5.2, 2.0, 1.8], (count, 3)),
        rng.uniform(-np.pi, np.pi, count),
        np.zeros((count, 2)),
        np.full(count, 0.8),
        np.full(count, CAR),
        CLASS_NAMES,
    )


def frame_of(boxes: Boxes3D, rng: np.random.Generator, points: int = 80) -> Frame:
    """A cloud on the faces of the boxes; their fronts are low."""
    local = rng.uniform(-0.5, 0.5, (len(boxes), points, 3))
    face = rng.integers(0, 2, (len(boxes), points))
    side = np.take_along_axis(local, face[..., None], axis=2)
    np.put_along_axis(local, face[..., None], np.where(side > 0, 0.5, -0.5), axis=2)
    low = local[..., 0] > 0.2
    local[..., 2] = np.where(low, local[..., 2] * 0.5 - 0.2, local[..., 2])
    local *= boxes.sizes[:, None]
    cosine, sine = np.cos(boxes.yaws)[:, None], np.sin(boxes.yaws)[:, None]
    x, y = local[..., 0] * cosine - local[..., 1] * sine, local[..., 0] * sine + local[..., 1] * cosine
    places = np.stack([x, y, local[..., 2]], axis=2) + boxes.centers[:, None]
    cloud = np.concatenate([places.reshape(-1, 3), np.zeros((len(boxes) * points, 2))], axis=1)
    truth = Truth(boxes, np.full(len(boxes), points), np.zeros(len(boxes), int))
    return replace(tiny_frame(cameras=()), cloud=PointCloud(cloud.astype(np.float32)), truth=truth)


def found_badly(boxes: Boxes3D, rng: np.random.Generator) -> Boxes3D:
    count = len(boxes)
    return replace(
        boxes,
        centers=boxes.centers + rng.normal(0, [0.4, 0.4, 0.1], (count, 3)),
        sizes=boxes.sizes * np.exp(rng.normal(0, 0.1, (count, 3))),
        yaws=boxes.yaws + rng.normal(0, 0.1, count) + np.pi * (rng.random(count) < 0.5),
    )


def test_without_points_or_boxes_everything_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    boxes, placing = cars(rng), refiner()
    frame = frame_of(boxes, rng)
    assert placing.refine(replace(frame, cloud=None), boxes) is boxes
    assert placing.refine(replace(frame, cloud=PointCloud(np.zeros((0, 5), np.float32))), boxes) is boxes
    assert len(placing.refine(frame, boxes.select([]))) == 0
    assert refiner(min_score=0.9).refine(frame, boxes) is boxes


def test_boxes_without_points_around_them_stay_where_they_are() -> None:
    rng = np.random.default_rng(1)
    boxes = cars(rng)
    moved = refiner().refine(frame_of(boxes.select([0, 1, 2]), rng), boxes)
    kept = {tuple(center) for center in moved.centers}
    assert [tuple(center) in kept for center in boxes.centers] == [False] * 3 + [True] * 3


def test_a_box_is_seen_in_its_own_axes_and_where_it_has_come_to() -> None:
    boxes = Boxes3D(
        np.array([[10.0, 5, 0]]),
        np.array([[4.0, 2, 1.5]]),
        np.array([math.pi / 2]),
        np.array([[0.0, 4]]),
        np.ones(1),
        np.zeros(1, np.int64),
        CLASS_NAMES,
    )
    points = np.array([[9.5, 4.0, 0.5, 51, 0.5], [9.5, 4.0, 0.5, 51, 0]], np.float32)
    around = surroundings_of(points, boxes, np.array([0]), TINY)
    assert around.counts.tolist() == [2]
    seen = seen_from_faces(torch.from_numpy(around.points), torch.from_numpy(boxes.sizes).float())[0, :2].numpy()
    ahead = [-1, -0.5, -0.25, 3, 1.5, 1.25, 0.5, 0.5, 2 / 3, 0.2, 1, 0]
    np.testing.assert_allclose(seen, [ahead, [-3, -0.5, -0.25, 1, 1.5, 1.25, -0.5, 0.5, 2 / 3, 0.2, 0, 1]], rtol=1e-5)


def test_what_is_wanted_makes_boxes_right() -> None:
    rng = np.random.default_rng(2)
    right = cars(rng)
    found = found_badly(right, rng)
    numbers = [np.concatenate([b.centers, b.sizes, b.yaws[:, None]], axis=1) for b in (found, right)]
    fit, fronted, ahead = wanted_fit(*numbers)
    assert fronted.all()
    moved = turned_round(fitted(found, fit), np.where(ahead, 1.0, -1.0), None)
    np.testing.assert_allclose(moved.centers, right.centers, atol=1e-5)
    np.testing.assert_allclose(moved.sizes, right.sizes, rtol=1e-5)
    np.testing.assert_allclose(np.cos(moved.yaws - right.yaws), 1, atol=1e-6)
    assert (np.abs(moved.yaws) <= np.pi).all()


def test_what_is_faster_than_standing_keeps_its_front() -> None:
    boxes = cars(np.random.default_rng(3), 2)
    boxes = replace(boxes, velocities=np.array([[3.0, 0], [0.1, 0]]))
    moved = turned_round(boxes, np.full(2, -1.0), 1.0)
    np.testing.assert_allclose(np.cos(moved.yaws - boxes.yaws), [1, -1])


def test_a_fast_box_that_is_placed_keeps_its_front(monkeypatch) -> None:
    rng = np.random.default_rng(3)
    boxes, placing = cars(rng, 2), refiner(standing=1.0, second_label=1.0)
    boxes = replace(boxes, velocities=np.array([[3.0, 0], [0.1, 0]], np.float32))

    def judged(around: Surroundings, boxes: Boxes3D) -> tuple[np.ndarray, ...]:
        kinds = np.eye(len(CLASS_NAMES) + 1, dtype=np.float32)[boxes.labels]
        return np.zeros((2, FIT), np.float32), np.full(2, -1.5, np.float32), kinds

    monkeypatch.setattr(placing, "_judged", judged)
    moved = placing.refine(frame_of(boxes, rng), boxes)
    at = [int(np.argmin(np.abs(moved.centers - center).sum(axis=1))) for center in boxes.centers]
    np.testing.assert_allclose(np.cos(moved.yaws[at] - boxes.yaws), [1, -1], atol=1e-6)
    np.testing.assert_array_equal(moved.fronts["placement"][at], [-1.5, 1.5])  # of the end that it was said of


def test_lessons_say_what_is_right_and_barriers_have_no_front() -> None:
    rng = np.random.default_rng(5)
    boxes = cars(rng)
    boxes.labels[5] = BARRIER
    frame = frame_of(boxes, rng)
    far = replace(boxes.select([0]), centers=np.array([[30.0, 30, 0]]))
    lessons = lessons_of(frame, Boxes3D.joined([boxes, far]), TINY)
    assert lessons.kind.tolist() == [CAR] * 5 + [BARRIER, NOTHING]
    np.testing.assert_allclose(lessons.right[:6], lessons.found[:6])
    assert (lessons.counts[:6] > TINY.points).all()  # more than a refiner sees
    nothing = lessons_of(replace(frame, cloud=None), boxes, TINY)
    assert not nothing.counts.any()


def test_it_learns_to_fit_boxes(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    parts = []
    for _ in range(12):
        right = cars(rng)
        parts.append(lessons_of(frame_of(right, rng), found_badly(right, rng), TINY))
    lessons = Lessons.joined(parts)
    lessons.save(tmp_path / "lessons.npz")
    lessons = Lessons.load(tmp_path / "lessons.npz")
    placing = refiner()
    how = Training(epochs=2, epoch_lessons=6400, batch_size=32)
    train_refiner(Course(placing, lessons, how), how, tmp_path / "last.ckpt", lambda items, *_: items, lambda _: None)
    before, after, fronts = [], [], []
    for _ in range(4):
        right = cars(rng)
        found = found_badly(right, rng)
        fixed = placing.refine(frame_of(right, rng), found)
        for boxes, errors in ((found, before), (fixed, after)):
            apart = np.linalg.norm(boxes.centers[:, None, :2] - right.centers[None, :, :2], axis=2)
            errors.extend(apart.min(axis=0))
            if boxes is fixed:
                fronts.extend(np.cos(boxes.yaws[apart.argmin(axis=0)] - right.yaws) > 0)
                assert (boxes.fronts["placement"] >= 0).all()  # it has turned what it said is the wrong way round
    assert np.mean(after) < 0.5 * np.mean(before)
    assert np.mean(fronts) > 0.8


def test_equal_lessons_and_seeds_give_equal_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    right = cars(rng)
    lessons, how = lessons_of(frame_of(right, rng), right, TINY), Training(epochs=1, epoch_lessons=40, batch_size=4)
    made = []
    for name in ("one", "other"):
        made.append(refiner())
        course = Course(made[-1], lessons, how)
        train_refiner(course, how, tmp_path / name, lambda items, *_: items, lambda _: None)
    one, other = (placing.state_dict() for placing in made)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_made_ready_it_says_what_it_said_before(dtype: torch.dtype) -> None:
    placement, chance = refiner(), torch.Generator().manual_seed(0)
    for module in placement.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.1, generator=chance)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5, generator=chance)
    faces, there = torch.randn(7, 20, POINT, generator=chance), torch.rand(7, 20, generator=chance) < 0.5
    there[3] = False
    given = (faces, there, torch.randn(7, len(CLASS_NAMES) + GEOMETRY, generator=chance))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        before, after = placement(*given), for_inference(placement)(*given)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in placement.modules())
    off = 1e-5 if dtype == torch.float32 else 0.03
    for was, now in zip(before, after, strict=True):
        torch.testing.assert_close(now.float(), was.float(), atol=off, rtol=off)
