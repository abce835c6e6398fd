"""A sensor's message as what it measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from perception.ros.clouds import cloud_from_message
from perception.ros.images import image_from_compressed, image_from_message
from perception.types import PointCloud


def read_sensor(kind: str, message: Any, what: str) -> tuple[PointCloud | np.ndarray, tuple[str, ...]]:
    """The cloud, or the pixels (H, W, 3) uint8 RGB, of a message of a sensor of this kind (see rig_file.py); and notes.

    Raises InputError for contents that can't be used.
    """
    if kind == "cloud":
        return cloud_from_message(message, what)
    read = {"image": image_from_message, "compressed": image_from_compressed}[kind]
    return read(message, what), ()
