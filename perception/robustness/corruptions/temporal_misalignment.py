"""Stamps that are off: what the cameras show is older than their stamps say, by 50 to 200 ms.

Of each camera the image is taken whose stamp is nearest to the delay before its own, and is believed to be younger by
the delay: ego motion is then undone for the wrong instant, and what moves is elsewhere. The delay is exact whether the
dataset has images between keyframes or not. The LiDAR, which boxes refer to, is right. (MultiCorrupt replaces either
sensor's data by the keyframe before, half a second; see camera_lag.)
"""

from __future__ import annotations

from dataclasses import replace

from perception.robustness import Draw
from perception.robustness.history import History, required
from perception.types import Frame

TITLE = "temporal misalignment"
SENSORS = ("camera",)
LEVELS = ("50 ms", "100 ms", "200 ms")
DELAY_NS = (50_000_000, 100_000_000, 200_000_000)


def corrupt(frame: Frame, severity: int, draw: Draw, history: History | None) -> Frame:
    """See perception.robustness.Corruption; it takes a history."""
    past, delay_ns = required(history, "temporal misalignment"), DELAY_NS[severity - 1]
    if frame.world_from_ego is None:
        return frame
    lidar_from_world = (frame.world_from_ego @ frame.ego_from_lidar).inverse()
    cameras = {}
    for name, camera in frame.cameras.items():
        shown = past.image(frame, name, camera.stamp_ns - delay_ns)
        if shown is None or shown.image.shape != camera.image.shape:
            shown = camera
        believed_ns = shown.stamp_ns + delay_ns
        camera_from_ego = shown.camera_from_lidar @ lidar_from_world @ past.world_from_ego(frame, shown.stamp_ns)
        ego_from_world = past.world_from_ego(frame, believed_ns).inverse()
        cameras[name] = replace(
            shown,
            stamp_ns=believed_ns,
            camera_from_lidar=camera_from_ego @ ego_from_world @ lidar_from_world.inverse(),
        )
    return replace(frame, cameras=cameras)
