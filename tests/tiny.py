"""A detector small enough to run in a blink, and frames for it: real code, small numbers.

It takes the classes, the cameras and the range of nuScenes, so that commands run it on real and made-up data alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.config import DetectorConfig, parse_config
from perception.model.network import Network
from perception.nuscenes import CLASS_NAMES
from perception.types import CameraImage, Frame, PointCloud

AZIMUTHS_DEG = {  # in nuScenes' LiDAR frame: x right, y forward
    "CAM_FRONT": 90,
    "CAM_FRONT_RIGHT": 35,
    "CAM_FRONT_LEFT": 145,
    "CAM_BACK": -90,
    "CAM_BACK_LEFT": -160,
    "CAM_BACK_RIGHT": -20,
}
CAMERAS = tuple(AZIMUTHS_DEG)

LIDAR_SECTIONS = {
    "points": {"sweeps": 1},
    "lidar_encoder": {
        "name": "sparse",
        "stage_channels": [4, 8],
        "blocks_per_stage": 1,
        "down_padding_z": [1],
        "out_channels": 8,
    },
}
CAMERA_SECTIONS = {
    "images": {"cameras": list(CAMERAS), "resized_width": 96, "size": [88, 32]},
    "image_backbone": {
        "name": "swin",
        "channels": 8,
        "depths": [1, 2, 1],
        "heads": [1, 2, 2],
        "window": 4,
        "out_stages": [1, 2],
    },
    "image_neck": {"name": "generalized_lss_fpn", "out_channels": 8},
    "view_transform": {
        "name": "depth_lss",
        "out_channels": 8,
        "depth": [1.0, 41.0, 2.0],
        "lower": [-40.0, -40.0, -10.0],
        "upper": [40.0, 40.0, 10.0],
        "cell": 1.25,
    },
}
HEADS = {
    "transfusion": {"name": "transfusion", "hidden": 16, "proposals": 12, "attention_heads": 2, "ffn_channels": 16},
    "query": {"name": "query", "hidden": 16, "proposals": 12, "attention_heads": 2, "ffn_channels": 16},
    "centerpoint": {
        "name": "centerpoint",
        "shared_channels": 8,
        "candidates": 40,
        "max_boxes": 10,
        "groups": [
            {"classes": list(CLASS_NAMES[:5]), "nms_radius_m": 4.0},
            {"classes": list(CLASS_NAMES[5:]), "nms_radius_m": 0.5},
        ],
    },
}


def tiny_data(cameras: bool = True, lidar: bool = True, head: str = "transfusion") -> dict[str, Any]:
    """A configuration of these branches, as its YAML file holds it: 80 x 80 m in 32 x 32 BEV cells of 2.5 m."""
    data: dict[str, Any] = {
        "classes": list(CLASS_NAMES),
        "grid": {"lower": [-40.0, -40.0, -5.0], "upper": [40.0, 40.0, 3.0], "voxel": [1.25, 1.25, 0.8]},
        "bev_decoder": {
            "stage_channels": [8, 8],
            "stage_layers": [1, 1],
            "stage_strides": [1, 2],
            "out_channels": [8, 8],
        },
        "head": HEADS[head],
    }
    data |= LIDAR_SECTIONS if lidar else {}
    data |= CAMERA_SECTIONS if cameras else {}
    if cameras and not lidar:
        data["view_transform"] = data["view_transform"] | {"name": "lss"}  # without the LiDAR's depths
    data |= {"fuser": {"name": "conv", "out_channels": 8}} if cameras and lidar else {}
    return deepcopy(data)


def tiny_config(cameras: bool = True, lidar: bool = True, head: str = "transfusion") -> DetectorConfig:
    """The same, checked and typed."""
    return parse_config(tiny_data(cameras, lidar, head))


def tiny_yaml(path: Path, cameras: bool = True, lidar: bool = True, head: str = "transfusion") -> Path:
    """The same, written to a file -> its path."""
    path.write_text(yaml.safe_dump(tiny_data(cameras, lidar, head), sort_keys=False), encoding="utf-8")
    return path


def tiny_network(config: DetectorConfig, seed: int = 0) -> Network:
    """With random weights and BatchNorm statistics, the same for a seed, in evaluation mode."""
    torch.manual_seed(seed)
    return settled(Network(config)).eval()


def settled(module: nn.Module) -> nn.Module:
    """Give it weights that let signals through, and its BatchNorms statistics that do something, as training would."""
    for parameter in module.parameters():
        if not parameter.any():  # such as a gain that starts at zero
            nn.init.normal_(parameter, 0, 0.1)
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.8, 1.2)
            nn.init.normal_(part.bias, 0, 0.1)
    return module


def tiny_frame(
    seed: int = 0,
    cameras: Sequence[str] = CAMERAS,
    points: int | None = 400,  # None for no cloud
    size: tuple[int, int] = (160, 90),  # px, width and height
) -> Frame:
    """Random points, and random images of cameras that look outwards all around."""
    rng = np.random.default_rng(seed)
    width, height = size
    intrinsics = Intrinsics(width, height, 0.8 * width, 0.8 * width, (width - 1) / 2, (height - 1) / 2)
    images = {name: rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for name in cameras}
    cloud = None
    if points is not None:
        lower, upper = (-42, -42, -3, 0, 0), (42, 42, 1, 255, 0.5)
        cloud = PointCloud(rng.uniform(lower, upper, (points, 5)).astype(np.float32))
    return Frame(
        stamp_ns=1_532_402_927_647_951_000,
        token=f"frame{seed}",
        cameras={name: CameraImage(images[name], 0, intrinsics, camera_from_lidar(name)) for name in cameras},
        cloud=cloud,
        ego_from_lidar=Transform(np.eye(3), (0.9, 0.0, 1.8)),
    )


def camera_from_lidar(name: str) -> Transform:
    """A camera half a metre in front of the LiDAR, in the direction that its name says."""
    azimuth = np.radians(AZIMUTHS_DEG[name])
    forward = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    right, down = np.array([forward[1], -forward[0], 0]), np.array([0, 0, -1])
    return Transform(np.stack([right, down, forward], axis=1), 0.5 * forward).inverse()
