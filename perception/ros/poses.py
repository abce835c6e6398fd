"""geometry_msgs/msg/Transform and Pose, and what carries them: /tf and nav_msgs/msg/Odometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.ros.fields import header_message, stamp_ns_of
from perception.types import EgoPose

UNIT_TOLERANCE = 1e-3  # of a quaternion's length


def transform_from_message(message: Any, what: str = "transform") -> Transform:
    """Of a geometry_msgs/msg/Transform; InputError for NaN and for quaternions that aren't of unit length."""
    return _transform(message.translation, message.rotation, what)


def transform_from_pose(message: Any, what: str = "pose") -> Transform:
    """`parent_from_child` of a geometry_msgs/msg/Pose of the child in the parent; InputError as above."""
    return _transform(message.position, message.orientation, what)


def ego_pose_from_odometry(message: Any, world_frame: str, ego_frame: str, what: str = "odometry") -> EgoPose:
    """The pose of an Odometry from the world frame to the ego frame; InputError for other frames and bad numbers."""
    for name, expected, got in (
        ("header.frame_id", world_frame, message.header.frame_id),
        ("child_frame_id", ego_frame, message.child_frame_id),
    ):
        if got.lstrip("/") != expected:
            raise InputError(f"{what} {name}", repr(expected), repr(got), "name these frames in the rig")
    return EgoPose(stamp_ns_of(message), transform_from_pose(message.pose.pose, what))


def transform_message(
    make: Callable[..., Any], stamp_ns: int, parent: str, child: str, parent_from_child: Transform
) -> Any:
    """A geometry_msgs/msg/TransformStamped."""
    translation, rotation = _numbers(make, parent_from_child, "geometry_msgs/msg/Vector3")
    transform = make("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header_message(make, stamp_ns, parent),
        child_frame_id=child,
        transform=transform,
    )


def odometry_message(
    make: Callable[..., Any], stamp_ns: int, world_frame: str, ego_frame: str, world_from_ego: Transform
) -> Any:
    """An Odometry without velocities: its twist is zero and its covariances say nothing."""
    position, orientation = _numbers(make, world_from_ego, "geometry_msgs/msg/Point")
    pose = make("geometry_msgs/msg/Pose", position=position, orientation=orientation)
    still = {name: make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0) for name in ("linear", "angular")}
    twist = make("geometry_msgs/msg/Twist", **still)
    unknown = np.zeros(36)
    return make(
        "nav_msgs/msg/Odometry",
        header=header_message(make, stamp_ns, world_frame),
        child_frame_id=ego_frame,
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=unknown),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=unknown),
    )


def _transform(translation: Any, rotation: Any, what: str) -> Transform:
    quaternion = np.array([rotation.w, rotation.x, rotation.y, rotation.z])
    length = np.linalg.norm(quaternion)
    if not abs(length - 1) <= UNIT_TOLERANCE:  # NaN is not either
        raise InputError(f"{what} quaternion", "w x y z of length 1", " ".join(f"{value:g}" for value in quaternion))
    return Transform.from_quaternion(quaternion, (translation.x, translation.y, translation.z), what)


def _numbers(make: Callable[..., Any], transform: Transform, vector: str) -> tuple[Any, Any]:
    x, y, z = map(float, transform.translation)
    qw, qx, qy, qz = map(float, transform.quaternion)
    return make(vector, x=x, y=y, z=z), make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw)
