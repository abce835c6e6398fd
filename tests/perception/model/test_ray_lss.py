"""The view transform for cameras alone: where rays meet the road."""

import numpy as np
import torch

from perception.config import parse_config
from perception.model.network import Network
from perception.model.view_transforms.ray_lss import road_depths
from perception.prepare import prepare
from tests.tiny import tiny_data, tiny_frame

ROAD_Z = -1.5


def view_transform():
    data = tiny_data(lidar=False)
    data["view_transform"] |= {"name": "ray_lss", "road_z": ROAD_Z}
    config = parse_config(data)
    return config, Network(config).camera_branch.view_transform


def test_a_point_on_the_road_is_where_its_pixel_meets_the_road():
    config, transform = view_transform()
    frame = tiny_frame(points=None)
    batch = prepare([frame], config)
    rises, heights = transform.road_rises(batch)
    depths = (ROAD_Z - heights[:, None]) / rises
    below = (rises < -0.02).nonzero()
    assert len(below) > 50
    for image, pixel in below.tolist():
        camera_from_input = np.linalg.inv((batch.input_from_image[image] @ batch.image_from_camera[image]).numpy())
        point = camera_from_input @ np.append(transform.pixels[pixel], 1) * depths[image, pixel].item()
        lidar_from_camera = np.linalg.inv(batch.camera_from_lidar[image].numpy())
        np.testing.assert_allclose((lidar_from_camera @ np.append(point, 1))[2], ROAD_Z, atol=1e-3)


def test_the_distribution_peaks_at_the_roads_depth_and_is_empty_above_the_horizon():
    depths = torch.arange(1.0, 41.0, 2.0)
    rises, heights = torch.tensor([[-0.15, 0.0, 0.2, -0.01]]), torch.tensor([0.0])
    road = road_depths((rises, heights), ROAD_Z, depths)
    assert road.shape == (1, 4, len(depths))
    torch.testing.assert_close(road.sum(dim=-1), torch.tensor([[1.0, 0, 0, 0]]))  # the last one's road is 150 m away
    assert abs(depths[road[0, 0].argmax()] - 10) <= 1
