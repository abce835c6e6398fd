"""Rigid transforms: they compose, invert and interpolate as SciPy's do, and refuse what isn't rigid."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from calibration.errors import InputError
from calibration.transform import PoseTrack, Transform, interpolate
from tests.calibration.samples import generator, random_transform

CASES = range(20)
START_NS = 1_532_402_927_647_951_000  # as in real logs: neighbouring floats are 256 ns apart here


@pytest.mark.parametrize("seed", CASES)
def test_chains_cancel(seed):
    rng = generator(seed)
    c_from_b, b_from_a = random_transform(rng), random_transform(rng)
    points_a = rng.normal(0, 50, (7, 5, 3))
    np.testing.assert_allclose(
        (c_from_b @ b_from_a).apply(points_a), c_from_b.apply(b_from_a.apply(points_a)), atol=1e-9
    )
    np.testing.assert_allclose(c_from_b.inverse().apply(c_from_b.apply(points_a)), points_a, atol=1e-9)
    np.testing.assert_allclose((c_from_b @ b_from_a).matrix, c_from_b.matrix @ b_from_a.matrix, atol=1e-12)
    np.testing.assert_allclose(c_from_b.inverse().matrix, np.linalg.inv(c_from_b.matrix), atol=1e-12)


@pytest.mark.parametrize("seed", CASES)
def test_matrix_and_quaternion_describe_the_same_transform(seed):
    transform = random_transform(generator(seed))
    w, x, y, z = quaternion = transform.quaternion
    assert w >= 0
    np.testing.assert_allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), transform.rotation, atol=1e-12)
    for sign in (1, -3.5):  # of any length, and a quaternion means the same with all signs changed
        again = Transform.from_quaternion(sign * quaternion, transform.translation)
        np.testing.assert_allclose(again.matrix, transform.matrix, atol=1e-12)
    np.testing.assert_array_equal(Transform.from_matrix(transform.matrix).matrix, transform.matrix)


def test_quaternion_of_nuscenes_order_turns_as_expected():
    quarter_left = Transform.from_quaternion([np.sqrt(0.5), 0, 0, np.sqrt(0.5)], [1, 2, 3])
    np.testing.assert_allclose(quarter_left.apply([1.0, 0, 0]), [1, 3, 3], atol=1e-12)
    np.testing.assert_allclose(quarter_left.rotate([1.0, 0, 0]), [0, 1, 0], atol=1e-12)


def test_rotation_alone_leaves_the_origin_in_place():
    rotation = random_transform(generator()).rotation
    np.testing.assert_array_equal(Transform.from_matrix(rotation).apply(np.zeros(3)), np.zeros(3))


def test_float32_numbers_are_kept_as_they_are():
    matrix = random_transform(generator()).matrix.astype(np.float32)
    transform = Transform.from_matrix(matrix)
    np.testing.assert_array_equal(transform.matrix, matrix.astype(np.float64))
    assert transform.apply(np.ones((4, 3), np.float32)).dtype == np.float64


def test_what_was_read_from_rounded_numbers_still_composes():
    rough = Transform.from_matrix(np.diag([1.00004, 1.00004, 1.00004, 1]))
    there = rough @ rough @ rough
    np.testing.assert_allclose((there.inverse() @ there).matrix, np.eye(4), atol=1e-3)
    with pytest.raises(ValueError, match="read-only"):
        there.rotation[0, 0] = 2


def test_a_transform_can_not_be_changed():
    matrix = np.eye(4)
    transform = Transform.from_matrix(matrix)
    matrix[0, 3] = 5
    assert transform.translation[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        transform.rotation[0, 0] = 2


def test_boxes_turn_with_the_frame():
    rng = generator()
    yaw = 0.7
    target_from_source = Transform(Rotation.from_euler("z", yaw).as_matrix(), [10, -5, 2])
    centers, yaws, velocities = rng.normal(0, 20, (9, 3)), rng.uniform(-np.pi, np.pi, 9), rng.normal(0, 5, (9, 2))
    velocities[4] = np.nan
    new_centers, new_yaws, new_velocities = target_from_source.apply_boxes(centers, yaws, velocities)
    np.testing.assert_allclose(new_centers, target_from_source.apply(centers))
    np.testing.assert_allclose(np.exp(1j * new_yaws), np.exp(1j * (yaws + yaw)), atol=1e-12)
    turned = (velocities[:, 0] + 1j * velocities[:, 1]) * np.exp(1j * yaw)
    np.testing.assert_allclose(new_velocities, np.c_[turned.real, turned.imag], atol=1e-12)
    assert np.isnan(new_velocities[4]).all()
    assert np.isfinite(np.delete(new_velocities, 4, axis=0)).all()


def test_boxes_on_a_slope_keep_the_part_in_the_plane():
    pitched = Transform(Rotation.from_euler("y", 60, degrees=True).as_matrix(), np.zeros(3))
    _, yaws, velocities = pitched.apply_boxes(np.zeros((1, 3)), [np.pi / 4], [[4.0, 3.0]])
    np.testing.assert_allclose(yaws, [np.arctan2(1, 0.5)])
    np.testing.assert_allclose(velocities, [[2, 3]], atol=1e-12)


def test_no_boxes_stay_no_boxes():
    shapes = [a.shape for a in Transform.identity().apply_boxes(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)))]
    assert shapes == [(0, 3), (0,), (0, 2)]


@pytest.mark.parametrize("seed", CASES)
def test_interpolation_is_slerp_and_a_straight_line(seed):
    rng = generator(seed)
    earlier, later = random_transform(rng), random_transform(rng)
    slerp = Slerp([0, 1], Rotation.from_matrix([earlier.rotation, later.rotation]))
    for fraction in (0, 0.25, 0.9, 1):
        between = interpolate(earlier, later, fraction)
        np.testing.assert_allclose(between.rotation, slerp(fraction).as_matrix(), atol=1e-9)
        np.testing.assert_allclose(
            between.translation, (1 - fraction) * earlier.translation + fraction * later.translation, atol=1e-9
        )


@pytest.mark.parametrize("seed", CASES)
def test_rotation_follows_the_quaternion_formula_the_short_way_round(seed):
    rng = generator(seed)
    earlier, later = random_transform(rng), random_transform(rng)
    a, b = earlier.quaternion, later.quaternion
    b = b if a @ b >= 0 else -b
    half = np.arccos(a @ b)
    for fraction in (0.3, 1.2, -0.1):
        expected = (np.sin((1 - fraction) * half) * a + np.sin(fraction * half) * b) / np.sin(half)
        got = interpolate(earlier, later, fraction).rotation
        np.testing.assert_allclose(got, Transform.from_quaternion(expected).rotation, atol=1e-9)


def test_a_motion_at_constant_velocity_is_met_everywhere():
    """A track sampled from a known motion (constant yaw rate about a fixed axis, constant velocity) gives it back."""
    stamps_ns = START_NS + np.array([0, 50_000_000, 120_000_000])
    track = PoseTrack(stamps_ns, tuple(_motion(stamp - START_NS) for stamp in stamps_ns.tolist()))
    for offset_ns in (-10_000_000, 0, 1, 49_999_999, 50_000_000, 77_000_001, 120_000_000, 130_000_000):
        pose = track.at(START_NS + offset_ns, max_extrapolation_ns=10_000_000)
        np.testing.assert_allclose(pose.matrix, _motion(offset_ns).matrix, atol=1e-9)


def test_a_track_says_no_beyond_its_reach():
    track = PoseTrack(START_NS + np.array([0, 50_000_000]), (Transform.identity(), Transform.identity()))
    for stamp_ns in (START_NS - 1, START_NS + 50_000_001):
        with pytest.raises(InputError, match="pose stamp: expected"):
            track.at(stamp_ns)
    with pytest.raises(InputError, match="20 ms outside"):
        track.at(START_NS + 70_000_000, max_extrapolation_ns=10_000_000)


def test_one_pose_has_no_velocity():
    pose = random_transform(generator())
    track = PoseTrack(np.array([START_NS]), (pose,))
    assert track.at(START_NS) is pose
    with pytest.raises(InputError, match="at least two poses"):
        track.at(START_NS + 1, max_extrapolation_ns=1000)


@pytest.mark.parametrize(
    ("stamps_ns", "count", "message"),
    [
        ([1, 3, 3], 3, "strictly increasing, got 3 ns after 3 ns"),
        ([1, 3, 2], 3, "strictly increasing, got 2 ns after 3 ns"),
        ([1, 2], 3, "one a stamp, 2, got 3"),
        ([], 0, "K > 0"),
        ([0.5, 1.5], 2, "integer nanoseconds"),
    ],
)
def test_tracks_that_make_no_sense_are_refused(stamps_ns, count, message):
    with pytest.raises(InputError, match=message):
        PoseTrack(np.array(stamps_ns), (Transform.identity(),) * count)


MIRROR = np.diag([1.0, 1, -1, 1])
SCALED = np.diag([1.1, 1.1, 1.1, 1])
PROJECTIVE = np.eye(4) + np.outer([0, 0, 0, 1], [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (MIRROR, r"cam2ego: expected a rotation matrix .* got det -1.000"),
        (SCALED, r"cam2ego: .* got det 1.331, \|R R\^T - I\| 0.21"),
        (PROJECTIVE, "cam2ego: expected a last row 0 0 0 1, got 0 0 1 1"),
        (np.eye(4)[:3], r"cam2ego: expected shape \(4, 4\) or \(3, 3\), got \(3, 4\)"),
        (np.full((4, 4), np.nan), "cam2ego: expected finite numbers, got nan"),
        ([[1, 2], [3]], "cam2ego: expected numbers of shape"),
        ("north", "cam2ego: expected numbers of shape"),
        (None, "cam2ego: expected"),
    ],
)
def test_matrices_that_are_not_rigid_are_refused_by_name(matrix, message):
    with pytest.raises(InputError, match=message):
        Transform.from_matrix(matrix, "cam2ego")


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [1, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0], "1 0 0 0"])
def test_quaternions_without_a_direction_are_refused(quaternion):
    with pytest.raises(InputError, match="imu quaternion"):
        Transform.from_quaternion(quaternion, what="imu")


@pytest.mark.parametrize("shape", [(3, 4), (2,), (), (4, 0)])
def test_points_of_another_size_are_refused(shape):
    with pytest.raises(InputError, match="points to transform"):
        Transform.identity().apply(np.zeros(shape))


def test_only_transforms_compose():
    with pytest.raises(InputError, match="expected a Transform, got ndarray; move points with apply"):
        Transform.identity() @ np.eye(4)


def _motion(offset_ns: int) -> Transform:
    seconds = offset_ns / 1e9
    start = Rotation.from_euler("xyz", [0.1, -0.2, 2.9])
    turned = start * Rotation.from_rotvec(np.array([0.2, -0.1, 1.5]) * seconds)
    return Transform(turned.as_matrix(), np.array([400.0, 1180, 0]) + np.array([8.0, -3, 0.2]) * seconds)
