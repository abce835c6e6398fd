"""Transforms and poses from messages: chains multiply out, what is missing or moves where it may not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from calibration.transform import Transform
from perception.ros.codec import Codec
from perception.ros.frames import FrameTree, TreePoses
from perception.ros.poses import ego_pose_from_odometry, odometry_message, transform_from_message, transform_message

pytest.importorskip("rosbags")
CODEC = Codec()


def pose(seed: int) -> Transform:
    rng = np.random.default_rng(seed)
    return Transform(Rotation.from_rotvec(rng.uniform(-1, 1, 3)).as_matrix(), rng.uniform(-5, 5, 3))


def edge(parent: str, child: str, parent_from_child: Transform, stamp_ns: int = 0) -> Any:
    return transform_message(CODEC.make, stamp_ns, parent, child, parent_from_child)


def test_a_transform_survives_its_message_and_bytes() -> None:
    message = CODEC.make("tf2_msgs/msg/TFMessage", transforms=[edge("a", "b", pose(1), 5_000_000_007)])
    got = CODEC.decode(CODEC.encode(message), "tf2_msgs/msg/TFMessage").transforms[0]
    np.testing.assert_allclose(transform_from_message(got.transform).matrix, pose(1).matrix, atol=1e-12)
    assert (got.header.stamp.sec, got.header.stamp.nanosec, got.child_frame_id) == (5, 7, "b")


def test_an_odometry_is_an_ego_pose() -> None:
    message = odometry_message(CODEC.make, 5_000_000_007, "map", "base_link", pose(2))
    got = ego_pose_from_odometry(CODEC.decode(CODEC.encode(message), message.__msgtype__), "map", "base_link")
    assert got.stamp_ns == 5_000_000_007
    np.testing.assert_allclose(got.world_from_ego.matrix, pose(2).matrix, atol=1e-12)
    with pytest.raises(InputError, match="child_frame_id: expected 'rear_axle', got 'base_link'"):
        ego_pose_from_odometry(message, "map", "rear_axle")


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, np.nan), (0, 0, 0, 0.9), (np.inf, 0, 0, 1)])
def test_a_quaternion_that_is_no_rotation_is_an_input_error(quaternion: tuple) -> None:
    message = edge("map", "base_link", pose(3))
    x, y, z, w = map(float, quaternion)
    rotation = CODEC.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
    with pytest.raises(InputError, match="quaternion: expected w x y z of length 1, got"):
        transform_from_message(replace(message.transform, rotation=rotation))


def test_a_position_that_is_no_number_is_an_input_error() -> None:
    message = edge("map", "base_link", pose(3))
    message.transform.translation.x = np.nan
    with pytest.raises(InputError, match="translation: expected finite numbers, got nan"):
        transform_from_message(message.transform)


def test_mounts_multiply_out_along_the_tree_and_across_it() -> None:
    tree = FrameTree()
    tree.add(
        [edge("base_link", "roof", pose(1)), edge("/roof", "/lidar", pose(2)), edge("base_link", "cam", pose(3))], True
    )
    np.testing.assert_allclose(tree.fixed("base_link", "lidar").matrix, (pose(1) @ pose(2)).matrix)
    expected = pose(3).inverse() @ pose(1) @ pose(2)
    np.testing.assert_allclose(tree.fixed("cam", "lidar").matrix, expected.matrix, atol=1e-12)


def test_a_sensor_that_is_not_mounted_is_named_with_the_frames_there_are() -> None:
    tree = FrameTree()
    tree.add([edge("base_link", "lidar_top", pose(1))], True)
    with pytest.raises(InputError, match="one named lidar, got base_link, lidar_top; did you mean lidar_top"):
        tree.fixed("base_link", "lidar")
    tree.add([edge("island", "cam", pose(1))], True)
    with pytest.raises(InputError, match="from cam to base_link: expected static transforms between them, got none"):
        tree.fixed("base_link", "cam")


def test_a_sensor_on_a_moving_part_is_an_input_error() -> None:
    tree = FrameTree()
    tree.add([edge("base_link", "turret", pose(1))], False)
    tree.add([edge("turret", "cam", pose(2))], True)
    with pytest.raises(InputError, match=r"from turret to base_link: expected a static one.*got one that moves"):
        tree.fixed("base_link", "cam")


def test_a_second_parent_and_a_circle_are_input_errors() -> None:
    tree = FrameTree()
    tree.add([edge("a", "b", pose(1)), edge("b", "c", pose(1))], True)
    with pytest.raises(InputError, match="one parent of c, b, got a second one"):
        tree.add([edge("a", "c", pose(1))], True)
    with pytest.raises(InputError, match="a tree of frames, got a circle"):
        tree.add([edge("c", "a", pose(1))], True)


def test_a_pose_is_known_whenever_the_moving_frame_nearest_to_the_ego_is() -> None:
    poses = TreePoses("map", "base_link")
    assert list(poses.add([edge("odom", "footprint", pose(1), 10)], False)) == []  # no way to the map yet
    assert list(poses.add([edge("map", "odom", pose(2), 11)], False)) == []
    assert list(poses.add([edge("footprint", "base_link", pose(3))], True)) == []
    (first,) = poses.add([edge("odom", "footprint", pose(4), 20)], False)
    assert first.stamp_ns == 20
    np.testing.assert_allclose(first.world_from_ego.matrix, (pose(2) @ pose(4) @ pose(3)).matrix)
    assert list(poses.add([edge("map", "odom", pose(5), 21)], False)) == []
    (second,) = poses.add([edge("odom", "footprint", pose(4), 30)], False)
    np.testing.assert_allclose(second.world_from_ego.matrix, (pose(5) @ pose(4) @ pose(3)).matrix)
