"""Tiny detectors to measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perception.benchmark.frame import made_up_frame
from perception.benchmark.run import Subject
from perception.config import parse_config
from perception.detector import Detector
from tests.tiny import tiny_data, tiny_network

PILLARS = {"name": "pillars", "channels": 4, "stage_channels": [8]}


def tiny_subject(lidar_encoder: dict | None = None, decodes: bool = False, **parts: Any) -> Subject:
    """Of these parts (see tiny_data), perhaps with another LiDAR encoder, looking at a made-up frame."""
    data = tiny_data(**parts)
    if lidar_encoder is not None:
        data["lidar_encoder"] = lidar_encoder
    config = parse_config(data)
    frame = made_up_frame(config)
    return Subject(Detector(config, tiny_network(config)), lambda: frame, decodes)


def quietly(passes: Iterable[int], total: int, what: str = "") -> Iterable[int]:
    """No progress bar."""
    return passes
