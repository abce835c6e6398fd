"""What the nuScenes detection task fixes: its classes, its sensors' names, and the words for how things move."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from calibration.errors import InputError
from calibration.spelling import did_you_mean

CLASS_NAMES = (  # in the order of the public BEVFusion checkpoints
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)

CAMERAS = (  # in the order of the public BEVFusion checkpoints
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR = "LIDAR_TOP"
OFFICIAL_SPLITS = ("train", "val", "test", "mini_train", "mini_val", "train_detect", "train_track")
IMAGE_SIZE = (1600, 900)  # px, width and height of every nuScenes image

# The detection task leaves all other categories out: animals, strollers, wheelchairs, debris, bicycle racks...
CLASS_OF_CATEGORY = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "movable_object.barrier": "barrier",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
}

MOVING_FASTER_THAN = 0.2  # m/s, the speed from which the usual rules call something moving
ATTRIBUTES = {  # what a class is called when it moves, and when it stands
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "barrier": ("", ""),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "traffic_cone": ("", ""),
}


def attribute_of(class_name: str, speed: float) -> str:
    """The most likely attribute of a box from its class and speed [m/s], as detectors without an attribute head say.

    "" where a class has none. The rules are those by which CenterPoint (Yin et al., CVPR 2021) and mmdetection3d
    write their submissions.
    """
    moving, standing = ATTRIBUTES[class_name]
    return moving if speed > MOVING_FASTER_THAN else standing


def scenes_of_split(version_folder: Path, split: str) -> set[str]:
    """The names of a split's scenes.

    A split is looked for in `splits.json` in the version's folder (split name -> list of scene names, the nuScenes
    development kit's way to define own splits), then among the official ones: train, val, test, mini_train, mini_val,
    train_detect and train_track, whose lists come with the development kit. Raises InputError if it is in neither.
    """
    own = own_splits(version_folder)
    official = {} if split in own else _official_splits()
    splits = official | own
    if split not in splits:
        fix = did_you_mean(split, splits) if official else "pip install nuscenes-devkit for the official splits"
        raise InputError("split", f"one of {', '.join(splits) or 'the official splits'}", repr(split), fix)
    return set(splits[split])


def splits_with(version_folder: Path, scenes: Collection[str]) -> str:
    """The `fix` of an InputError about a split of which a dataset has no scene: those of which it has some."""
    splits = own_splits(version_folder) or _official_splits()  # a dataset with its own may have official scenes' names
    there = [name for name, names in splits.items() if not set(names).isdisjoint(scenes)]
    return f"there are scenes of {', '.join(there) or 'no split'}"


def own_splits(version_folder: Path) -> dict[str, list[str]]:
    """The splits that a version defines itself in its `splits.json`: split name -> scene names; {} without one."""
    path = version_folder / "splits.json"
    if not path.is_file():
        return {}
    expected = "an object of split names and lists of scene names"
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(str(path), expected, str(error)) from error
    if not isinstance(splits, dict) or not all(isinstance(names, list) for names in splits.values()):
        raise InputError(str(path), expected, "another structure")
    return splits


def _official_splits() -> dict[str, list[str]]:
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError:
        return {}
    return create_splits_scenes()
