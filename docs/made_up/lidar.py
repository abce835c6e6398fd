"""The LiDAR that scans the street: one ray for each point."""

from __future__ import annotations

import numpy as np

from calibration.transform import Transform
from made_up.shapes import Solid
from perception.types import PointCloud

# x right, y forward, z up, as nuScenes' LIDAR_TOP
EGO_FROM_LIDAR = Transform(np.array([(0, 1, 0), (-1, 0, 0), (0, 0, 1)]), np.array([0.94, 0, 1.84]))
BEAMS_DEG, COLUMNS = np.linspace(-30.67, 10.67, 32), 1090  # up from the horizon; directions in a turn
RANGE, RANGE_NOISE, LOST = 70.0, 0.012, 0.02  # [m], [m], share of the points that don't come back
ASPHALT_INTENSITY = 25


def scan(solids: list[Solid], random: np.random.Generator) -> PointCloud:
    """One turn of the LiDAR: each ray ends at the first solid or at the ground, a little too near or too far."""
    elevations, azimuths = np.radians(BEAMS_DEG), np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    up, around = (grid.ravel() for grid in np.meshgrid(elevations, azimuths, indexing="ij"))
    rays_lidar = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=1)
    rays, origin = EGO_FROM_LIDAR.rotate(rays_lidar), EGO_FROM_LIDAR.translation
    with np.errstate(divide="ignore"):
        ranges = np.where(rays[:, 2] < 0, -origin[2] / rays[:, 2], np.inf)
    intensities = np.full(len(rays), float(ASPHALT_INTENSITY))
    for solid in solids:
        rows, distances, face = cast(solid, origin, rays)
        nearer = distances < ranges[rows]
        rows = rows[nearer]
        ranges[rows] = distances[nearer]
        intensities[rows] = np.array([np.mean(side.colour) for side in solid])[face[nearer]] / 3
    returned = (ranges < RANGE) & (random.random(len(rays)) > LOST)
    ranges += random.normal(0, RANGE_NOISE, len(ranges))
    points = np.c_[rays_lidar * ranges[:, None], intensities, np.zeros(len(rays))]
    return PointCloud(points[returned].astype(np.float32))


def cast(solid: Solid, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rays (N, 3) meet a convex solid: their rows, how far off [m], and at which of its faces.

    Each face's plane cuts a ray in two; what remains of it behind all planes lies inside. Kay and Kajiya, "Ray
    tracing complex scenes" (1986).
    """
    corners = np.concatenate([face.corners for face in solid]) - origin
    centre = corners.mean(axis=0)
    radius = np.linalg.norm(corners - centre, axis=1).max()
    along = rays @ centre
    rows = np.flatnonzero((along > -radius) & (centre @ centre - along**2 < radius**2))  # those near the solid
    normals = np.array([face.normal for face in solid])
    heights = np.array([face.normal @ (face.corners[0] - origin) for face in solid])
    slopes = rays[rows] @ normals.T + 0.0  # no negative zeros: a ray along a plane is in front of it for ever, or never
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = heights / slopes
    entries = np.where(slopes < 0, crossings, -np.inf)
    exits = np.where(slopes >= 0, crossings, np.inf)
    face, enter = entries.argmax(axis=1), entries.max(axis=1, initial=-np.inf)
    met = (enter > 0) & (enter < exits.min(axis=1))
    return rows[met], enter[met], face[met]
