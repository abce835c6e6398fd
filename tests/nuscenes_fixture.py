"""A tiny, legal nuScenes dataset, made up: the development kit opens it, and so must we.

The car drives a gentle bend on uneven ground, so ego poses yaw, pitch and roll; every sensor has its own stamps.
Around it stand and move objects of all ten classes at constant velocity, two that no class covers, and one that is
seen once only. Nothing here uses the readers under test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from calibration.transform import Transform

VERSION = "v1.0-tiny"
SPLITS = {"tiny_train": ["scene-0001"], "tiny_val": ["scene-0002"]}  # with two scenes
START_US = 1_533_000_000_123_457
KEYFRAME_US, CAMERA_PERIOD_US, LIDAR_PERIOD_US = 500_000, 83_333, 50_000
LIDAR = "LIDAR_TOP"

CAMERAS = {  # yaw of the optical axis [deg], and how long before the LiDAR's stamp the camera fires [us]
    "CAM_FRONT": (0, 35_491),
    "CAM_FRONT_RIGHT": (-55, 27_612),
    "CAM_FRONT_LEFT": (55, 43_107),
    "CAM_BACK": (180, 10_426),
    "CAM_BACK_LEFT": (110, 528),
    "CAM_BACK_RIGHT": (-110, 20_058),
}
OBJECTS = (  # category, width length height [m], speed [m/s], attribute
    ("vehicle.car", (1.9, 4.6, 1.7), 6.0, "vehicle.moving"),
    ("vehicle.construction", (2.8, 6.5, 3.2), 0.0, "vehicle.parked"),
    ("human.pedestrian.adult", (0.7, 0.8, 1.8), 1.4, "pedestrian.moving"),
    ("vehicle.bus.rigid", (2.9, 11.0, 3.5), 0.0, "vehicle.stopped"),
    ("movable_object.barrier", (2.5, 0.5, 1.0), 0.0, ""),
    ("vehicle.truck", (2.5, 7.0, 3.0), 4.0, "vehicle.moving"),
    ("vehicle.bicycle", (0.6, 1.7, 1.3), 0.0, "cycle.without_rider"),
    ("vehicle.trailer", (2.9, 12.0, 3.9), 0.0, "vehicle.parked"),
    ("human.pedestrian.child", (0.5, 0.6, 1.3), 0.0, "pedestrian.standing"),
    ("vehicle.bus.bendy", (2.9, 16.0, 3.4), 5.0, "vehicle.moving"),
    ("movable_object.trafficcone", (0.4, 0.4, 0.8), 0.0, ""),
    ("vehicle.car", (2.0, 4.9, 1.6), 0.0, "vehicle.parked"),
    ("vehicle.motorcycle", (0.8, 2.1, 1.5), 5.0, "cycle.with_rider"),
    ("human.pedestrian.stroller", (0.6, 1.0, 1.0), 1.0, ""),  # no detection class
    ("animal", (0.4, 0.9, 0.6), 0.0, ""),  # no detection class
    ("movable_object.trafficcone", (0.5, 0.5, 1.0), 0.0, ""),  # the last one is there in each first keyframe only
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)


def write_nuscenes(
    root: Path,
    *,
    scenes: int = 2,
    samples: int = 3,  # keyframes a scene
    sweeps: int = 3,  # clouds before each keyframe but a scene's first, at most 9
    image_size: tuple[int, int] = (64, 36),
    background_points: int = 400,  # a cloud; every object has 20 more
    seed: int = 0,
) -> Path:
    """Write the dataset, version v1.0-tiny, with splits.json (SPLITS) -> its root, as given. About 0.1 s."""
    for folder in ("samples", "sweeps"):
        for channel in (*CAMERAS, LIDAR):
            (root / folder / channel).mkdir(parents=True)
    (root / "maps").mkdir()
    Image.new("L", (8, 8)).save(root / "maps" / "nowhere.png")
    writer = _Writer(root, image_size, background_points, np.random.default_rng(seed), _fixed_tables(scenes))
    for scene in range(scenes):
        writer.write(_drive(scene, samples, writer.rng), sweeps)
    (root / VERSION).mkdir()
    for name, rows in writer.tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows, indent=0))
    (root / VERSION / "splits.json").write_text(json.dumps(SPLITS))
    return root


@contextmanager
def edited(root: Path, table: str) -> Iterator[list[dict]]:
    """The rows of a table, which are written back at the end of the block."""
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    yield rows
    path.write_text(json.dumps(rows))


def token(*name: object) -> str:
    """A token as nuScenes has them: 32 hexadecimal digits."""
    return hashlib.md5(repr(name).encode()).hexdigest()


def world_from_ego(scene: int, stamp_us: int) -> Transform:
    """The drive: a bend to the left at 4 m/s over ground that pitches and rolls by up to 2 degrees."""
    t = (stamp_us - START_US) / 1e6 - 100 * scene
    yaw = 0.7 + scene + 0.1 * t
    pitch, roll = np.deg2rad([2 * np.sin(1.3 * t + 1), 2 * np.cos(0.9 * t)])
    position = np.array([400 + 300 * scene, 1100, 0]) + 40 * np.array([np.sin(yaw), -np.cos(yaw), 0.01 * np.sin(t)])
    return Transform(Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix(), position)


def ego_from_sensor(channel: str) -> Transform:
    """The rig: cameras around the roof, the LiDAR on top, turned as in nuScenes (x right, y forward) and tilted."""
    if channel == LIDAR:
        return Transform(Rotation.from_euler("ZYX", [-89.9, 0.3, 1.4], degrees=True).as_matrix(), [0.94, 0.0, 1.84])
    ego_from_forward = Rotation.from_euler("z", CAMERAS[channel][0], degrees=True)
    forward_from_camera = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    position = np.array([1, 0, 1.5]) + ego_from_forward.apply([0.8, 0, 0])
    return Transform((ego_from_forward * forward_from_camera).as_matrix(), position)


@dataclass(frozen=True)
class _Drive:
    """One scene."""

    number: int
    keyframes_us: list[int]
    centers: np.ndarray  # (objects, 3) where each object is at `middle_us`, in the world frame
    yaws: np.ndarray  # (objects,) where it is heading

    @property
    def middle_us(self) -> int:
        return (self.keyframes_us[0] + self.keyframes_us[-1]) // 2

    def world_from_box(self, number: int, stamp_us: int) -> Transform:
        """Where an object is at an instant."""
        yaw, speed = self.yaws[number], OBJECTS[number][2]
        moved = speed * (stamp_us - self.middle_us) / 1e6 * np.array([np.cos(yaw), np.sin(yaw), 0])
        return Transform(Rotation.from_euler("z", yaw).as_matrix(), self.centers[number] + moved)


def _drive(scene: int, samples: int, rng: np.random.Generator) -> _Drive:
    """The objects stand in a ring around where the car is in the scene's middle, in turns 20 m and 10 m away."""
    keyframes = [START_US + 100_000_000 * scene + KEYFRAME_US * k + 137 * k for k in range(samples)]
    count = len(OBJECTS)
    angles, radii = 2 * np.pi * np.arange(count) / count, np.where(np.arange(count) % 2, 10, 20)
    heights = np.array([size[2] / 2 for _, size, _, _ in OBJECTS])
    centers_ego = np.column_stack([radii * np.cos(angles), radii * np.sin(angles), heights])
    centers = world_from_ego(scene, (keyframes[0] + keyframes[-1]) // 2).apply(centers_ego)
    return _Drive(scene, keyframes, centers, rng.uniform(-np.pi, np.pi, count))


def _fixed_tables(scenes: int) -> dict[str, list[dict]]:
    """Every table, those that scenes add to still empty."""
    categories = dict.fromkeys(category for category, *_ in OBJECTS)
    sensors = {**dict.fromkeys(CAMERAS, "camera"), LIDAR: "lidar"}
    logs = [token("log", scene) for scene in range(scenes)]
    log = {"vehicle": "n000", "date_captured": "2018-07-31", "location": "nowhere"}
    map_row = {"token": token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": "maps/nowhere.png"}
    filled = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "instance", "sample_annotation")
    return {
        "category": [{"token": token("category", name), "name": name, "description": ""} for name in categories],
        "attribute": [{"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "sensor": [{"token": token("sensor", n), "channel": n, "modality": m} for n, m in sensors.items()],
        "log": [{"token": row, "logfile": f"n000-{number}", **log} for number, row in enumerate(logs)],
        "map": [map_row],
        **{name: [] for name in filled},
    }


@dataclass(frozen=True)
class _Writer:
    root: Path
    image_size: tuple[int, int]
    background_points: int
    rng: np.random.Generator
    tables: dict[str, list[dict]]

    def write(self, drive: _Drive, sweeps: int) -> None:
        """One scene: its files and its rows."""
        self._samples(drive)
        for camera, (_, early_us) in CAMERAS.items():
            stamps = [stamp - early_us for stamp in drive.keyframes_us]
            for file, _ in self._recordings(drive, camera, stamps, between=1, period_us=CAMERA_PERIOD_US):
                self._image(file, list(CAMERAS).index(camera))
        counts = {}
        for file, stamp in self._recordings(drive, LIDAR, drive.keyframes_us, sweeps, LIDAR_PERIOD_US):
            counts[stamp] = self._cloud(drive, file, stamp)
        for number in range(len(OBJECTS)):
            self._annotations(drive, number, [counts[stamp][number] for stamp in drive.keyframes_us])

    def _samples(self, drive: _Drive) -> None:
        scene, tokens = token("scene", drive.number), [token("sample", s) for s in drive.keyframes_us]
        row = {"token": scene, "log_token": token("log", drive.number), "name": f"scene-{drive.number + 1:04}"}
        row |= {"description": "", "nbr_samples": len(tokens)}
        self.tables["scene"].append(row | {"first_sample_token": tokens[0], "last_sample_token": tokens[-1]})
        rows = [{"timestamp": stamp, "scene_token": scene} for stamp in drive.keyframes_us]
        self._append_chain("sample", tokens, rows)

    def _recordings(
        self, drive: _Drive, channel: str, keyframes_us: list[int], between: int, period_us: int
    ) -> list[tuple[Path, int]]:
        """The rows of what a sensor recorded: at its keyframes, and `between` times before each but the first.

        -> the files to write, and their stamps.
        """
        is_camera, calibration = channel in CAMERAS, token("calibrated_sensor", drive.number, channel)
        width, height = self.image_size if is_camera else (0, 0)
        matrix = [[0.8 * width, 0, width / 2 - 0.5], [0, 0.8 * width, height / 2 - 0.5], [0, 0, 1]] if is_camera else []
        row = {"token": calibration, "sensor_token": token("sensor", channel), "camera_intrinsic": matrix}
        self.tables["calibrated_sensor"].append(row | _pose_fields(ego_from_sensor(channel)))
        shots = [
            (stamp - i * (period_us - 11), k, i == 0)  # the clock isn't perfect
            for k, stamp in enumerate(keyframes_us)
            for i in range(between if k else 0, -1, -1)
        ]
        tokens, rows, files = [token("sample_data", channel, stamp) for stamp, *_ in shots], [], []
        for name, (stamp, k, is_key) in zip(tokens, shots, strict=True):
            pose = _pose_fields(world_from_ego(drive.number, stamp))
            self.tables["ego_pose"].append({"token": name, "timestamp": stamp, **pose})
            suffix = "jpg" if is_camera else "pcd.bin"
            filename = f"{'samples' if is_key else 'sweeps'}/{channel}/n000__{channel}__{stamp}.{suffix}"
            row = {"sample_token": token("sample", drive.keyframes_us[k]), "ego_pose_token": name}
            row |= {"calibrated_sensor_token": calibration, "timestamp": stamp, "fileformat": suffix[:3]}
            rows.append(row | {"is_key_frame": is_key, "height": height, "width": width, "filename": filename})
            files.append((self.root / filename, stamp))
        self._append_chain("sample_data", tokens, rows)
        return files

    def _cloud(self, drive: _Drive, file: Path, stamp_us: int) -> list[int]:
        """Write a cloud of ground, the own car's roof, and every object -> how many points are in each object."""
        world_from_lidar = world_from_ego(drive.number, stamp_us) @ ego_from_sensor(LIDAR)
        boxes = [drive.world_from_box(number, stamp_us) for number in range(len(OBJECTS))]
        halves = [np.array(size)[[1, 0, 2]] / 2 for _, size, _, _ in OBJECTS]
        objects = [
            box.apply(self.rng.uniform(-0.9, 0.9, (20, 3)) * half) for box, half in zip(boxes, halves, strict=True)
        ]
        ground = self.rng.uniform([-40, -40, -1.9], [40, 40, -1.7], (self.background_points, 3))
        roof = self.rng.uniform([-0.9, -0.9, -1], [0.9, 0.9, -0.2], (10, 3))
        xyz = np.concatenate([ground, roof, world_from_lidar.inverse().apply(np.concatenate(objects))])
        rest = self.rng.integers(0, (256, 32), (len(xyz), 2))  # intensity, ring
        points = np.column_stack([xyz, rest]).astype("<f4")
        points.tofile(file)
        seen = world_from_lidar.apply(points[:, :3])
        inside = [np.abs(box.inverse().apply(seen)) <= half for box, half in zip(boxes, halves, strict=True)]
        return [int(rows.all(axis=1).sum()) for rows in inside]

    def _image(self, file: Path, number: int) -> None:
        """Sky over ground, in a tint of the camera's own: its red is 40 times its place in CAMERAS."""
        width, height = self.image_size
        image = np.full((height, width, 3), (40 * number, 150, 220), np.uint8)
        image[height // 2 :, :, 1:] = 90
        Image.fromarray(image).save(file, quality=95)

    def _annotations(self, drive: _Drive, number: int, counts: list[int]) -> None:
        category, size, _, attribute = OBJECTS[number]
        instance = token("instance", drive.number, number)
        keyframes = drive.keyframes_us[: 1 if number == len(OBJECTS) - 1 else None]
        tokens = [token("annotation", stamp, number) for stamp in keyframes]
        row = {"token": instance, "category_token": token("category", category), "nbr_annotations": len(tokens)}
        row |= {"first_annotation_token": tokens[0], "last_annotation_token": tokens[-1]}
        self.tables["instance"].append(row)
        same = {"instance_token": instance, "visibility_token": "4", "size": list(size), "num_radar_pts": 0}
        same |= {"attribute_tokens": [token("attribute", attribute)] if attribute else []}
        rows = [
            {"sample_token": token("sample", stamp), "num_lidar_pts": count}
            | same
            | _pose_fields(drive.world_from_box(number, stamp))
            for stamp, count in zip(keyframes, counts, strict=False)
        ]
        self._append_chain("sample_annotation", tokens, rows)

    def _append_chain(self, table: str, tokens: list[str], rows: list[dict]) -> None:
        """Add rows that are linked by `prev` and `next`."""
        for name, row, before, after in zip(tokens, rows, ["", *tokens[:-1]], [*tokens[1:], ""], strict=True):
            self.tables[table].append({"token": name, **row, "prev": before, "next": after})


def _pose_fields(transform: Transform) -> dict:
    return {"translation": transform.translation.tolist(), "rotation": transform.quaternion.tolist()}
