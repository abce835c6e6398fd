"""Who of those that move can matter to a picture: the rest needn't be posed, nor rays cast at them."""

from __future__ import annotations

import math

import numpy as np

from calibration.transform import Transform
from perception.simulation.agents import Agent
from perception.simulation.rig import Lens
from perception.simulation.stage import Stage

REACH_M = 130.0  # movers farther away aren't drawn
LIMBS_M = 0.5  # how far limbs may swing out of a box


def concerned(
    stage: Stage, time: float, city_from_camera: Transform, optics: Lens, ambient_m: float
) -> list[tuple[Agent, np.ndarray]]:
    """Those who move and may be in the picture, or darken what is, with their poses x, y, heading.

    A ball around each, and its shadow's way to the ground, is held against the four sides of what the camera sees.
    Ambient shade reaches `ambient_m`.
    """
    poses = [(agent, agent.pose(time)) for agent in stage.moving]
    here = city_from_camera.translation[:2]
    poses = [(agent, pose) for agent, pose in poses if math.dist(pose[:2], here) < REACH_M]
    middles = np.array([(*pose[:2], agent.ground(time) + agent.model.size[2] / 2) for agent, pose in poses])
    radii = np.array([math.hypot(*agent.model.size) / 2 + LIMBS_M + ambient_m for agent, _ in poses])
    ends = np.stack([middles, middles]).reshape(2, -1, 3)
    if max(stage.conditions.sun) > 0:  # where a shadow ends
        sun = stage.conditions.sun_direction
        ends[1] -= ((ends[1, :, 2] + radii) / sun[2])[:, None] * sun
    inwards = optics.sides / np.linalg.norm(optics.sides, axis=1, keepdims=True)
    inside = city_from_camera.inverse().apply(ends) @ inwards.T > -radii[:, None]
    return [poses[k] for k in np.flatnonzero(inside.any(axis=0).all(axis=1))]


def nearest_movers(bounds: np.ndarray, city_from_camera: Transform, optics: Lens) -> np.ndarray:
    """How far off (H * W,) [m] a pixel may show anything in these bounds (M, 2, 3), at least; inf where it can't.

    A ray that something else stops before that needn't be cast at those who move.
    """
    nearest = np.full((optics.height, optics.width), np.inf, np.float32)
    corners = city_from_camera.inverse().apply(bounds[:, np.array(list(np.ndindex(2, 2, 2))), np.arange(3)])
    for low, high in zip(corners.min(axis=1), corners.max(axis=1), strict=True):
        if high[2] > 0:
            depths = max(low[2], 1e-3), high[2]
            first = np.min([low[:2] / depth for depth in depths], axis=0) * optics.focal + (optics.cx, optics.cy)
            last = np.max([high[:2] / depth for depth in depths], axis=0) * optics.focal + (optics.cx, optics.cy)
            size = optics.width, optics.height
            (left, top), (right, bottom) = (np.clip(edge, 0, size).astype(int) for edge in (first - 1, last + 2))
            there = nearest[top:bottom, left:right]
            np.minimum(there, np.linalg.norm(np.clip(0, low, high)) - 0.01, out=there)
    return nearest.ravel()
