"""The city at an instant, ready for rays: what stands, built once, and what moves, built anew whenever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perception.simulation.agents import Agent, Role
from perception.simulation.conditions import Conditions
from perception.simulation.geometry import Mesh, merged
from perception.simulation.looks import Kind
from perception.simulation.population import Population
from perception.simulation.raycast import Caster
from perception.simulation.scenery import Scenery

LAMPS_ON, BRAKE_LIGHTS_ON = np.float32(0.5), np.float32(1.0)  # styles of a vehicle's lamps; 0 is off


class Surfaces(NamedTuple):
    """What triangles look like and whose they are."""

    kinds: np.ndarray  # (T,) uint8
    colours: np.ndarray  # (T, 3) float32
    styles: np.ndarray  # (T,) float32
    uvs: np.ndarray  # (T, 3, 2) float32
    normals: np.ndarray  # (T, 3, 3) float32
    owners: np.ndarray  # (T,) int32: an agent's number, 0 for scenery


class Built(NamedTuple):
    """Triangles, and the means to hit them."""

    caster: Caster
    surfaces: Surfaces
    bounds: np.ndarray  # (M, 2, 3) lowest and highest x, y, z of each of the meshes


class Stage:
    """A scene's city."""

    def __init__(self, population: Population, scenery: Scenery, conditions: Conditions) -> None:
        self.agents, self.ego, self.conditions, self.lamps = (
            population.agents,
            population.ego,
            conditions,
            scenery.lamps,
        )
        self.moving = [agent for agent in self.agents if agent.motion is not None]
        standing = [agent for agent in self.agents if agent.motion is None]
        posed = [(_posed(agent, 0.0, agent.pose(0.0)), agent.number) for agent in standing]
        self.static = _built([(scenery.mesh, 0), *posed])

    def built(self, posed: Sequence[tuple[Agent, np.ndarray]], time: float) -> Built:
        """Agents with their poses, x, y, heading, at a time."""
        return _built([(_posed(agent, time, pose), agent.number) for agent, pose in posed])


def caster_of(agents: Sequence[Agent], time: float, poses: Sequence[np.ndarray]) -> Caster:
    """The bare shapes of agents who have these poses, x, y, heading, at a time; its triangles come in their order."""
    if not agents:
        return Caster(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    vertices = [agent.vertices(time, pose) for agent, pose in zip(agents, poses, strict=True)]
    firsts = np.cumsum([0] + [len(part) for part in vertices[:-1]])
    triangles = [agent.model.mesh.triangles + np.int32(first) for agent, first in zip(agents, firsts, strict=True)]
    return Caster(np.concatenate(vertices), np.concatenate(triangles))


def _posed(agent: Agent, time: float, pose: np.ndarray) -> Mesh:
    mesh = agent.model.mesh
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    styles = mesh.styles
    if agent.role in (Role.DRIVES, Role.RIDES):
        styles = np.where(mesh.kinds == Kind.HEADLIGHT, LAMPS_ON, styles)
        styles = np.where(mesh.kinds == Kind.TAILLIGHT, BRAKE_LIGHTS_ON if agent.braking(time) else LAMPS_ON, styles)
    normals = (mesh.normals.reshape(-1, 3) @ rotation.T).reshape(-1, 3, 3)  # one product: many small ones are slow
    vertices = agent.vertices(time, pose)
    return Mesh(vertices, mesh.triangles, normals, mesh.uvs, mesh.kinds, mesh.colours, styles, mesh.limbs)


def _built(meshes: Sequence[tuple[Mesh, int]]) -> Built:
    if not meshes:
        empty, none = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
        corners = np.zeros((0, 3, 2), np.float32), np.zeros((0, 3, 3), np.float32)
        nothing = Surfaces(np.zeros(0, np.uint8), empty, np.zeros(0, np.float32), *corners, np.zeros(0, np.int32))
        return Built(Caster(empty, none), nothing, np.zeros((0, 2, 3)))
    mesh = merged(mesh for mesh, _ in meshes)
    owners = np.concatenate([np.full(len(mesh), owner, np.int32) for mesh, owner in meshes])
    surfaces = Surfaces(mesh.kinds, mesh.colours, mesh.styles, mesh.uvs, mesh.normals, owners)
    return Built(Caster(mesh.vertices, mesh.triangles), surfaces, np.array([mesh.extent for mesh, _ in meshes]))
