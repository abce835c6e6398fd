"""The parity data: the reference detector's weights and input, and what it made of them (see its README).

Everything here is made once a session and shared: don't change it.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from perception.checkpoints.mmdetection3d import native_name
from perception.checkpoints.native import Comparison, require_complete
from perception.config import DetectorConfig, load_config
from perception.model.batch import Batch
from perception.model.network import Network
from perception.prepare import points_in_range
from perception.types import PointCloud
from tests.data import GOLDEN

CONFIGS = {"lidar": "bevfusion_lidar.yaml", "lidar-cam": "bevfusion_lidar_camera.yaml"}
SEED = 0


def golden_config(kind: str) -> DetectorConfig:
    """The public configuration, of "lidar" or "lidar-cam"."""
    return load_config(Path(__file__).resolve().parents[1] / "configs" / CONFIGS[kind])


def golden_state_dict(kind: str) -> dict[str, torch.Tensor]:
    """The reference's weights under their public names."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    made = weights.state_dict(GOLDEN / f"{kind}.state_dict.json", SEED)
    return {name: torch.from_numpy(values) for name, values in made.items()}


@lru_cache
def golden_network(kind: str) -> Network:
    """Our network with the reference's weights, in evaluation mode."""
    network = Network(golden_config(kind))
    weights = {native_name(name): tensor for name, tensor in golden_state_dict(kind).items()}
    require_complete(Comparison.of(network, weights), kind)
    network.load_state_dict(weights)
    return network.eval()


@lru_cache
def golden_inputs() -> dict[str, np.ndarray]:
    """frame_inputs.npz."""
    with np.load(GOLDEN / "frame_inputs.npz") as file:
        return dict(file)


@lru_cache
def golden_results(kind: str) -> dict[str, np.ndarray]:
    """What the reference computed."""
    with np.load(GOLDEN / f"{kind}.seed{SEED}.npz") as file:
        return dict(file)


@lru_cache
def golden_batch(kind: str) -> Batch:
    """The network's input, from the arrays that the reference was given."""
    inputs, config = golden_inputs(), golden_config(kind)
    cloud = torch.from_numpy(points_in_range(PointCloud(inputs["points"]), config.grid))
    if not config.uses_cameras:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Batch(1, (cloud,), torch.zeros(0, 3, 0, 0), nothing, *(torch.zeros(0, n, n).double() for n in (4, 3, 3)))
    images = (inputs["images"] - np.float32(config.images.mean)) / np.float32(config.images.std)
    return Batch(
        size=1,
        clouds=(cloud,),
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        image_frame=torch.zeros(len(images), dtype=torch.int64),
        camera_from_lidar=torch.from_numpy(np.linalg.inv(inputs["cam2lidar"])),
        image_from_camera=torch.from_numpy(inputs["cam2img"][:, :3, :3]),
        input_from_image=torch.from_numpy(golden_input_from_image()),
    )


def golden_input_from_image() -> np.ndarray:
    """The images' pixel transforms (6, 3, 3): the reference keeps the shift of a 2D transform in a fourth column."""
    augmentation = golden_inputs()["img_aug"]
    matrices = augmentation[:, :3, :3].copy()
    matrices[:, :2, 2] = augmentation[:, :2, 3]
    return matrices
