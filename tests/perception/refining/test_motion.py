"""The refiner that reads velocities off points' ages: what it sees, what it learns, what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.config import parse_config
from perception.model.inference import for_inference
from perception.model.refiners.motion import (
    ABOVE_M,
    OVER_M,
    Motion,
    Settings,
    known_of,
    likeliest,
    seen_to,
    trails_of,
    ways_of,
)
from perception.nuscenes import CLASS_NAMES
from perception.ops.trails import straightened
from perception.refining.motion import Course, Lessons, Training, lessons_of
from perception.refining.train import train_refiner
from perception.types import Boxes3D, Frame, PointCloud, Truth
from tests.perception.refining.checks import same
from tests.perception.training.scenes import random_boxes
from tests.tiny import tiny_data, tiny_frame

TINY = Settings(cells=160, cell=0.25, bins=12, layers=1, hidden=32, fastest=(12.0, 6.0), step=(1.0, 1.0))
CAR, PEDESTRIAN = CLASS_NAMES.index("car"), CLASS_NAMES.index("pedestrian")


def refiner(**changes: object) -> Motion:
    torch.manual_seed(0)
    return TINY.model_copy(update=changes).build(CLASS_NAMES).eval()


def cars(rng: np.random.Generator, count: int = 6) -> Boxes3D:
    """Cars 30 m apart, each at a speed of its own, some backwards against the heading that was found."""
    row = np.arange(count)
    speed = rng.uniform(-10, 10, count)
    yaws = rng.uniform(-np.pi, np.pi, count)
    lead = np.stack([np.cos(yaws), np.sin(yaws)], axis=1)
    return Boxes3D(
        np.stack([30.0 * (row % 3) - 30, 30.0 * (row // 3) - 15, np.full(count, -0.9)], axis=1),
        np.tile([4.5, 1.9, 1.6], (count, 1)),
        yaws,
        speed[:, None] * lead,
        np.full(count, 0.8),
        np.full(count, CAR),
        CLASS_NAMES,
    )


def frame_of(boxes: Boxes3D, rng: np.random.Generator, points: int = 60) -> Frame:
    """Ten clouds in half a second, of the ends and sides of things that move as these boxes."""
    parts = []
    for age in np.arange(10) * 0.05:
        for center, (length, width, height), yaw, velocity in zip(
            boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities, strict=True
        ):
            end = rng.random(points) < 0.5
            along = np.where(end, -length / 2, rng.uniform(-length / 2, length / 2, points))
            beside = np.where(end, rng.uniform(-width / 2, width / 2, points), width / 2)
            x = center[0] + along * np.cos(yaw) - beside * np.sin(yaw) - velocity[0] * age
            y = center[1] + along * np.sin(yaw) + beside * np.cos(yaw) - velocity[1] * age
            z = center[2] + rng.uniform(-height / 2 + 0.3, height / 2, points)
            parts.append(np.stack([x, y, z, np.full(points, 9.0), np.full(points, age)], axis=1))
    cloud = PointCloud(np.concatenate(parts).astype(np.float32))
    truth = Truth(boxes, np.full(len(boxes), points), np.zeros(len(boxes), int))
    return replace(tiny_frame(cameras=()), cloud=cloud, truth=truth)


def test_without_points_or_boxes_everything_stays_as_it_is() -> None:
    boxes = cars(np.random.default_rng(0))
    frame = tiny_frame()
    same(refiner().refine(replace(frame, cloud=None), boxes), boxes)
    empty = Boxes3D.empty(CLASS_NAMES)
    same(refiner().refine(frame, empty), empty)
    nothing = replace(frame, cloud=PointCloud(np.zeros((0, 5), np.float32)))
    assert np.isfinite(refiner().refine(nothing, boxes).velocities).all()


def test_what_does_not_move_or_is_improbable_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    boxes = cars(rng)
    frame = frame_of(boxes, rng)
    still = replace(boxes, labels=np.full(len(boxes), CLASS_NAMES.index("barrier")))
    same(refiner().refine(frame, still), still)
    poor = replace(boxes, scores=np.full(len(boxes), 0.05))
    same(refiner().refine(frame, poor), poor)
    same(refiner(sure=1.0).refine(frame, boxes), boxes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_trails_count_what_a_look_at_every_point_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = replace(random_boxes(8, seed % 1000, reach=20.0), scores=rng.uniform(0.2, 1, 8))
    points = np.concatenate(
        [rng.uniform(-30, 30, (4000, 2)), rng.uniform(-3, 3, (4000, 1)), np.zeros((4000, 2))], axis=1
    )
    points[:, 4] = rng.integers(0, 14, 4000) * 0.05
    points = points.astype(np.float32)
    model = Settings(layers=2, cells=200)
    ways = ways_of(boxes, model)
    trails = trails_of(points, boxes, ways, model)
    for way, row in enumerate(ways.rows):
        angle, half = ways.angles[way], ways.lengths[way] / 2
        lead = np.array([np.cos(angle), np.sin(angle)])
        apart = points[:, :2] - boxes.centers[row, :2]
        along, beside = apart @ lead, apart @ np.array([-lead[1], lead[0]])
        above = points[:, 2] - (boxes.centers[row, 2] - boxes.sizes[row, 2] / 2)
        anywhere = int(ways.anywhere[way])
        reach = half + max(0.8, 0.3 * half) + model.fastest[anywhere] * 0.45
        on = (np.abs(beside) < ways.widths[way] / 2 + model.margin[anywhere]) & (np.abs(along) < min(reach, 12.4))
        on &= (above > ABOVE_M) & (above < max(boxes.sizes[row, 2], 0.5) + OVER_M) & (points[:, 4] < 0.475)
        wanted = np.histogram2d(
            along[on], points[on, 4], bins=(np.arange(-100, 101) * 0.125, np.arange(11) * 0.05 - 0.01)
        )
        got = trails[way].reshape(10, 2, 200).sum(axis=1)
        near = np.abs(np.arange(-100, 100) * 0.125 + 0.06) < min(reach, 12.4) - 0.2
        assert np.abs(got.T[near].astype(int) - wanted[0][near]).sum() <= 4  # rounding at the cells' edges


def test_a_trail_straightened_at_its_own_speed_is_the_same_at_every_age() -> None:
    rng = np.random.default_rng(1)
    boxes = cars(rng)
    frame = frame_of(boxes, rng, points=200)
    ways = ways_of(boxes, TINY)
    trails = torch.from_numpy(trails_of(frame.cloud.points, boxes, ways, TINY)).float()
    speeds = torch.arange(-12, 13.0)
    lengths = torch.from_numpy(ways.lengths).float()
    straight = straightened(trails, seen_to(lengths), speeds, TINY.layout, TINY.bins).expm1().unflatten(2, (10, 12))
    changes = straight.std(dim=2).sum(dim=2)
    own = (boxes.velocities[ways.rows] * np.stack([np.cos(ways.angles), np.sin(ways.angles)], axis=1)).sum(axis=1)
    assert np.abs(speeds[changes.argmin(dim=1)].numpy() - own).max() <= 1.0
    held = straight.sum(dim=(2, 3))[torch.arange(len(own)), changes.argmin(dim=1)]
    np.testing.assert_allclose(held, 2000, rtol=0.02)  # at that speed all of its points are there


def test_the_mean_is_taken_around_the_likeliest_speed() -> None:
    speeds = torch.arange(-3, 4.0)
    logits = torch.tensor([[5.0, -9, -9, -9, 3, 6, 3]])
    mean, mass = likeliest(logits, speeds)
    assert mean.item() == pytest.approx(2.0)
    assert 0.5 < mass.item() < 1


def lessons(seeds: range) -> Lessons:
    parts = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        boxes = cars(rng)
        parts.append(lessons_of(frame_of(boxes, rng), boxes, TINY))
    return Lessons.joined(parts)


def test_it_learns_how_fast_things_are_and_turns_them_where_they_go(tmp_path: Path) -> None:
    model = refiner()
    training = Training(epochs=3, epoch_lessons=4096, batch_size=32, learning_rate=0.01)
    said: list[str] = []
    course = Course(model, lessons(range(20)), training)
    train_refiner(course, training, tmp_path / "last", lambda items, *_: items, said.append)
    assert len(said) == 3
    rng = np.random.default_rng(99)
    boxes = cars(rng)
    unknown = replace(boxes, velocities=np.zeros_like(boxes.velocities))
    refined = model.refine(frame_of(boxes, rng), unknown)
    off = np.linalg.norm(refined.velocities - boxes.velocities, axis=1)
    assert np.median(off) < 0.5
    moving = np.linalg.norm(refined.velocities, axis=1) > 1
    assert moving.any()
    toward = np.stack([np.cos(refined.yaws), np.sin(refined.yaws)], axis=1)
    assert ((toward * refined.velocities).sum(axis=1)[moving] > 0).all()
    np.testing.assert_array_equal(refined.centers, boxes.centers)


def test_lessons_tell_the_thing_from_the_rest_and_survive_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    boxes = cars(rng)
    frame = frame_of(boxes, rng)
    taught = lessons_of(frame, boxes, TINY)
    assert len(taught) == len(boxes)
    assert taught.rest.sum() == 0
    assert taught.thing.sum() > 0.9 * len(frame.cloud.points)
    taught.save(tmp_path / "a.npz")
    loaded = Lessons.load(tmp_path / "a.npz")
    for name in ("thing", "rest", "known", "length", "anywhere", "speed", "label"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(taught, name))
    far = replace(boxes, centers=boxes.centers + 200)
    assert len(lessons_of(frame, far, TINY)) == 0


def test_a_shown_thing_goes_at_the_speed_it_is_said_to() -> None:
    taught = lessons(range(4))
    course = Course(refiner(), taught, Training(thinned=0, stretch=0, shift_m=0, shift_s=0, sheared=1))
    rows = np.arange(len(taught))
    trails, lengths, _, aim = course._shown(rows, anywhere=False, rng=np.random.default_rng(0))
    speeds = torch.arange(-12, 13.0)
    straight = straightened(trails, seen_to(lengths), speeds, TINY.layout, TINY.bins).expm1().unflatten(2, (10, 12))
    best = speeds[straight.std(dim=2).sum(dim=2).argmin(dim=1)]
    assert (best - aim).abs().median() < 0.6


def test_a_single_cloud_tells_no_speed() -> None:
    rng = np.random.default_rng(0)
    boxes = cars(rng)
    frame = frame_of(boxes, rng)
    newest = frame.cloud.points[frame.cloud.points[:, 4] == 0]
    same(refiner().refine(replace(frame, cloud=PointCloud(newest)), boxes), boxes)


def test_what_creeps_stands() -> None:
    rng = np.random.default_rng(0)
    boxes = cars(rng)
    still = refiner(still=(100.0, 100.0)).refine(frame_of(boxes, rng), boxes)
    assert not still.velocities.any()
    np.testing.assert_array_equal(still.yaws, boxes.yaws)


def test_small_things_get_a_second_way_across() -> None:
    boxes = cars(np.random.default_rng(0), 4)
    boxes = replace(boxes, labels=np.array([CAR, PEDESTRIAN, CAR, PEDESTRIAN]))
    ways = ways_of(boxes, TINY)
    assert ways.rows.tolist() == [0, 1, 2, 3, 1, 3]
    assert ways.across.tolist() == [False] * 4 + [True] * 2
    np.testing.assert_allclose(ways.angles[4:], boxes.yaws[[1, 3]] + np.pi / 2)
    assert known_of(boxes, ways, np.zeros((6, 10, 160), np.uint8)).shape == (6, len(CLASS_NAMES) + 6)


def test_settings_that_contradict_are_refused() -> None:
    data = tiny_data(cameras=False, head="centerpoint")
    data["refiners"] = [{"name": "motion", "along": ["car"], "anywhere": ["car"]}]
    with pytest.raises(InputError, match="car"):
        parse_config(data)
    data["refiners"] = [{"name": "motion"}, {"name": "motion"}]
    with pytest.raises(InputError, match="once"):
        parse_config(data)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_made_ready_it_says_what_it_said_before(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    boxes, motion = cars(rng), refiner()
    ways = ways_of(boxes, TINY)
    trails = trails_of(frame_of(boxes, rng).cloud.points, boxes, ways, TINY)
    lengths, known = torch.from_numpy(ways.lengths).float(), torch.from_numpy(known_of(boxes, ways, trails))
    given = (torch.from_numpy(trails), lengths, known, motion.speeds(False))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        before, after = motion(*given).float(), for_inference(motion)(*given)
    off = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(after, before, atol=off, rtol=off)
