"""Detections as a nuScenes submission: what the official evaluation scores.

Source of the format: the nuScenes detection task, "Results format"; boxes are in the world frame there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.files import written_whole
from calibration.spelling import did_you_mean
from calibration.transform import Transform
from perception.nuscenes import CLASS_NAMES, attribute_of
from perception.types import Boxes3D, Frame

MOST_BOXES = 500  # a sample; the official loader refuses more


def write_results(
    path: Path,
    samples: Iterable[tuple[str, list[dict]]],  # sample token and its records, see `sample_results`
    *,
    use_camera: bool,
    use_lidar: bool,
) -> None:
    """Write a submission file (JSON), whole or not at all; one sample at a time is in memory.

    `use_camera` and `use_lidar` are what the submission declares to be made from. Raises InputError for a sample that
    comes twice.
    """
    meta = {"use_camera": use_camera, "use_lidar": use_lidar}
    meta |= {"use_radar": False, "use_map": False, "use_external": False}
    seen: set[str] = set()
    with written_whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.write(f'{{"meta": {json.dumps(meta)}, "results": {{')
        for token, records in samples:
            if token in seen:
                raise InputError(f"results of sample {token}", "each sample once", "it for the second time")
            separator = ",\n" if seen else "\n"
            file.write(f"{separator}{json.dumps(token)}: {json.dumps(records, allow_nan=False)}")
            seen.add(token)
        file.write("\n}}\n")


def sample_results(frame: Frame, boxes: Boxes3D) -> list[dict]:
    """A frame's boxes as the format's records, best first and the best 500 only.

    The orientation is the box's yaw in the lidar frame followed by the whole rotation to the world, tilt included.
    An unknown velocity (NaN) is written as standing still: JSON has no NaN, and the evaluation would skip such a box's
    velocity error, which would reward not knowing. The attribute follows from class and speed.
    Raises InputError for a frame without a pose, boxes that aren't in its lidar frame or have classes that nuScenes
    doesn't, sizes that aren't positive, and numbers that aren't finite.
    """
    if frame.world_from_ego is None:
        raise InputError(
            f"frame {frame.token}", "world_from_ego, since nuScenes results are in the world frame", "none"
        )
    if boxes.frame != "lidar":
        raise InputError(f"boxes of sample {frame.token}", "in the lidar frame", f"in the {boxes.frame} frame")
    for name in boxes.class_names:
        if name not in CLASS_NAMES:
            raise InputError(
                "class for nuScenes results", "a nuScenes class", repr(name), did_you_mean(name, CLASS_NAMES)
            )
    _check_numbers(boxes, frame.token)
    boxes = boxes.select(np.argsort(-boxes.scores, kind="stable")[:MOST_BOXES])
    world_from_lidar = frame.world_from_ego @ frame.ego_from_lidar
    columns = (
        world_from_lidar.apply(boxes.centers).tolist(),
        np.asarray(boxes.sizes, np.float64)[:, [1, 0, 2]].tolist(),  # width, length, height
        _quaternions_wxyz(world_from_lidar, boxes.yaws).tolist(),
        _velocities_world(world_from_lidar, boxes.velocities).tolist(),
        [boxes.class_names[label] for label in boxes.labels],
        np.asarray(boxes.scores, np.float64).tolist(),
    )
    return [_record(frame.token, *row) for row in zip(*columns, strict=True)]


def _record(
    token: str,
    translation: list[float],
    size: list[float],
    rotation: list[float],
    velocity: list[float],
    name: str,
    score: float,
) -> dict:
    return {
        "sample_token": token,
        "translation": translation,
        "size": size,
        "rotation": rotation,
        "velocity": velocity,
        "detection_name": name,
        "detection_score": score,
        "attribute_name": attribute_of(name, float(np.hypot(*velocity))),
    }


def _quaternions_wxyz(world_from_lidar: Transform, yaws: np.ndarray) -> np.ndarray:
    if not len(yaws):
        return np.zeros((0, 4))
    lidar_from_box = Rotation.from_euler("z", np.asarray(yaws, np.float64)[:, None])
    return np.roll((Rotation.from_matrix(world_from_lidar.rotation) * lidar_from_box).as_quat(), 1, axis=1)


def _velocities_world(world_from_lidar: Transform, velocities: np.ndarray) -> np.ndarray:
    flat = np.column_stack([np.nan_to_num(velocities), np.zeros(len(velocities))])
    return world_from_lidar.rotate(flat)[:, :2]


def _check_numbers(boxes: Boxes3D, token: str) -> None:
    for name in ("centers", "sizes", "yaws", "scores"):
        if not np.isfinite(getattr(boxes, name)).all():
            raise InputError(f"boxes.{name} of sample {token}", "finite numbers", "NaN or infinity")
    if np.isinf(boxes.velocities).any():
        raise InputError(f"boxes.velocities of sample {token}", "finite numbers, or NaN where unknown", "infinity")
    if not (np.asarray(boxes.sizes) > 0).all():
        raise InputError(f"boxes.sizes of sample {token}", "sizes > 0", f"{np.min(boxes.sizes):g}")
