"""The edges of boxes, and where a camera images them."""

from __future__ import annotations

import numpy as np

from calibration.camera import Intrinsics
from perception.types import Boxes3D

NEAR = 0.1  # [m] in front of the camera: the projection of what is nearer runs off to infinity
CURVE_PIECES = 16  # how many straight pieces stand for an edge that a lens bends

EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
FRONT = np.array([0, 3, 7, 4])  # corners of the face that looks along the heading


def corner_stubs(edges: np.ndarray, fraction: float) -> np.ndarray:
    """What is left of edges (N, E, 2, 3) within that fraction of their length from each end -> (N, 2 E, 2, 3)."""
    step = fraction * (edges[:, :, 1] - edges[:, :, 0])
    first = np.stack([edges[:, :, 0], edges[:, :, 0] + step], axis=2)
    last = np.stack([edges[:, :, 1], edges[:, :, 1] - step], axis=2)
    return np.concatenate([first, last], axis=1)


def box_edges(boxes: Boxes3D) -> np.ndarray:
    """Edges (N, 13, 2, 3) [m] in the boxes' frame: twelve, and one from the middle of the floor to its front."""
    corners = boxes.corners()
    nose = np.stack([corners[:, :4].mean(axis=1), corners[:, FRONT[:2]].mean(axis=1)], axis=1)
    return np.concatenate([corners[:, EDGES], nose[:, None]], axis=1)


def clip_near(edges_camera: np.ndarray, near: float = NEAR) -> np.ndarray:
    """The parts of edges (..., 2, 3) [m] at least `near` in front of the camera, same shape; NaN where nothing is."""
    depths = edges_camera[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fraction = (near - depths[..., :1, :]) / (depths[..., 1:, :] - depths[..., :1, :])
        crossing = edges_camera[..., :1, :] + fraction * (edges_camera[..., 1:, :] - edges_camera[..., :1, :])
    clipped = np.where(depths < near, crossing, edges_camera)
    return np.where((depths < near).all(axis=-2, keepdims=True), np.nan, clipped)


def project_edges(edges_camera: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Edges (N, E, 2, 3) [m] in the camera frame -> their images as straight pieces (N, P, 2, 2) [px], P >= E.

    Pieces that the lens doesn't image are NaN. Only edges with an end that it doesn't image are cut off in front of
    the camera, since a fisheye may well see behind that plane.
    """
    imaged = np.isfinite(intrinsics.project(edges_camera)).all(axis=(-1, -2), keepdims=True)
    edges = np.where(imaged, edges_camera, clip_near(edges_camera))
    pieces = 1 if intrinsics.model == "pinhole" else CURVE_PIECES
    fractions = np.linspace(0, 1, pieces + 1)[:, None]
    pixels = intrinsics.project(edges[:, :, :1] + fractions * (edges[:, :, 1:] - edges[:, :, :1]))
    segments = np.stack([pixels[:, :, :-1], pixels[:, :, 1:]], axis=3)
    return segments.reshape(len(edges), edges.shape[1] * pieces, 2, 2)
