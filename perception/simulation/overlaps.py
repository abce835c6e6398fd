"""No two things in one place: who would drive through another is taken out of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.simulation.agents import Agent, Motion

CHECK_EVERY_S = 0.25


def without_overlaps(agents: Sequence[Agent], ego: Motion, seconds: float) -> list[Agent]:
    """Those agents that never, from 0 to `seconds`, touch the car with the sensors or an earlier agent."""
    kept, times = [], np.arange(-0.1, seconds + 0.2, CHECK_EVERY_S)
    ego_poses = ego.poses(times)
    heading = ego_poses[:, 2]
    ego_poses = ego_poses + np.stack([1.35 * np.cos(heading), 1.35 * np.sin(heading), 0 * heading], axis=1)
    tracks, sizes = [ego_poses], [np.array([4.6, 2.1])]
    for agent in agents:
        still = agent.motion is None
        track = np.tile(agent.place, (len(times), 1)) if still else agent.motion.poses(times)
        size = np.array(agent.model.size[:2])
        if not any(_touch(track, size, other, its) for other, its in zip(tracks, sizes, strict=True)):
            kept.append(agent)
            tracks.append(track)
            sizes.append(size)
    return kept


def _touch(track: np.ndarray, size: np.ndarray, other: np.ndarray, its: np.ndarray) -> bool:
    near = np.hypot(*(track[:, :2] - other[:, :2]).T) < (np.hypot(*size) + np.hypot(*its)) / 2
    return any(rectangles_touch(a, size, b, its) for a, b in zip(track[near], other[near], strict=True))


def rectangles_touch(first: np.ndarray, size: np.ndarray, second: np.ndarray, its: np.ndarray) -> bool:
    """Whether two rectangles, x, y, heading and length, width, overlap (separating axes)."""
    offset = second[:2] - first[:2]
    for heading in (first[2], second[2]):
        for axis in (np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])):
            if abs(offset @ axis) > _radius(first[2], size, axis) + _radius(second[2], its, axis):
                return False
    return True


def _radius(heading: float, size: np.ndarray, axis: np.ndarray) -> float:
    along = abs(np.cos(heading) * axis[0] + np.sin(heading) * axis[1])
    across = abs(-np.sin(heading) * axis[0] + np.cos(heading) * axis[1])
    return float(size[0] * along + size[1] * across) / 2
