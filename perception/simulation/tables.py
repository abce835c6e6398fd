"""Rows of the nuScenes schema, https://www.nuscenes.org/nuscenes#data-format, for one scene and for all of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.transform import Transform
from perception.nuscenes import CLASS_OF_CATEGORY, LIDAR
from perception.simulation.rig import SENSORS, SWEEP_US, camera_delay_us, ego_from_sensor, lens
from perception.simulation.scene import Moment, Scene, Settings

VERSION = "v1.0-sim"
START_US = 1_600_000_000_000_000  # of the first scene
BETWEEN_SCENES_US = 100_000_000
MAP_EXTENT_M = 360.0  # of a scene's map; the world frame's origin is its lower left corner
PER_SCENE = (
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "calibrated_sensor",
    "instance",
    "sample_annotation",
    "log",
    "map",
)
ATTRIBUTES = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle stands, its driver inside.",
    "vehicle.parked": "Vehicle stands, without a driver.",
    "cycle.with_rider": "Someone is on the cycle.",
    "cycle.without_rider": "Nobody is on the cycle.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}

Row = dict[str, Any]


def token(*name: object) -> str:
    """32 hexadecimal digits that stand for a name."""
    return hashlib.md5(repr(name).encode(), usedforsecurity=False).hexdigest()


def scene_name(number: int) -> str:
    """Scenes count from 1."""
    return f"scene-{number + 1:04}"


def fixed_tables() -> dict[str, list[Row]]:
    """What doesn't depend on the scenes."""
    percent = {level: name[1:].replace("-", " to ") for level, name in VISIBILITY.items()}
    modalities = {sensor: "lidar" if sensor == LIDAR else "camera" for sensor in SENSORS}
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": f"Detected as {class_name}."}
            for name, class_name in CLASS_OF_CATEGORY.items()
        ],
        "attribute": [
            {"token": token("attribute", name), "name": name, "description": text} for name, text in ATTRIBUTES.items()
        ],
        "visibility": [
            {"token": level, "level": name, "description": f"{percent[level]} % of the object is seen in the images"}
            for level, name in VISIBILITY.items()
        ],
        "sensor": [
            {"token": token("sensor", sensor), "channel": sensor, "modality": modality}
            for sensor, modality in modalities.items()
        ],
    }


class SceneTables:
    """One scene's rows, filled moment by moment."""

    def __init__(self, settings: Settings, number: int, scene: Scene) -> None:
        self.rows: dict[str, list[Row]] = {table: [] for table in PER_SCENE}
        self._settings, self._number, self._scene = settings, number, scene
        self._name, self._start_us = scene_name(number), START_US + number * BETWEEN_SCENES_US
        self._world_from_city = _world_from_city(settings.seed, number, scene.middle)
        self._last: dict[str, Row] = {}  # the newest row of each chain, by chain
        self._frame()

    @property
    def map_file(self) -> str:
        """Where the scene's map mask is, below the dataset's root."""
        return f"maps/{self._token('map')}.png"

    @property
    def world_from_city(self) -> Transform:
        return self._world_from_city

    def add(self, moment: Moment) -> dict[str, str]:
        """Enter a moment -> where each of its sensors' files goes, below the dataset's root."""
        stamp = self._start_us + moment.end_us
        if moment.is_keyframe:
            self._sample(stamp)
        files = {LIDAR: self._recording(LIDAR, stamp, moment.is_keyframe, stamp)}
        for camera in moment.shots:
            fired = stamp - SWEEP_US + camera_delay_us(camera)
            files[camera] = self._recording(camera, fired, moment.is_keyframe, stamp)
        for label in moment.labels:
            self._annotation(label, stamp)
        return files

    def finished(self) -> dict[str, list[Row]]:
        """All rows, complete."""
        samples = self.rows["sample"]
        self.rows["scene"][0] |= {
            "nbr_samples": len(samples),
            "first_sample_token": samples[0]["token"],
            "last_sample_token": samples[-1]["token"],
        }
        return self.rows

    def _token(self, *name: object) -> str:
        return token(self._settings.seed, self._number, *name)

    def _frame(self) -> None:
        """The rows that a scene has one or seven of."""
        log, name = self._token("log"), f"sim-{self._settings.seed}-{self._number + 1:04}"
        self.rows["log"].append(
            {"token": log, "logfile": name, "vehicle": "sim", "date_captured": "2020-09-13", "location": name}
        )
        self.rows["map"].append(
            {"token": self._token("map"), "log_tokens": [log], "category": "semantic_prior", "filename": self.map_file}
        )
        self.rows["scene"].append(
            {
                "token": self._token("scene"),
                "log_token": log,
                "name": self._name,
                "description": self._scene.description,
            }
        )
        for sensor in SENSORS:
            matrix = [] if sensor == LIDAR else lens(sensor, self._settings.size).matrix.tolist()
            row = {"token": self._token("calibration", sensor), "sensor_token": token("sensor", sensor)}
            self.rows["calibrated_sensor"].append(
                row | pose_fields(ego_from_sensor(sensor)) | {"camera_intrinsic": matrix}
            )

    def _sample(self, stamp: int) -> None:
        row = {"token": self._token("sample", stamp), "timestamp": stamp, "scene_token": self._token("scene")}
        self._chained("sample", "sample", row)

    def _recording(self, sensor: str, stamp: int, is_keyframe: bool, sweep_stamp: int) -> str:
        """Data between keyframes belongs to the next keyframe's sample, as in nuScenes."""
        name, period = self._token(sensor, stamp), 10 * SWEEP_US
        sample = self._start_us - (self._start_us - sweep_stamp) // period * period
        seconds = (stamp - self._start_us) / 1e6
        pose = self._world_from_city @ self._scene.city_from_ego(seconds)
        self.rows["ego_pose"].append({"token": name, "timestamp": stamp, **pose_fields(pose)})
        folder, suffix = "samples" if is_keyframe else "sweeps", "pcd.bin" if sensor == LIDAR else "jpg"
        file = f"{folder}/{sensor}/sim-{self._settings.seed}-{self._number + 1:04}__{sensor}__{stamp}.{suffix}"
        width, height = (0, 0) if sensor == LIDAR else self._settings.size
        row = {
            "token": name,
            "sample_token": self._token("sample", sample),
            "ego_pose_token": name,
            "calibrated_sensor_token": self._token("calibration", sensor),
            "timestamp": stamp,
            "fileformat": "pcd" if sensor == LIDAR else "jpg",
            "is_key_frame": is_keyframe,
            "height": height,
            "width": width,
            "filename": file,
        }
        self._chained("sample_data", sensor, row)
        return file

    def _annotation(self, label: Any, stamp: int) -> None:
        instance = self._token("instance", label.agent.number)
        length, width, height = label.agent.model.size
        row = {
            "token": self._token("annotation", label.agent.number, stamp),
            "sample_token": self._token("sample", stamp),
            "instance_token": instance,
            "visibility_token": label.visibility,
            "attribute_tokens": [token("attribute", label.attribute)] if label.attribute else [],
            **pose_fields(self._world_from_city @ label.city_from_box),
            "size": [width, length, height],
            "num_lidar_pts": label.lidar_points,
            "num_radar_pts": 0,
        }
        self._chained("sample_annotation", instance, row)
        self._counted(instance, label.agent.model.category, row["token"])

    def _counted(self, instance: str, category: str, annotation: str) -> None:
        row = next((row for row in self.rows["instance"] if row["token"] == instance), None)
        if row is None:
            row = {"token": instance, "category_token": token("category", category), "nbr_annotations": 0}
            row["first_annotation_token"] = annotation
            self.rows["instance"].append(row)
        row["nbr_annotations"] += 1
        row["last_annotation_token"] = annotation

    def _chained(self, table: str, chain: str, row: Row) -> None:
        """Add a row that the chain's last one leads to."""
        before = self._last.get(chain)
        row |= {"prev": before["token"] if before else "", "next": ""}
        if before:
            before["next"] = row["token"]
        self._last[chain] = row
        self.rows[table].append(row)


def pose_fields(transform: Transform) -> Row:
    """A transform as the tables have it."""
    return {"translation": transform.translation.tolist(), "rotation": transform.quaternion.tolist()}


def _world_from_city(seed: int, number: int, middle: np.ndarray) -> Transform:
    """Each city lies turned in the world, the drive in the middle of the map."""
    turn = np.random.default_rng([seed, number, 99]).uniform(-np.pi, np.pi)
    rotation = Rotation.from_euler("z", turn).as_matrix()
    return Transform(rotation, np.array([MAP_EXTENT_M / 2, MAP_EXTENT_M / 2, 0]) - rotation @ np.array([*middle, 0]))
