"""No two things in one place: who would drive through another is taken out of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.simulation.agents import Agent, Motion

CHECK_EVERY_S = 0.25


def without_overlaps(agents: Sequence[Agent], ego: Motion, seconds: float) -> list[Agent]:
    """Those agents that never, from 0 to `seconds`, touch the car with the sensors or an earlier agent."""
    times = np.arange(-0.1, seconds + 0.2, CHECK_EVERY_S)
    tracks, sizes = np.empty((len(agents) + 1, len(times), 3)), np.empty((len(agents) + 1, 2))
    tracks[0], sizes[0] = ego.poses(times), (4.6, 2.1)
    heading = tracks[0, :, 2]
    tracks[0, :, :2] += 1.35 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    kept = []
    for agent in agents:
        last = len(kept) + 1
        tracks[last] = agent.place if agent.motion is None else agent.motion.poses(times)
        sizes[last] = agent.model.size[:2]
        if not _touches(tracks[: last + 1], sizes[: last + 1]):
            kept.append(agent)
    return kept


def _touches(tracks: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether the last of these ever touches another: tracks (M, K, 3) x, y, heading; sizes (M, 2)."""
    track, size, reaches = tracks[-1], sizes[-1], np.hypot(sizes[:, 0], sizes[:, 1]) / 2
    apart = np.hypot(tracks[:-1, :, 0] - track[:, 0], tracks[:-1, :, 1] - track[:, 1])
    near = np.nonzero(apart < (reaches[:-1] + reaches[-1])[:, None])
    return any(rectangles_touch(track[k], size, tracks[other, k], sizes[other]) for other, k in zip(*near, strict=True))


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
