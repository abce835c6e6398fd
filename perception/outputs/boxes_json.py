"""Detections as plain JSON, in the lidar frame: `bevfuse-boxes-1`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from calibration.files import written_whole
from perception.types import Boxes3D, Frame

FORMAT = "bevfuse-boxes-1"


def frame_record(frame: Frame, boxes: Boxes3D) -> dict[str, Any]:
    """One frame's entry: boxes best first, gravity-centred; m, m/s, and yaw in rad about +z from +x."""
    order = np.argsort(-boxes.scores, kind="stable")
    return {
        "token": frame.token,
        "stamp_ns": frame.stamp_ns,
        "frame": boxes.frame,
        "boxes": [_box_record(boxes, row) for row in order],
    }


def write_boxes(path: Path, frames: Iterable[dict[str, Any]]) -> None:
    """Write the file from its frames' entries, whole or not at all; one entry at a time is in memory."""
    with written_whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": "{FORMAT}", "frames": [')
        for number, frame in enumerate(frames):
            file.write(("\n" if number == 0 else ",\n") + json.dumps(frame, allow_nan=False))
        file.write("\n]}\n")


def _box_record(boxes: Boxes3D, row: int) -> dict[str, Any]:
    return {
        "label": boxes.class_names[boxes.labels[row]],
        "score": float(boxes.scores[row]),
        "center": [float(x) for x in boxes.centers[row]],
        "size": [float(x) for x in boxes.sizes[row]],
        "yaw": float(boxes.yaws[row]),
        "velocity": [float(x) if np.isfinite(x) else None for x in boxes.velocities[row]],
    }
