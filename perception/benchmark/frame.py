"""A keyframe made up in code, the same every time: a street seen by a 32-beam LiDAR, and images of random texture.

It costs a detector what a real one does, and says nothing of what it finds.
"""

from __future__ import annotations

import cv2
import numpy as np

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.config import DetectorConfig
from perception.nuscenes import IMAGE_SIZE
from perception.types import CameraImage, Frame, PointCloud

SEED = 0
STAMP_NS = 1_532_402_927_647_951_000
FOCAL = 0.79  # of an image's width: nuScenes' cameras, 65 degrees wide, of which six see all around
TEXTURES_PX = (4, 16, 64, 256)  # grains

COLUMNS, ELEVATIONS_DEG = 1084, np.linspace(-30.67, 10.67, 32)  # of a turn of nuScenes' LiDAR
SWEEP_S, SPEED = 0.05, 6.0  # from sweep to sweep; m/s, along y
HEIGHT, REACH = 1.84, 70.0  # m, of the sensor above the road; how far it sees
FACADES, ROOFS = (-11.0, 14.0), 9.0  # m, x of the houses on either side; above the road
THINGS, THING_RADII, THING_HEIGHTS = 60, (0.2, 2.2), (0.9, 3.2)  # round ones, m
NOISE = 0.02  # m, standard deviation of a range


def made_up_frame(config: DetectorConfig) -> Frame:
    """With an image for each camera of the configuration, and as many sweeps as it asks for."""
    rng = np.random.default_rng(SEED)
    names = config.cameras
    cameras = {name: _camera(360 * number / len(names), rng) for number, name in enumerate(names)}
    cloud = PointCloud(made_up_points(config.points.sweeps + 1, rng)) if config.points is not None else None
    return Frame(STAMP_NS, "made-up", cameras, cloud, ego_from_lidar=Transform(np.eye(3), (0.94, 0.0, HEIGHT)))


def _camera(azimuth_deg: float, rng: np.random.Generator) -> CameraImage:
    """A camera that looks that far to the left of y, the way ahead in the lidar frame."""
    width, height = IMAGE_SIZE
    intrinsics = Intrinsics(width, height, FOCAL * width, FOCAL * width, (width - 1) / 2, (height - 1) / 2)
    sine, cosine = np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg))
    right, down, forward = (cosine, sine, 0), (0, 0, -1), (-sine, cosine, 0)
    lidar_from_camera = Transform(np.stack([right, down, forward], axis=1), 0.7 * np.array(forward) - (0, 0, 0.3))
    return CameraImage(_texture(width, height, rng), STAMP_NS, intrinsics, lidar_from_camera.inverse())


def _texture(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Image (H, W, 3) uint8: blotches of several sizes."""
    image = np.full((height, width, 3), 127.5, np.float32)
    for grain in TEXTURES_PX:
        coarse = rng.normal(0, 25, (height // grain + 2, width // grain + 2, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return image.clip(0, 255).astype(np.uint8)


def made_up_points(sweeps: int, rng: np.random.Generator) -> np.ndarray:
    """Points (N, 5) float32 of a road between houses with things on it: x, y, z [m], intensity [0-255], age [s].

    In the lidar frame at the last sweep, which is the first here; the car drove straight on.
    """
    things = _things(rng)
    turns = [_turn(SWEEP_S * number, things, rng) for number in range(sweeps)]
    return np.concatenate(turns).astype(np.float32)


def _things(rng: np.random.Generator) -> np.ndarray:
    """Upright cylinders (T, 4): x, y, radius, height above the road [m]; none where the car drives."""
    x = rng.uniform(3.0, FACADES[1], THINGS) * np.where(rng.random(THINGS) < 0.5, -1, 1)
    y, radius = rng.uniform(-REACH, REACH, THINGS), rng.uniform(*THING_RADII, THINGS)
    x = np.where(np.abs(x) < radius + 2.0, x + np.sign(x) * radius, x)
    return np.column_stack([x, y, radius, rng.uniform(*THING_HEIGHTS, THINGS)])


def _turn(age: float, things: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sweep's returns (n, 5), taken `age` seconds ago."""
    azimuths = 2 * np.pi * (np.arange(COLUMNS) + rng.random()) / COLUMNS
    directions = np.stack([np.cos(azimuths), np.sin(azimuths)], axis=1)  # (columns, 2)
    slopes = np.tan(np.radians(ELEVATIONS_DEG))
    behind = things - (0, -SPEED * age, 0, 0)  # where they were in that sweep's own frame
    distances = _nearest(directions, slopes, behind)  # (columns, rings), along the ground
    distances += rng.normal(0, NOISE, distances.shape)
    column, ring = np.nonzero(distances < REACH)
    reach = distances[column, ring]
    xy = directions[column] * reach[:, None] - (0, SPEED * age)
    rest = np.column_stack([reach * slopes[ring], rng.integers(0, 100, len(reach)), np.full(len(reach), age)])
    return np.column_stack([xy, rest])


def _nearest(directions: np.ndarray, slopes: np.ndarray, things: np.ndarray) -> np.ndarray:
    """How far along the ground (columns, rings) [m] each ray goes until it meets something; infinity: nothing."""
    road = np.where(slopes < 0, -HEIGHT / np.minimum(slopes, -1e-9), np.inf)
    nearest = np.broadcast_to(road, (len(directions), len(slopes)))
    with np.errstate(divide="ignore"):
        facade = np.where(directions[:, 0] < 0, FACADES[0], FACADES[1]) / directions[:, 0]
    nearest = np.minimum(nearest, _below(facade, slopes, ROOFS))
    for x, y, radius, height in things:
        along = directions @ (x, y)
        inside = radius**2 - (x**2 + y**2 - along**2)  # squared half chord
        near = along - np.sqrt(np.maximum(inside, 0))
        nearest = np.minimum(nearest, _below(np.where((inside > 0) & (near > 0), near, np.inf), slopes, height))
    return nearest


def _below(distances: np.ndarray, slopes: np.ndarray, height: float) -> np.ndarray:
    """The distances (columns,) for those rays that are below a height above the road there (columns, rings)."""
    distances = distances[:, None]
    with np.errstate(invalid="ignore"):
        rise = distances * slopes
    return np.where(rise < height - HEIGHT, distances, np.inf)
