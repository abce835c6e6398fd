"""Depth supervision: what the LiDAR measured, at the feature pixel it was measured at."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import parse_config
from perception.model.batch import Batch
from perception.training.depth import depth_target, depth_term
from perception.training.examples import ExampleMaker, merged
from perception.training.settings import TrainingSettings
from perception.training.trainee import Trainee
from tests.perception.training.scenes import scene
from tests.tiny import tiny_config, tiny_data

DEPTHS = torch.arange(1.0, 41.0, 2.0)


def batch_of(points: list[tuple[float, ...]]) -> Batch:
    """A camera at the LiDAR's place that looks along +x: u = 32 - 32 y / x, v = 16 - 32 z / x, of 64 x 32 pixels."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    matrix = torch.tensor([[32.0, 0, 32], [0, 32, 16], [0, 0, 1]], dtype=torch.float64)
    cloud, eye = torch.tensor(points).reshape(-1, 5), torch.eye(3, dtype=torch.float64)
    return Batch(
        1, (cloud,), torch.zeros(1, 3, 32, 64), torch.zeros(1, dtype=torch.int64), pose[None], matrix[None], eye[None]
    )


def test_the_nearest_new_point_of_a_square_counts():
    points = [(10.0, 0, 0, 9, 0), (6.0, 0, 0, 9, 0), (3.0, 0, 0, 9, 0.05), (20.0, 10, 5, 9, 0)]
    target = depth_target(batch_of(points), (64, 32), 8)
    assert target.shape == (1, 4, 8)
    assert target[0, 2, 4] == 6
    assert target[0, 1, 2] == 20
    assert (target > 0).sum() == 2


def test_without_points_nothing_is_known():
    assert not depth_target(batch_of([]), (64, 32), 8).any()


def test_the_loss_is_the_cross_entropy_at_the_nearest_depth():
    logits = torch.randn(1, 20, 4, 8, requires_grad=True)
    target = torch.zeros(1, 4, 8)
    target[0, 1, 2], target[0, 3, 3], target[0, 0, 0] = 5.9, 6.1, 80.0  # bins 2 and 3; nothing is as far as the last
    term = depth_term(logits, target, DEPTHS)
    chances = logits.softmax(dim=1)
    expected = -chances[0, 2, 1, 2].log() - chances[0, 3, 3, 3].log()
    assert term.count == 2
    torch.testing.assert_close(term.total, expected)
    term.total.backward()
    assert (logits.grad.abs().sum(dim=1) > 0).sum() == 2


@pytest.mark.parametrize("lidar", [True, False])
def test_the_trainee_learns_the_depths_of_its_lift(lidar):
    config = tiny_config(lidar=lidar).model_copy(update={"training": TrainingSettings(depth_weight=2.0)})
    trainee = Trainee(config).train()
    maker = ExampleMaker(config, depth_stride=8)
    example = merged([maker(scene(seed), np.random.default_rng(seed)) for seed in range(2)])
    assert example.depth.shape == (12, 4, 11)
    assert trainee.names[-1] == "depth"
    totals, counts = trainee(example)
    assert counts[-1] == ((example.depth > 0) & (example.depth < 40)).sum()
    totals[-1].backward()
    assert trainee.network.camera_branch.view_transform.depth_net.parameters().__next__().grad.abs().sum() > 0
    blind = maker(replace(scene(), cameras={}), np.random.default_rng(0))
    assert trainee(blind)[1][-1] == 0


def test_depth_is_supervised_even_where_the_cloud_is_dropped():
    settings = TrainingSettings(depth_weight=1.0, dropout={"cloud": 1.0})
    config = tiny_config().model_copy(update={"training": settings})
    example = ExampleMaker(config, depth_stride=8)(scene(), np.random.default_rng(0))
    assert not len(example.batch.clouds[0])
    assert (example.depth > 0).any()


def test_a_detector_without_a_lift_has_no_depths_to_supervise():
    config = parse_config(tiny_data(cameras=False) | {"training": {"depth_weight": 1.0}})
    with pytest.raises(InputError, match=r"training\.depth_weight"):
        Trainee(config)
