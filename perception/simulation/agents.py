"""Everything that is annotated, and how it moves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from perception.simulation.meshes.model import Model
from perception.simulation.meshes.people import STRIDE_M, swung
from perception.simulation.routes import Route

MOVING_MPS = 0.2


class Role(Enum):
    """What an agent does, which its attribute follows from."""

    DRIVES = "drives"
    PARKED = "parked"
    RIDES = "rides"  # a cycle with its rider
    LEANS = "leans"  # a cycle without
    WALKS = "walks"  # or waits to
    SITS = "sits"
    LIES = "lies there"  # barriers and cones


@dataclass(frozen=True, eq=False)
class Motion:
    """A way and how far along it one is at which time."""

    route: Route
    times: np.ndarray  # (K,) [s]
    along: np.ndarray  # (K,) [m]
    speeds: np.ndarray  # (K,) [m/s]

    def poses(self, times: np.ndarray | float) -> np.ndarray:
        """x, y, heading (..., 3) at these times."""
        return self.route.at(self.travelled(times))

    def travelled(self, times: np.ndarray | float) -> np.ndarray:
        """Metres along the route; cubic between the simulation's steps, so that speed is continuous."""
        times = np.minimum(np.maximum(times, self.times[0]), self.times[-1])
        k = np.minimum(np.maximum(self.times.searchsorted(times, side="right") - 1, 0), len(self.times) - 2)
        step = self.times[k + 1] - self.times[k]
        u = (times - self.times[k]) / step
        a, b = self.along[k], self.along[k + 1]
        va, vb = self.speeds[k] * step, self.speeds[k + 1] * step
        hermite = (2 * u**3 - 3 * u**2 + 1) * a + (u**3 - 2 * u**2 + u) * va
        return hermite + (3 * u**2 - 2 * u**3) * b + (u**3 - u**2) * vb

    def speed(self, time: float) -> float:
        return float(np.interp(time, self.times, self.speeds))

    def acceleration(self, times: np.ndarray | float) -> np.ndarray:
        """Smoothed over about half a second."""
        times = np.asarray(times, float)
        after, before = (np.interp(times + shift, self.times, self.speeds) for shift in (0.25, -0.25))
        return (after - before) / 0.5


@dataclass(frozen=True, eq=False)
class Agent:
    """One object; `motion` is None where it stays."""

    number: int  # of its instance in the scene, from 1
    model: Model
    role: Role
    place: tuple[float, float, float]  # x, y, heading where it stays
    motion: Motion | None = None
    base: float = 0.0  # z of the ground it is on

    def pose(self, time: float) -> np.ndarray:
        """x, y, heading (3,) of its box's centre."""
        return np.array(self.place) if self.motion is None else self.motion.poses(time)

    def ground(self, time: float) -> float:
        """Height of what it stands on."""
        if self.motion is None or self.motion.route.heights is None:
            return self.base
        return float(np.interp(self.motion.travelled(time), self.motion.route.along, self.motion.route.heights))

    def speed(self, time: float) -> float:
        return 0.0 if self.motion is None else self.motion.speed(time)

    def braking(self, time: float) -> bool:
        """Whether its brake lights are on."""
        if self.motion is None or self.role is not Role.DRIVES:
            return False
        return self.speed(time) < 0.3 or float(self.motion.acceleration(time)) < -0.6

    def vertices(self, time: float, pose: np.ndarray | None = None) -> np.ndarray:
        """Its mesh's vertices (V, 3) in the city frame, limbs in mid-stride; whoever has its pose may give it."""
        local = self.model.mesh.vertices
        if self.role is Role.WALKS and self.motion is not None:
            height = self.model.size[2]
            stride = STRIDE_M * height / 1.75
            pace = min(self.speed(time), 1.6)
            local = swung(self.model.mesh, height, float(self.motion.travelled(time)) / stride, 0.32 * pace / 1.3)
        x, y, heading = self.pose(time) if pose is None else pose
        ground = self.ground(time)
        cos, sin = np.cos(heading), np.sin(heading)
        placed = np.empty((len(local), 3), np.float32)
        placed[:, 0] = cos * local[:, 0] - sin * local[:, 1] + x
        placed[:, 1] = sin * local[:, 0] + cos * local[:, 1] + y
        placed[:, 2] = local[:, 2] + ground
        return placed

    def attribute(self, time: float) -> str:
        """What nuScenes calls its state; "" where the class has none."""
        moving = self.speed(time) > MOVING_MPS
        return {
            Role.DRIVES: "vehicle.moving" if moving else "vehicle.stopped",
            Role.PARKED: "vehicle.parked",
            Role.RIDES: "cycle.with_rider",
            Role.LEANS: "cycle.without_rider",
            Role.WALKS: "pedestrian.moving" if moving else "pedestrian.standing",
            Role.SITS: "pedestrian.sitting_lying_down",
            Role.LIES: "",
        }[self.role]
