"""An mmdetection3d info file of the made-up nuScenes dataset, as mmdetection3d 1.4 writes it: float32 matrices."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from calibration.transform import Transform
from tests.nuscenes_fixture import CAMERAS, LIDAR, VERSION, ego_from_sensor, world_from_ego

CATEGORIES = {  # mmdetection3d's order, which isn't the checkpoints'
    "car": 0,
    "truck": 1,
    "trailer": 2,
    "bus": 3,
    "construction_vehicle": 4,
    "bicycle": 5,
    "motorcycle": 6,
    "pedestrian": 7,
    "traffic_cone": 8,
    "barrier": 9,
}
CLASSES = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.trailer": "trailer",
    "vehicle.bus.rigid": "bus",
    "vehicle.bus.bendy": "bus",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}


def write_info(root: Path, change: Callable[[dict], object] = lambda info: None) -> Path:
    """Write ROOT/tiny_infos.pkl of a dataset that write_nuscenes made, images of 64 x 36 pixels -> its path.

    `change` may damage the content before it is written.
    """
    tables = {path.stem: json.loads(path.read_text()) for path in (root / VERSION).glob("*.json")}
    meta = {"categories": CATEGORIES, "dataset": "nuscenes", "version": VERSION, "info_version": "1.1"}
    samples = enumerate(tables["sample"])
    info = {"metainfo": meta, "data_list": [_entry(tables, number, sample) for number, sample in samples]}
    change(info)
    path = root / "tiny_infos.pkl"
    path.write_bytes(pickle.dumps(info, protocol=2))
    return path


def _entry(tables: dict, number: int, sample: dict) -> dict:
    scene = [row["token"] for row in tables["scene"]].index(sample["scene_token"])
    rows = [row for row in tables["sample_data"] if row["sample_token"] == sample["token"] and row["is_key_frame"]]
    keyframes = {row["filename"].split("/")[1]: row for row in rows}
    world_from_lidar = world_from_ego(scene, sample["timestamp"]) @ ego_from_sensor(LIDAR)
    images = {}
    for name in CAMERAS:
        world_from_camera = world_from_ego(scene, keyframes[name]["timestamp"]) @ ego_from_sensor(name)
        images[name] = {
            "img_path": Path(keyframes[name]["filename"]).name,
            "cam2img": [[51.2, 0.0, 31.5], [0.0, 51.2, 17.5], [0.0, 0.0, 1.0]],
            "lidar2cam": _float32((world_from_camera.inverse() @ world_from_lidar).matrix),
            "timestamp": keyframes[name]["timestamp"] / 1e6,
            "width": 64,
            "height": 36,
        }
    return {
        "sample_idx": number,
        "token": sample["token"],
        **_cloud(scene, keyframes[LIDAR], Path(keyframes[LIDAR]["filename"]).name),
        "images": images,
        "lidar_sweeps": [
            _cloud(scene, row, f"./data/nuscenes/{row['filename']}") for row in _before(tables, keyframes[LIDAR])
        ],
        "instances": [
            _instance(tables, row, world_from_lidar.inverse())
            for row in tables["sample_annotation"]
            if row["sample_token"] == sample["token"]
        ],
    }


def _before(tables: dict, row: dict) -> list[dict]:
    """Up to nine recordings before this one, newest first."""
    by_token = {row["token"]: row for row in tables["sample_data"]}
    found = []
    while row["prev"] and len(found) < 9:
        row = by_token[row["prev"]]
        found.append(row)
    return found


def _cloud(scene: int, row: dict, path: str) -> dict:
    return {
        "timestamp": row["timestamp"] / 1e6,
        "ego2global": _float32(world_from_ego(scene, row["timestamp"]).matrix),
        "lidar_points": {"lidar_path": path, "num_pts_feats": 5, "lidar2ego": _float32(ego_from_sensor(LIDAR).matrix)},
    }


def _instance(tables: dict, row: dict, lidar_from_world: Transform) -> dict:
    instance = next(item for item in tables["instance"] if item["token"] == row["instance_token"])
    category = next(item["name"] for item in tables["category"] if item["token"] == instance["category_token"])
    label = CATEGORIES[CLASSES[category]] if category in CLASSES else -1
    width, length, height = row["size"]
    yaw = 2 * np.arctan2(row["rotation"][3], row["rotation"][0])
    heading = lidar_from_world.rotate(np.array([np.cos(yaw), np.sin(yaw), 0]))
    center = lidar_from_world.apply(np.array(row["translation"]))
    return {
        "bbox_label": label,
        "bbox_label_3d": label,
        "bbox_3d": [*center.tolist(), length, width, height, float(np.arctan2(heading[1], heading[0]))],
        "bbox_3d_isvalid": row["num_lidar_pts"] > 0,
        "num_lidar_pts": np.int64(row["num_lidar_pts"]),
        "num_radar_pts": row["num_radar_pts"],
        "velocity": [float("nan"), float("nan")],
    }


def _float32(matrix: np.ndarray) -> list[list[float]]:
    return matrix.astype(np.float32).tolist()
