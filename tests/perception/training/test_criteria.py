"""Training criteria: what every head's promises, and either one against its definition on small cases."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import parse_config, plugin_names
from perception.model.grid import BevGrid
from perception.nuscenes import CLASS_NAMES as CLASSES
from perception.ops.overlap import iou_3d
from perception.training.assignment import CostSettings, assign
from perception.training.criteria.centerpoint import nearer_heading
from perception.training.heatmaps import heatmap_targets
from perception.training.settings import TrainingSettings
from perception.training.trainee import criterion_settings
from perception.types import Boxes3D
from tests.perception.training.scenes import random_boxes
from tests.tiny import HEADS, settled, tiny_config, tiny_data

GRID = BevGrid(-40.0, -40.0, 2.5, 32, 32)
CODE_WEIGHTS = [1.0] * 8 + [0.2, 0.2]
each_head = pytest.mark.parametrize("name", plugin_names("perception.model.heads"))


def head_and_criterion(name: str) -> tuple[Any, Any]:
    config = tiny_config(head=name).model_copy(update={"training": TrainingSettings()})
    head = settled(config.head.build(6, GRID, CLASSES))
    return head, criterion_settings(config).build(head)


def values(criterion: Any, outputs: Any, truth: list[Boxes3D]) -> dict[str, float]:
    terms = criterion(outputs, truth)
    return {name: (t.total / max(t.count, 1)).item() for name, t in zip(criterion.names, terms, strict=True)}


# All


def test_every_head_has_a_criterion_of_its_name():
    assert plugin_names("perception.training.criteria") == plugin_names("perception.model.heads")
    assert set(HEADS) == set(plugin_names("perception.model.heads"))


@each_head
def test_every_weight_of_the_head_learns(name):
    head, criterion = head_and_criterion(name)
    terms = criterion(head(torch.randn(2, 6, 32, 32)), [random_boxes(11), random_boxes(7, seed=1)])
    sum(term.total for term in terms).backward()
    without = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@each_head
def test_frames_without_objects_cost_what_is_seen_in_them(name):
    head, criterion = head_and_criterion(name)
    found = values(criterion, head(torch.randn(1, 6, 32, 32)), [random_boxes(0)])
    assert all(math.isfinite(value) for value in found.values())
    assert all((value == 0) == term.startswith("box") for term, value in found.items())


@each_head
def test_frames_of_a_batch_add_up(name):
    head, criterion = head_and_criterion(name)
    head.eval()
    bev, truth = torch.randn(2, 6, 32, 32), [random_boxes(11), random_boxes(7, seed=1)]
    together = criterion(head(bev), truth)
    alone = [criterion(head(bev[i : i + 1]), truth[i : i + 1]) for i in range(2)]
    for both, first, second in zip(together, *alone, strict=True):
        assert both.total.item() == pytest.approx((first.total + second.total).item(), rel=1e-4)
        assert both.count == first.count + second.count


def test_another_heads_criterion_is_refused():
    config = parse_config(tiny_data(head="transfusion") | {"training": {"criterion": {"name": "centerpoint"}}})
    with pytest.raises(
        InputError, match=r"training\.criterion\.name: expected the head's, transfusion, got centerpoint"
    ):
        criterion_settings(config)


# CenterPoint


def centerpoint_loops(outputs: Any, truth: list[Boxes3D], groups: list[list[int]]) -> dict[str, float]:
    """The definition, object by object: CenterPoint's losses as mmdetection3d's CenterHead has them."""
    found = {}
    for g, labels in enumerate(groups):
        heat_total, positives, box_total, objects = 0.0, 0, 0.0, 0
        for frame, boxes in enumerate(truth):
            target = heatmap_targets([boxes], GRID, 0.1, 2)[0].numpy()
            for label in labels:
                for p, y in zip(
                    outputs.heatmap[frame, label].sigmoid().flatten().tolist(), target[label].flat, strict=True
                ):
                    p = min(max(p, 1e-4), 1 - 1e-4)
                    heat_total -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
                    positives += y == 1
            for i in range(len(boxes)):
                if boxes.labels[i] not in labels:
                    continue
                x, y = ((boxes.centers[i, axis] + 40) / 2.5 for axis in (0, 1))
                cell = (frame, g, slice(None), int(x), int(y))
                names = ("offset", "height", "dim", "rot", "vel")
                said = torch.cat([getattr(outputs, name)[cell] for name in names]).tolist()
                yaw = boxes.yaws[i]
                wanted = [x - int(x), y - int(y), boxes.centers[i, 2], *np.log(boxes.sizes[i])]
                wanted += [math.sin(yaw), math.cos(yaw), *boxes.velocities[i]]
                known = [not math.isnan(value) for value in wanted]
                rows = zip(said, wanted, CODE_WEIGHTS, known, strict=True)
                box_total += sum(weight * abs(a - b) for a, b, weight, is_known in rows if is_known)
                objects += 1
        found[f"heatmap_{g}"], found[f"box_{g}"] = heat_total / max(positives, 1), 0.25 * box_total / max(objects, 1)
    return found


def test_centerpoint_is_its_definition():
    head, criterion = head_and_criterion("centerpoint")
    truth = [random_boxes(13), random_boxes(4, seed=1)]
    with torch.no_grad():
        outputs = head(torch.randn(2, 6, 32, 32))
    assert values(criterion, outputs, truth) == pytest.approx(centerpoint_loops(outputs, truth, head.labels), rel=1e-5)


def test_headings_in_doubt_keep_their_axis():
    target = torch.zeros(2, 10, dtype=torch.float64)
    target[:, 6], target[:, 7] = torch.tensor([0.6, -0.6]), torch.tensor([0.8, -0.8])  # one way and the other
    losses = {}
    for name, heading in {"committed": (0.6, 0.8), "neither": (0.0, 0.0), "across": (0.8, -0.6)}.items():
        predicted = torch.zeros(2, 10, dtype=torch.float64)
        predicted[:, 6:8] = torch.tensor(heading)
        nearer = nearer_heading(predicted, target)
        assert torch.equal(nearer[:, :6], target[:, :6])
        losses[name] = float((predicted - nearer).abs().sum())
    assert losses["committed"] == pytest.approx(0)
    assert losses["neither"] > 1
    assert losses["across"] > 1


def test_the_share_that_faces_concerns_headings_alone():
    head, published = head_and_criterion("centerpoint")
    forgiving = published.settings.model_copy(update={"facing": 0.6}).build(head)
    truth = [random_boxes(13), random_boxes(4, seed=1)]
    with torch.no_grad():
        outputs = head(torch.randn(2, 6, 32, 32))
        before, after = values(published, outputs, truth), values(forgiving, outputs, truth)
        assert all((after[name] < before[name]) == name.startswith("box") for name in before)
        outputs.rot[:] = 0
        assert values(forgiving, outputs, truth) == pytest.approx(values(published, outputs, truth))


def test_velocities_of_what_moves_may_count_more():
    head, published = head_and_criterion("centerpoint")
    boxes = random_boxes(13)
    standing, moving = (dataclasses.replace(boxes, velocities=np.full((13, 2), speed)) for speed in (0.3, 0.4))
    with torch.no_grad():
        outputs = head(torch.randn(1, 6, 32, 32))
        outputs.vel[:] = 0
        for truth, moves in ((standing, 0.0), (moving, 1.0)):
            losses = [
                values(published.settings.model_copy(update={"moving_weight": weight}).build(head), outputs, [truth])
                for weight in (1.0, 3.0)
            ]
            speed = truth.velocities[0, 0]
            for name, labels in zip(("box_0", "box_1"), head.labels, strict=False):
                count = int(np.isin(boxes.labels, labels).any())
                extra = 0.25 * 0.2 * 2 * (2 * speed) * moves * count
                assert losses[1][name] - losses[0][name] == pytest.approx(extra, abs=1e-5)


def test_centerpoint_finds_what_its_targets_say():
    """Outputs that cost nothing decode to the truth."""
    head, criterion = head_and_criterion("centerpoint")
    with torch.no_grad():
        outputs = head(torch.zeros(1, 6, 32, 32))
    truth = apart(random_boxes(10))
    outputs.heatmap[:] = torch.where(heatmap_targets([truth], GRID, 0.1, 2) == 1, 12.0, -12.0)
    for i, (x, y) in enumerate((truth.centers[:, :2] + 40) / 2.5):
        g = next(g for g, labels in enumerate(head.labels) if truth.labels[i] in labels)
        cell = (0, g, slice(None), int(x), int(y))
        outputs.offset[cell] = torch.tensor([x % 1, y % 1])
        outputs.height[cell] = truth.centers[i, 2]
        outputs.dim[cell] = torch.from_numpy(np.log(truth.sizes[i])).float()
        outputs.rot[cell] = torch.tensor([np.sin(truth.yaws[i]), np.cos(truth.yaws[i])]).float()
        outputs.vel[cell] = torch.from_numpy(truth.velocities[i]).float()
    assert values(criterion, outputs, [truth]) == pytest.approx(dict.fromkeys(criterion.names, 0), abs=1e-3)
    found = head.decode(outputs)[0]
    assert_same_boxes(found.select(found.scores > 0.5), truth)


# TransFusion


def transfusion_loops(outputs: Any, truth: list[Boxes3D]) -> dict[str, float]:
    """The definition: every assignment tried, every query looked at, as mmdetection3d's TransFusionHead has them."""
    heat_total, positives, class_total, box_total, matched = 0.0, 0, 0.0, 0.0, 0
    for frame, boxes in enumerate(truth):
        target = heatmap_targets([boxes], GRID, 0.1, 2)[0].numpy()
        for p, y in zip(outputs.heatmap[frame].sigmoid().flatten().tolist(), target.flat, strict=True):
            p = min(max(p, 1e-4), 1 - 1e-4)
            heat_total -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
            positives += y == 1
        said = (
            torch.cat([getattr(outputs, n)[frame] for n in ("center", "height", "dim", "rot", "vel")])
            .T.double()
            .numpy()
        )
        chances = outputs.logits[frame].sigmoid().T.double().numpy()  # (P, classes)
        cost = costs(said, chances, boxes)
        choice = min(
            itertools.permutations(range(len(said)), len(boxes)), key=lambda rows: sum(cost[rows, range(len(boxes))])
        )
        wanted = dict(zip(choice, range(len(boxes)), strict=True))
        for query, row in enumerate(said):
            for label, p in enumerate(chances[query]):
                right = query in wanted and boxes.labels[wanted[query]] == label
                class_total -= 0.25 * (1 - p) ** 2 * math.log(p) if right else 0.75 * p**2 * math.log(1 - p)
            if query in wanted:
                i = wanted[query]
                goal = [*((boxes.centers[i, :2] + 40) / 2.5), boxes.centers[i, 2], *np.log(boxes.sizes[i])]
                goal += [math.sin(boxes.yaws[i]), math.cos(boxes.yaws[i]), *boxes.velocities[i]]
                box_total += np.nansum(np.abs(row - goal) * CODE_WEIGHTS)
                matched += 1
    found = {"heatmap": heat_total / max(positives, 1), "class": class_total / max(matched, 1)}
    return found | {"box": 0.25 * box_total / max(matched, 1)}


def costs(said: np.ndarray, chances: np.ndarray, boxes: Boxes3D) -> np.ndarray:
    """0.15 focal + 0.25 city-block distance in parts of the map - 0.25 overlap, one pair at a time."""
    cost = np.zeros((len(said), len(boxes)))
    for i, j in np.ndindex(cost.shape):
        p = chances[i, boxes.labels[j]]
        focal = -0.25 * (1 - p) ** 2 * np.log(p + 1e-12) + 0.75 * p**2 * np.log(1 - p + 1e-12)
        center = said[i, :2] * 2.5 - 40
        distance = np.abs(center - boxes.centers[j, :2]).sum() / 80
        box = [*center, said[i, 2], *np.exp(said[i, 3:6]), math.atan2(said[i, 6], said[i, 7])]
        true = [*boxes.centers[j], *boxes.sizes[j], boxes.yaws[j]]
        overlap = iou_3d(torch.tensor([box]), torch.tensor([true])).item()
        cost[i, j] = 0.15 * focal + 0.25 * distance - 0.25 * overlap
    return cost


def test_transfusion_is_its_definition():
    head, criterion = head_and_criterion("transfusion")
    truth = [random_boxes(3), random_boxes(2, seed=1)]
    with torch.no_grad():
        outputs = head(torch.randn(2, 6, 32, 32))
    few = {"proposal_scores": 6, "logits": 6, "center": 6, "height": 6, "dim": 6, "rot": 6, "vel": 6}
    few = {name: getattr(outputs, name)[..., :count] for name, count in few.items()}  # all assignments can be tried
    few["dim"] = few["dim"].clamp(-1, 2)
    few["center"][:, :, :2] = torch.from_numpy((truth[0].centers[:2, :2].T + 40) / 2.5)  # some that overlap
    few["dim"][:, :, :2], few["height"][:] = 1.5, -1.0
    outputs = dataclasses.replace(outputs, **few)
    assert values(criterion, outputs, truth) == pytest.approx(transfusion_loops(outputs, truth), rel=1e-5)


def test_transfusion_finds_what_its_targets_say():
    head, criterion = head_and_criterion("transfusion")
    with torch.no_grad():
        outputs = head(torch.zeros(1, 6, 32, 32))
    truth = random_boxes(10)  # of 12 queries
    outputs.heatmap[:] = torch.where(heatmap_targets([truth], GRID, 0.1, 2) == 1, 12.0, -12.0)
    outputs.logits[:] = -12
    outputs.proposal_scores[:], outputs.proposal_labels[0, :10] = 1, torch.from_numpy(truth.labels)
    for query in range(10):
        outputs.logits[0, truth.labels[query], query] = 12
        outputs.center[0, :, query] = torch.from_numpy((truth.centers[query, :2] + 40) / 2.5).float()
        outputs.height[0, 0, query] = truth.centers[query, 2]
        outputs.dim[0, :, query] = torch.from_numpy(np.log(truth.sizes[query])).float()
        outputs.rot[0, :, query] = torch.tensor([np.sin(truth.yaws[query]), np.cos(truth.yaws[query])]).float()
        outputs.vel[0, :, query] = torch.from_numpy(truth.velocities[query]).float()
    assert values(criterion, outputs, [truth]) == pytest.approx(dict.fromkeys(criterion.names, 0), abs=1e-3)
    found = head.decode(outputs)[0]
    assert_same_boxes(found.select(found.scores > 0.5), truth)


def test_more_objects_than_queries_leave_some_objects_out():
    head, criterion = head_and_criterion("transfusion")
    _, class_term, box_term = criterion(head(torch.randn(1, 6, 32, 32)), [random_boxes(30)])
    assert class_term.count == box_term.count == 12


def test_predictions_that_are_not_finite_are_left_to_the_loss():
    boxes = torch.tensor([[float("nan")] * 7, [0.0, 0, 0, 1, 1, 1, 0]])
    queries, objects = assign(boxes, torch.zeros(2, 3), boxes[1:], torch.tensor([2]), GRID, CostSettings())
    assert (queries.tolist(), objects.tolist()) == ([1], [0])


def apart(boxes: Boxes3D, least: float = 8.0) -> Boxes3D:
    """Those of the boxes that are further than this from all before them."""
    kept: list[int] = []
    for i, center in enumerate(boxes.centers[:, :2]):
        if all(np.linalg.norm(center - boxes.centers[j, :2]) > least for j in kept):
            kept.append(i)
    assert len(kept) > 4
    return boxes.select(np.array(kept))


def assert_same_boxes(found: Boxes3D, truth: Boxes3D) -> None:
    """In whatever order; unknown velocities may be anything."""
    assert len(found) == len(truth)
    rows = np.linalg.norm(found.centers[:, None] - truth.centers[None], axis=2).argmin(axis=0)
    found = found.select(rows)
    np.testing.assert_array_equal(found.labels, truth.labels)
    np.testing.assert_allclose(found.centers, truth.centers, atol=1e-4)
    np.testing.assert_allclose(found.sizes, truth.sizes, rtol=1e-4)
    np.testing.assert_allclose(found.yaws, truth.yaws, atol=1e-4)
    known = ~np.isnan(truth.velocities)
    np.testing.assert_allclose(found.velocities[known], truth.velocities[known], atol=1e-4)
