"""The made-up keyframe: the same every time, and as much work as a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.benchmark.frame import made_up_frame
from perception.config import load_config
from perception.prepare import prepare, resized_window
from tests.tiny import CAMERAS, tiny_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def test_it_is_the_same_every_time() -> None:
    one, other = (made_up_frame(tiny_config()) for _ in range(2))
    np.testing.assert_array_equal(one.cloud.points, other.cloud.points)
    for name in CAMERAS:
        np.testing.assert_array_equal(one.cameras[name].image, other.cameras[name].image)


def test_it_holds_what_the_configuration_asks_for() -> None:
    assert tuple(made_up_frame(tiny_config()).cameras) == CAMERAS
    assert made_up_frame(tiny_config(lidar=False)).cloud is None
    assert not made_up_frame(tiny_config(cameras=False)).cameras
    ages = made_up_frame(tiny_config()).cloud.points[:, 4]
    np.testing.assert_allclose(np.unique(ages), [0, 0.05])  # the tiny one's two sweeps


def test_its_cloud_is_as_large_as_a_real_one_of_ten_sweeps() -> None:
    config = load_config(CONFIGS / "bevfusion_lidar.yaml")
    (points,) = prepare([made_up_frame(config)], config).clouds
    assert 200_000 < len(points) < 350_000
    assert points[:, 2].min() > -2.5
    under_the_car = points[:, :2].norm(dim=1) < 1
    assert (points[under_the_car, 2] < -1.7).all()  # road that earlier sweeps saw


@pytest.mark.parametrize("name", CAMERAS)
def test_its_images_have_texture_and_its_cameras_see_the_cloud(name: str) -> None:
    config = tiny_config()
    frame = made_up_frame(config)
    camera = frame.cameras[name]
    assert resized_window(camera.image, config.images).std() > 10
    pixels = camera.intrinsics.project(camera.camera_from_lidar.apply(frame.cloud.points[:, :3]))
    inside = (pixels > 0).all(axis=1) & (pixels < (camera.intrinsics.width, camera.intrinsics.height)).all(axis=1)
    assert inside.mean() > 0.05
