"""One scene, from its number to everything that its files and tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calibration.transform import Transform
from perception.nuscenes import CAMERAS
from perception.simulation.agents import Role
from perception.simulation.annotate import Label, annotate
from perception.simulation.camera import Shot, shoot
from perception.simulation.conditions import Conditions, make_conditions
from perception.simulation.layout import Layout, make_layout
from perception.simulation.lidar import sweep
from perception.simulation.population import populate
from perception.simulation.rig import (
    CAMERA_SWEEPS,
    EGO_FROM_LIDAR,
    KEYFRAME_SWEEPS,
    SWEEP_US,
    camera_delay_us,
    ego_pose,
)
from perception.simulation.scenery import make_scenery
from perception.simulation.stage import Stage

LAYOUT, POPULATION, SCENERY, CONDITIONS, PULSES, PIXELS = range(6)  # purposes of random numbers


@dataclass(frozen=True)
class Settings:
    """What every scene of a dataset has in common."""

    seed: int
    size: tuple[int, int] = (800, 450)  # px, width and height of images
    seconds: float = 9.0
    camera_sweeps: bool = False  # images between keyframes too
    rare: float = 1.0  # times as many of the things of which there are few

    @property
    def keyframes(self) -> int:
        """How many a scene has: two a second."""
        return round(self.seconds * 2)


@dataclass(frozen=True, eq=False)
class Moment:
    """What one turn of the LiDAR brings. Times are microseconds from the scene's first keyframe, ends of sweeps."""

    end_us: int
    is_keyframe: bool
    cloud: np.ndarray  # (N, 5) float32 x, y, z, intensity, ring
    shots: dict[str, Shot]  # by camera; empty where none fired
    labels: list[Label]  # of keyframes


class Scene:
    """A scene, ready to be recorded."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._settings, self._number = settings, number
        self.layout: Layout = make_layout(self._random(LAYOUT))
        population = populate(self._random(POPULATION), self.layout, settings.seconds, settings.rare)
        way = population.ego.poses(np.linspace(0, settings.seconds, 30))[:, :2]
        standing = [agent for agent in population.agents if agent.motion is None]
        taken = np.array([(*agent.place[:2], max(agent.model.size[:2]) / 2) for agent in standing]).reshape(-1, 3)
        self.conditions: Conditions = make_conditions(self._random(CONDITIONS))
        seats = np.array([agent.place for agent in standing if agent.role is Role.SITS]).reshape(-1, 3)
        scenery = make_scenery(self._random(SCENERY), self.layout, way, taken, seats)
        self.stage = Stage(population, scenery, self.conditions)
        self.middle = way.mean(axis=0)

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._settings.seed, self._number, *purpose])

    def __len__(self) -> int:
        """How many moments there are."""
        return (self._settings.keyframes - 1) * KEYFRAME_SWEEPS + 1

    def __iter__(self) -> Iterator[Moment]:
        return map(self.moment, range(len(self)))

    def moment(self, turn: int) -> Moment:
        """One turn of the LiDAR, and the images taken during it."""
        end_us, is_keyframe = turn * SWEEP_US, turn % KEYFRAME_SWEEPS == 0
        end = end_us / 1e6
        cloud = sweep(self.stage, end, self._random(PULSES, turn))
        fire = is_keyframe or (self._settings.camera_sweeps and turn % KEYFRAME_SWEEPS in CAMERA_SWEEPS)
        shots = {camera: self._shoot(camera, number, turn) for number, camera in enumerate(CAMERAS)} if fire else {}
        labels = []
        if is_keyframe:
            points_city = self.city_from_lidar(end).apply(cloud[:, :3])
            labels = annotate(self.stage, end, points_city, list(shots.values()))
        return Moment(end_us, is_keyframe, cloud, shots, labels)

    def _shoot(self, camera: str, number: int, turn: int) -> Shot:
        time = (turn * SWEEP_US - SWEEP_US + camera_delay_us(camera)) / 1e6
        return shoot(self.stage, camera, self._settings.size, time, self._random(PIXELS, turn, number))

    def city_from_ego(self, time: float) -> Transform:
        """Where the car is at a time [s]."""
        return ego_pose(self.stage.ego, time)

    def city_from_lidar(self, time: float) -> Transform:
        """Where its LiDAR is."""
        return self.city_from_ego(time) @ EGO_FROM_LIDAR

    @property
    def description(self) -> str:
        """In nuScenes' manner: words with commas, the conditions first."""
        categories = {agent.model.category for agent in self.stage.agents}
        words = [self.conditions.name]
        words += ["roadworks"] if "movable_object.barrier" in categories else []
        words += ["parked cars"] if any(agent.role is Role.PARKED for agent in self.stage.agents) else []
        words += ["bus"] if "vehicle.bus.rigid" in categories else []
        words += ["wide street" if any(one.lanes > 1 for one in self.layout.streets[0]) else "narrow streets"]
        return ", ".join(words)
