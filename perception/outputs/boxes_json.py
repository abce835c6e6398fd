"""Detections as plain JSON, in the lidar frame: `bevfuse-boxes-1`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from calibration.files import written_whole
from perception.types import Boxes3D, Frame

FORMAT = "bevfuse-boxes-1"


def frame_record(frame: Frame, boxes: Boxes3D) -> dict[str, Any]:
    """One frame's entry: boxes best first, gravity-centred; m, m/s, and yaw in rad about +z from +x."""
    boxes = boxes.select(np.argsort(-boxes.scores, kind="stable"))
    columns = (boxes.labels, boxes.scores, boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities)
    return {
        "token": frame.token,
        "stamp_ns": frame.stamp_ns,
        "frame": boxes.frame,
        "boxes": [
            {
                "label": boxes.class_names[label],
                "score": score,
                "center": center,
                "size": size,
                "yaw": yaw,
                "velocity": [value if isfinite(value) else None for value in velocity],
            }
            for label, score, center, size, yaw, velocity in zip(*(c.tolist() for c in columns), strict=True)
        ],
    }


def write_boxes(path: Path, frames: Iterable[dict[str, Any]]) -> None:
    """Write the file from its frames' entries, whole or not at all; one entry at a time is in memory."""
    with written_whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": "{FORMAT}", "frames": [')
        for number, frame in enumerate(frames):
            file.write(("\n" if number == 0 else ",\n") + json.dumps(frame, allow_nan=False))
        file.write("\n]}\n")
