"""What the node says as ROS messages; `make` is told in perception/ros/codec.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from perception.live.diagnostics import NAME, Status
from perception.live.reports import Report
from perception.outputs.drawing.colours import class_colours
from perception.ros.fields import header_message
from perception.types import Boxes3D

CUBE, ADD, DELETE_ALL = 1, 0, 3  # of visualization_msgs/msg/Marker
LIFETIME_NS = 1_000_000_000  # markers go when nothing new comes
ALPHA = 0.5
Make = Callable[..., Any]


def json_message(make: Make, report: Report) -> Any:
    """A std_msgs/msg/String."""
    return make("std_msgs/msg/String", data=report.json())


def marker_message(make: Make, report: Report, threshold: float) -> Any:
    """A MarkerArray: what was there goes, and boxes that score at least so much come."""
    markers = [_marker(make, report, 0, DELETE_ALL)]
    boxes = report.boxes.select(report.boxes.scores >= threshold) if report.boxes is not None else None
    for row in range(len(boxes) if boxes is not None else 0):
        markers.append(_marker(make, report, row + 1, ADD, boxes, row))
    return make("visualization_msgs/msg/MarkerArray", markers=markers)


def boxes_message(make: Make, report: Report) -> Any:
    """A vision_msgs/msg/Detection3DArray, best first."""
    header, boxes = header_message(make, report.stamp_ns, report.frame_id), report.boxes
    order = np.argsort(-boxes.scores, kind="stable") if boxes is not None else ()
    return make(
        "vision_msgs/msg/Detection3DArray",
        header=header,
        detections=[_detection(make, header, boxes, row) for row in order],
    )


def diagnostic_message(make: Make, now_ns: int, statuses: Sequence[Status]) -> Any:
    """A DiagnosticArray."""
    return make(
        "diagnostic_msgs/msg/DiagnosticArray",
        header=header_message(make, now_ns, ""),
        status=[
            make(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=status.level,
                name=status.name,
                message=status.message,
                hardware_id=NAME,
                values=[make("diagnostic_msgs/msg/KeyValue", key=k, value=v) for k, v in status.values.items()],
            )
            for status in statuses
        ],
    )


def _marker(make: Make, report: Report, number: int, action: int, boxes: Boxes3D | None = None, row: int = 0) -> Any:
    size, colour, alpha, pose = (0.0, 0.0, 0.0), (0, 0, 0), 0.0, _pose(make, (0.0, 0.0, 0.0), 0.0)
    if boxes is not None:
        size, pose = boxes.sizes[row], _pose(make, boxes.centers[row], boxes.yaws[row])
        colour, alpha = class_colours(boxes.class_names)[boxes.labels[row]], ALPHA
    red, green, blue = (value / 255 for value in colour)
    nothing = make("builtin_interfaces/msg/Time", sec=0, nanosec=0)
    return make(
        "visualization_msgs/msg/Marker",
        header=header_message(make, report.stamp_ns, report.frame_id),
        ns=NAME,
        id=number,
        type=CUBE,
        action=action,
        pose=pose,
        scale=_vector(make, "geometry_msgs/msg/Vector3", size),
        color=make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=alpha),
        lifetime=make("builtin_interfaces/msg/Duration", sec=LIFETIME_NS // 10**9, nanosec=LIFETIME_NS % 10**9),
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource="",
        texture=make(
            "sensor_msgs/msg/CompressedImage",
            header=make("std_msgs/msg/Header", stamp=nothing, frame_id=""),
            format="",
            data=np.zeros(0, np.uint8),
        ),
        uv_coordinates=[],
        text="",
        mesh_resource="",
        mesh_file=make("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
        mesh_use_embedded_materials=False,
    )


def _detection(make: Make, header: Any, boxes: Boxes3D, row: int) -> Any:
    pose = _pose(make, boxes.centers[row], boxes.yaws[row])
    hypothesis = make(
        "vision_msgs/msg/ObjectHypothesis",
        class_id=boxes.class_names[boxes.labels[row]],
        score=float(boxes.scores[row]),
    )
    with_pose = make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
    return make(
        "vision_msgs/msg/Detection3D",
        header=header,
        results=[make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=with_pose)],
        bbox=make(
            "vision_msgs/msg/BoundingBox3D",
            center=pose,
            size=_vector(make, "geometry_msgs/msg/Vector3", boxes.sizes[row]),
        ),
        id="",
    )


def _pose(make: Make, center: Sequence[float], yaw: float) -> Any:
    half = float(yaw) / 2
    turned = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half)))
    return make("geometry_msgs/msg/Pose", position=_vector(make, "geometry_msgs/msg/Point", center), orientation=turned)


def _vector(make: Make, kind: str, values: Sequence[float]) -> Any:
    x, y, z = map(float, values)
    return make(kind, x=x, y=y, z=z)
