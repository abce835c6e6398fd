"""What the node says fits into ROS messages, and comes out of them again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perception.live.diagnostics import Status
from perception.live.health import Level, State
from perception.live.messages import boxes_message, diagnostic_message, json_message, marker_message
from perception.live.reports import Report, blind_report
from perception.ros.codec import Codec
from perception.types import Boxes3D

pytest.importorskip("rosbags")
STAMP_NS = 1_532_402_927_647_951_000
NOMINAL = State(Level.NOMINAL, {}, 0)
VISION = """
std_msgs/Header header
vision_msgs/Detection3D[] detections
================================================================================
MSG: vision_msgs/Detection3D
std_msgs/Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox3D bbox
string id
================================================================================
MSG: vision_msgs/ObjectHypothesisWithPose
vision_msgs/ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
================================================================================
MSG: vision_msgs/ObjectHypothesis
string class_id
float64 score
================================================================================
MSG: vision_msgs/BoundingBox3D
geometry_msgs/Pose center
geometry_msgs/Vector3 size
"""


def boxes() -> Boxes3D:
    return Boxes3D(
        np.array([[1.0, 2, 3], [4, 5, 6]]),
        np.array([[4.0, 2, 1.5], [0.6, 0.7, 1.8]]),
        np.array([0.5, -2.0]),
        np.array([[1.0, 0], [np.nan, np.nan]]),
        np.array([0.2, 0.9]),
        np.array([0, 1]),
        ("car", "pedestrian"),
    )


def report() -> Report:
    return Report(STAMP_NS, 0, "LIDAR_TOP", NOMINAL, boxes())


def there_and_back(message: object) -> object:
    codec = Codec()
    return codec.decode(codec.encode(message), message.__msgtype__)


def yaw_of(orientation: object) -> float:
    return 2 * np.arctan2(orientation.z, orientation.w)


def test_markers_replace_those_before_and_show_what_scores_enough() -> None:
    clearing, marker = there_and_back(marker_message(Codec.make, report(), 0.25)).markers
    assert (clearing.action, marker.action, marker.type) == (3, 0, 1)
    assert marker.header.frame_id == "LIDAR_TOP"
    assert marker.header.stamp.sec * 10**9 + marker.header.stamp.nanosec == STAMP_NS
    assert (marker.pose.position.x, marker.scale.x, marker.scale.z) == (4, 0.6, 1.8)
    assert yaw_of(marker.pose.orientation) == pytest.approx(-2)
    assert marker.color.a > 0
    assert marker.lifetime.sec == 1


def test_while_blind_markers_only_go() -> None:
    blind = blind_report(STAMP_NS, 0, "LIDAR_TOP", State(Level.BLIND, {"LIDAR_TOP": "nothing came yet"}, 0))
    assert [marker.action for marker in there_and_back(marker_message(Codec.make, blind, 0.0)).markers] == [3]
    content = json.loads(there_and_back(json_message(Codec.make, blind)).data)
    assert (content["state"], content["boxes"], content["missing"]) == (
        "blind",
        [],
        {"LIDAR_TOP": "nothing came yet"},
    )


def test_boxes_go_out_as_vision_msgs_best_first() -> None:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(VISION, "vision_msgs/msg/Detection3DArray"))
    message = boxes_message(lambda kind, **fields: store.types[kind](**fields), report())
    data = store.serialize_cdr(message, "vision_msgs/msg/Detection3DArray")
    best, other = store.deserialize_cdr(data, "vision_msgs/msg/Detection3DArray").detections
    assert (best.results[0].hypothesis.class_id, best.results[0].hypothesis.score) == ("pedestrian", 0.9)
    assert (other.bbox.center.position.x, other.bbox.size.x) == (1, 4)
    assert yaw_of(other.bbox.center.orientation) == pytest.approx(0.5)


def test_diagnostics_keep_their_values() -> None:
    status = Status("bevfuse: health", 1, "degraded: CAM_BACK", {"missing": "CAM_BACK"})
    (back,) = there_and_back(diagnostic_message(Codec.make, STAMP_NS, [status])).status
    assert (back.name, back.level) == ("bevfuse: health", 1)
    assert {value.key: value.value for value in back.values} == {"missing": "CAM_BACK"}
