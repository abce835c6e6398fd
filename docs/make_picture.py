"""Make docs/picture.png, the README's picture: a made-up street, seen by six made-up cameras and a made-up LiDAR.

    python docs/make_picture.py

No recorded data goes in. The street's images and points become a Frame like any other, "detections" are the truth
moved and turned a little at random, some left out and some added, and the project's own code draws it all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from shapes import Face, Solid
from street import Street, street

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.nuscenes import CLASS_NAMES, IMAGE_SIZE
from perception.outputs.pictures import draw_frame, write_png
from perception.types import Boxes3D, CameraImage, Frame, PointCloud, Truth

SEED = 7
STAMP_NS = 12_400_000_000
WIDTH, HEIGHT = 800, 450  # [px] of an image; drawn at twice the size, so that its edges are smooth

CAMERAS = (  # name, x, y, z [m] in the ego frame, direction [deg] to the left of forward, focal length [px]
    ("CAM_FRONT", 1.70, 0.0, 1.51, 0, 1260),
    ("CAM_FRONT_LEFT", 1.52, 0.49, 1.51, 55, 1260),
    ("CAM_FRONT_RIGHT", 1.55, -0.49, 1.50, -55, 1260),
    ("CAM_BACK", 0.03, 0.0, 1.57, 180, 805),
    ("CAM_BACK_LEFT", 1.03, 0.48, 1.56, 110, 1260),
    ("CAM_BACK_RIGHT", 1.01, -0.48, 1.56, -110, 1260),
)
# x right, y forward, z up, as nuScenes' LIDAR_TOP
EGO_FROM_LIDAR = Transform(np.array([(0, 1, 0), (-1, 0, 0), (0, 0, 1)]), np.array([0.94, 0, 1.84]))
BEAMS_DEG, COLUMNS, RANGE = np.linspace(-30.67, 10.67, 32), 1090, 70.0

SUN = np.array([-0.42, -0.5, 0.76]) / np.linalg.norm([-0.42, -0.5, 0.76])  # towards it
SHADOW = np.array([0.62, 0.66, 0.74])  # what of the light is left without the sun: the blue sky's
ZENITH, HAZE, HAZE_REACH = np.array([120, 156, 196.0]), np.array([206, 214, 220.0]), 190.0
NEAR = 0.1


def main() -> None:
    """Make the street, sense it, detect in it, draw it."""
    random = np.random.default_rng(SEED)
    made_up = street()
    cloud = scan(made_up.solids, random)
    truth = made_up.boxes.transformed(EGO_FROM_LIDAR.inverse(), "lidar")
    hits = truth.contain(cloud.points).sum(axis=1)
    truth, hits = truth.select(hits > 0), hits[hits > 0]
    frame = Frame(
        stamp_ns=STAMP_NS,
        token="a made-up street",
        cameras={name: photograph(made_up, *placing) for name, *placing in CAMERAS},
        cloud=cloud,
        ego_from_lidar=EGO_FROM_LIDAR,
        truth=Truth(truth, hits, np.zeros_like(hits)),
    )
    write_png(Path(__file__).with_name("picture.png"), draw_frame(frame, detections(truth, hits, random)))


def detections(truth: Boxes3D, hits: np.ndarray, random: np.random.Generator) -> Boxes3D:
    """What a good detector might say: all but the least visible, not quite in place, and two things that aren't."""
    found = truth.select(np.argsort(-hits, kind="stable")[:-3])
    count = len(found)
    moved = replace(
        found,
        centers=found.centers + random.normal(0, 1, (count, 3)) * (0.02 + 0.03 * found.sizes) * (1, 1, 0.5),
        sizes=found.sizes * random.normal(1, 0.03, (count, 3)),
        yaws=found.yaws + np.radians(random.normal(0, 3, count)),
        velocities=found.velocities * random.normal(1, 0.08, (count, 1)),
        scores=np.sort(random.uniform(0.4, 0.95, count))[::-1],
    )
    return joined(moved, false_alarms())


def false_alarms() -> Boxes3D:
    """A bin taken for a pedestrian, and a hydrant for a traffic cone."""
    labels = np.array([CLASS_NAMES.index(name) for name in ("pedestrian", "traffic_cone")])
    sizes = np.array([(0.6, 0.6, 1.1), (0.4, 0.4, 0.8)])
    centers = np.array([(4.65, -7.85, 0.55), (8.6, 14.95, 0.4)])
    nothing, scores = np.zeros(2), np.array([0.42, 0.47])
    boxes = Boxes3D(centers, sizes, nothing, np.zeros((2, 2)), scores, labels, CLASS_NAMES, "ego")
    return boxes.transformed(EGO_FROM_LIDAR.inverse(), "lidar")


def joined(first: Boxes3D, second: Boxes3D) -> Boxes3D:
    """Both lots of boxes as one."""
    names = ("centers", "sizes", "yaws", "velocities", "scores", "labels")
    return replace(first, **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


# --- LiDAR


def scan(solids: list[Solid], random: np.random.Generator) -> PointCloud:
    """One turn of the LiDAR: each ray ends at the first solid or at the ground, a little too near or too far."""
    elevations, azimuths = np.radians(BEAMS_DEG), np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    up, around = (grid.ravel() for grid in np.meshgrid(elevations, azimuths, indexing="ij"))
    rays_lidar = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=1)
    rays, origin = EGO_FROM_LIDAR.rotate(rays_lidar), EGO_FROM_LIDAR.translation
    with np.errstate(divide="ignore"):
        ranges = np.where(rays[:, 2] < 0, -origin[2] / rays[:, 2], np.inf)
    brightness = np.full(len(rays), 25.0)
    for solid in solids:
        rows, distances, face = cast(solid, origin, rays)
        nearer = distances < ranges[rows]
        rows = rows[nearer]
        ranges[rows] = distances[nearer]
        brightness[rows] = np.array([np.mean(side.colour) for side in solid])[face[nearer]] / 3
    returned = (ranges < RANGE) & (random.random(len(rays)) > 0.02)
    ranges, rays_lidar, brightness = ranges[returned], rays_lidar[returned], brightness[returned]
    points = rays_lidar * (ranges + random.normal(0, 0.012, len(ranges)))[:, None]
    return PointCloud(np.c_[points, brightness, np.zeros(len(points))].astype(np.float32))


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
    slopes = rays[rows] @ normals.T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = heights / slopes
    entries = np.where(slopes < 0, crossings, -np.inf)
    exits = np.where(slopes > 0, crossings, np.inf)
    face, enter = entries.argmax(axis=1), entries.max(axis=1, initial=-np.inf)
    met = (enter > 0) & (enter < exits.min(axis=1))
    return rows[met], enter[met], face[met]


# --- cameras


def photograph(made_up: Street, x: float, y: float, z: float, direction_deg: float, focal_length: float) -> CameraImage:
    """The street as one camera sees it."""
    forward = np.array([np.cos(np.radians(direction_deg)), np.sin(np.radians(direction_deg)), 0])
    down = np.array([0, 0, -1.0])
    ego_from_camera = Transform(np.stack([np.cross(down, forward), down, forward], axis=1), np.array([x, y, z]))
    large = Intrinsics(*IMAGE_SIZE, focal_length, focal_length, 805, 470)
    image = render(made_up, large, ego_from_camera.inverse())
    small = cv2.resize(image.clip(0, 255).astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return CameraImage(small, STAMP_NS, large.resized(WIDTH, HEIGHT), ego_from_camera.inverse() @ EGO_FROM_LIDAR)


def render(made_up: Street, intrinsics: Intrinsics, camera_from_ego: Transform) -> np.ndarray:
    """Sky, ground, shadows on it, solids, and haze over them all -> (H, W, 3) float32."""
    image = sky(intrinsics)
    inverse_depth = np.zeros(image.shape[:2], np.float32)  # [1/m]; linear in the image, unlike the depth
    for face in made_up.ground:
        draw(image, inverse_depth, face, intrinsics, camera_from_ego, layered=True)
    shade(image, made_up.solids, intrinsics, camera_from_ego)
    for face in [*made_up.decals, *(face for solid in made_up.solids for face in solid)]:
        draw(image, inverse_depth, face, intrinsics, camera_from_ego)
    clear = np.exp(-1 / (HAZE_REACH * np.maximum(inverse_depth, 1e-6)))[..., None]
    return np.where(inverse_depth[..., None] > 0, image * clear + HAZE * (1 - clear), image)


def sky(intrinsics: Intrinsics) -> np.ndarray:
    """From haze at the horizon to blue above -> (H, W, 3) float32."""
    elevation = np.clip((intrinsics.cy - np.arange(intrinsics.height)) / intrinsics.fy, 0, None)
    blue = 1 - np.exp(-3.5 * elevation)[:, None]
    rows = HAZE + blue * (ZENITH - HAZE)
    return np.repeat(rows[:, None], intrinsics.width, axis=1).astype(np.float32)


def draw(
    image: np.ndarray,  # (H, W, 3) float32, changed in place
    inverse_depth: np.ndarray,  # (H, W) float32, changed in place
    face: Face,
    intrinsics: Intrinsics,
    camera_from_ego: Transform,
    layered: bool = False,  # over whatever was drawn before it, rather than over what is farther away
) -> None:
    """Draw one face where nothing nearer hides it."""
    normal = camera_from_ego.rotate(face.normal)
    corners = camera_from_ego.apply(face.corners)
    offset = normal @ corners[0]
    corners = visible_part(corners, intrinsics)
    if offset >= 0 or len(corners) < 3:  # seen from behind, or out of sight
        return
    window, mask = covered(intrinsics.project(corners), image.shape)
    rows, columns = np.mgrid[window]
    slope = normal / offset
    across, down = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    nearness = slope[0] * across + slope[1] * down + slope[2]
    seen = mask & (layered | (nearness > inverse_depth[window]))
    sun, open_sky = max(face.normal @ SUN, 0), (1 + face.normal[2]) / 2
    light = SHADOW * (0.72 + 0.28 * open_sky) + (1 - SHADOW) * 1.25 * sun
    image[window][seen] = light * face.colour
    inverse_depth[window][seen] = nearness[seen]


def shade(image: np.ndarray, solids: list[Solid], intrinsics: Intrinsics, camera_from_ego: Transform) -> None:
    """Darken the ground where a solid stands between it and the sun."""
    shadow = np.zeros(image.shape[:2], bool)
    for solid in solids:
        corners = np.concatenate([face.corners for face in solid])
        fallen = (corners - SUN * (corners[:, 2:] / SUN[2]))[:, :2].astype(np.float32)
        outline = cv2.convexHull(fallen)[:, 0]
        part = visible_part(camera_from_ego.apply(np.c_[outline, np.zeros(len(outline))]), intrinsics)
        if len(part) >= 3:
            window, mask = covered(intrinsics.project(part), image.shape)
            shadow[window] |= mask
    image[shadow] *= SHADOW


def visible_part(polygon: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """What of a polygon (K, 3) in the camera frame the image can show (Sutherland and Hodgman, 1974)."""
    width, height, fx, fy = intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy
    left, top, right, bottom = intrinsics.cx + 1, intrinsics.cy + 1, width - intrinsics.cx, height - intrinsics.cy
    planes = [(0, 0, 1, -NEAR), (fx, 0, left, 0), (-fx, 0, right, 0), (0, fy, top, 0), (0, -fy, bottom, 0)]
    for *normal, shift in planes:
        inside = polygon @ normal + shift  # positive inside
        if (inside >= 0).all():
            continue
        if (inside < 0).all():
            return polygon[:0]
        nexts, inside_next = np.roll(polygon, -1, axis=0), np.roll(inside, -1)
        kept = []
        for corner, following, here, there in zip(polygon, nexts, inside, inside_next, strict=True):
            if here >= 0:
                kept.append(corner)
            if (here >= 0) != (there >= 0):
                kept.append(corner + here / (here - there) * (following - corner))
        polygon = np.array(kept)
    return polygon


def covered(pixels: np.ndarray, shape: tuple) -> tuple[tuple[slice, slice], np.ndarray]:
    """The window of the image around a convex polygon (K, 2) [px], and which of its pixels the polygon covers."""
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, (shape[1] - 1, shape[0] - 1))
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, low + 1, (shape[1], shape[0]))
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.round((pixels - low) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(bool)


if __name__ == "__main__":
    main()
