"""Cameras image as OpenCV's do wherever both say something, and say nothing (NaN) where the lens doesn't reach."""

import cv2
import numpy as np
import pytest

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.lens import lens
from tests.calibration.samples import COEFFICIENTS, camera, generator, points_in_view, random_transform

PERSPECTIVE = ("pinhole", "plumb_bob", "rational")
KINDS = tuple(COEFFICIENTS)
CASES = range(10)
PRECISE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-15)


@pytest.mark.parametrize("seed", CASES)
@pytest.mark.parametrize("kind", PERSPECTIVE)
def test_projection_is_opencv_s(kind, seed):
    rng = generator(seed)
    intrinsics, points = camera(kind, rng), points_in_view(rng)
    world_from_camera = random_transform(rng)
    rotation_vector = cv2.Rodrigues(world_from_camera.rotation.T)[0]
    translation = world_from_camera.inverse().translation
    points_world = world_from_camera.apply(points)
    coefficients = np.array(intrinsics.coefficients)
    expected = cv2.projectPoints(points_world, rotation_vector, translation, intrinsics.matrix, coefficients)[0][:, 0]
    got = intrinsics.project(world_from_camera.inverse().apply(points_world))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", CASES)
def test_fisheye_projection_is_opencv_s(seed):
    rng = generator(seed)
    intrinsics, points = camera("equidistant", rng), points_in_view(rng)
    expected = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), intrinsics.matrix, np.array(intrinsics.coefficients)
    )[0][:, 0]
    np.testing.assert_allclose(intrinsics.project(points), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", CASES)
@pytest.mark.parametrize("kind", PERSPECTIVE)
def test_rays_are_opencv_s(kind, seed):
    rng = generator(seed)
    intrinsics = camera(kind, rng)
    pixels = rng.uniform((0, 0), (1600, 900), (200, 2))
    coefficients = np.array(intrinsics.coefficients)
    undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # one function since OpenCV 5
    expected = undistort(pixels[:, None], intrinsics.matrix, coefficients, R=None, P=None, criteria=PRECISE)[:, 0]
    rays = intrinsics.unproject(pixels)
    np.testing.assert_allclose(rays[:, :2] / rays[:, 2:], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", CASES)
def test_fisheye_rays_are_opencv_s(seed):
    rng = generator(seed)
    intrinsics = camera("equidistant", rng)
    pixels = rng.uniform((350, 100), (1250, 800), (200, 2))
    expected = cv2.fisheye.undistortPoints(
        pixels[:, None], intrinsics.matrix, np.array(intrinsics.coefficients), criteria=PRECISE
    )[:, 0]
    rays = intrinsics.unproject(pixels)
    np.testing.assert_allclose(rays[:, :2] / rays[:, 2:], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_ray_leads_back_to_its_point(kind, seed):
    rng = generator(seed)
    intrinsics, points = camera(kind, rng), points_in_view(rng).reshape(10, 20, 3)
    rays = intrinsics.unproject(intrinsics.project(points))
    assert rays.shape == (10, 20, 3)
    np.testing.assert_allclose(rays, points / np.linalg.norm(points, axis=-1, keepdims=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_axis_meets_the_principal_point(kind):
    intrinsics = camera(kind)
    np.testing.assert_allclose(intrinsics.project([0.0, 0, 7]), (intrinsics.cx, intrinsics.cy), atol=1e-12)
    np.testing.assert_allclose(intrinsics.unproject((intrinsics.cx, intrinsics.cy)), (0, 0, 1), atol=1e-12)


@pytest.mark.parametrize("kind", PERSPECTIVE)
def test_nothing_behind_the_camera_is_in_the_picture(kind):
    pixels = camera(kind).project([[0.1, 0.1, -5], [0, 0, 0], [1, 0, 0], [0.1, 0.1, 5], [np.nan, 0, 1]])
    np.testing.assert_array_equal(np.isnan(pixels).any(axis=1), [True, True, True, False, True])


def test_points_far_off_the_axis_do_not_fold_back_into_the_picture():
    """With k1 alone the radius in the picture, r + k1 r^3, stops growing at r = 1 / sqrt(-3 k1)."""
    intrinsics = Intrinsics(1600, 900, 500, 500, 800, 450, "plumb_bob", (-0.3, 0, 0, 0, 0))
    turning = np.sqrt(1 / 0.9)
    radii = np.r_[np.linspace(0, turning - 1e-9, 100), turning + 1e-9, 2, 10]
    columns = intrinsics.project(np.c_[radii, 0 * radii, 1 + 0 * radii])[:, 0]
    assert (np.diff(columns[:100]) > 0).all()
    assert np.isnan(columns[100:]).all()
    outermost = 800 + 500 * turning * 2 / 3
    rays = intrinsics.unproject([[outermost - 1e-3, 450], [outermost + 1e-3, 450]])
    np.testing.assert_array_equal(np.isnan(rays).any(axis=1), [False, True])


def test_the_rational_model_ends_at_its_pole():
    limit = lens("plumb_bob", (0.0, 0, 0, 0, 0, -0.5, 0, 0)).max_radius
    assert limit == pytest.approx(np.sqrt(2))  # r / (1 - r^2 / 2) grows up to there
    intrinsics = Intrinsics(1600, 900, 500, 500, 800, 450, "plumb_bob", (0.0, 0, 0, 0, 0, -0.5, 0, 0))
    assert np.isnan(intrinsics.project([1.5, 0, 1])).all()


SPREADS = {
    "plumb_bob": (0.4, 0.2, 0.003, 0.003, 0.1),
    "rational": (0.6, 0.3, 0.003, 0.003, 0.1, 0.6, 0.3, 0.1),
    "equidistant": (0.1, 0.05, 0.02, 0.01),
}


@pytest.mark.parametrize("kind", SPREADS)
def test_whatever_the_coefficients_an_imaged_point_is_found_again_and_never_another(kind):
    rng = generator()
    model = "plumb_bob" if kind == "rational" else kind
    imaged = 0
    for _ in range(30):
        intrinsics = Intrinsics(1600, 900, 1000, 1000, 800, 450, model, tuple(rng.normal(0, SPREADS[kind])))
        reach = np.pi if kind == "equidistant" else np.arctan(3)
        angle, around = rng.uniform(0, reach, 300), rng.uniform(-np.pi, np.pi, 300)
        rays = np.c_[np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)]
        pixels = intrinsics.project(rays)
        seen = np.isfinite(pixels).all(axis=1)
        imaged += seen.sum()
        np.testing.assert_allclose(intrinsics.unproject(pixels[seen]), rays[seen], rtol=0, atol=1e-9)
    assert imaged > 2000


def test_fading_coefficients_change_nothing():
    plain = Intrinsics(1600, 900, 500, 500, 800, 450)
    faded = Intrinsics(1600, 900, 500, 500, 800, 450, "plumb_bob", (0, 0, 0, 0, 1e-300))
    points = points_in_view(generator())
    np.testing.assert_allclose(faded.project(points), plain.project(points), atol=1e-9)


def test_a_fisheye_sees_sideways_and_backwards_as_far_as_its_lens_reaches():
    intrinsics = Intrinsics(1000, 1000, 300, 300, 499.5, 499.5, "equidistant", (0, 0, 0, 0))
    angles = np.radians([30, 90, 120, 179])
    points = np.c_[np.sin(angles), 0 * angles, np.cos(angles)] * 4
    pixels = intrinsics.project(points)
    np.testing.assert_allclose(pixels, np.c_[499.5 + 300 * angles, 499.5 + 0 * angles])
    np.testing.assert_allclose(intrinsics.unproject(pixels), points / 4, atol=1e-12)
    assert np.isnan(intrinsics.project([[0, 0, -1.0], [0, 0, 0]])).all()
    assert np.isnan(intrinsics.unproject([499.5 + 300 * 3.15, 499.5])).all()


def test_a_fisheye_polynomial_is_used_while_it_grows():
    intrinsics = Intrinsics(1000, 1000, 300, 300, 499.5, 499.5, "equidistant", (-1 / 12, 0, 0, 0))  # up to 2 rad
    angles = np.array([1.99, 2.01])
    pixels = intrinsics.project(np.c_[np.sin(angles), 0 * angles, np.cos(angles)])
    np.testing.assert_array_equal(np.isnan(pixels).any(axis=1), [False, True])
    edge = 499.5 + 300 * (2 - 8 / 12)
    rays = intrinsics.unproject([[edge - 1e-3, 499.5], [edge + 1e-3, 499.5]])
    np.testing.assert_array_equal(np.isnan(rays).any(axis=1), [False, True])


@pytest.mark.parametrize("kind", KINDS)
def test_wild_numbers_give_nan_and_leave_their_neighbours_alone(kind):
    intrinsics = camera(kind)
    rays = intrinsics.unproject([[np.nan, 0], [np.inf, 3], [900, 500]])
    np.testing.assert_array_equal(np.isnan(rays).any(axis=1), [True, True, False])
    np.testing.assert_allclose(intrinsics.project(rays[2]), [900, 500], atol=1e-9)
    with_wild = intrinsics.unproject([[1e9, 0], [900, 500]])
    np.testing.assert_allclose(with_wild[1], rays[2], atol=1e-12)


def test_an_image_reaches_half_a_pixel_beyond_its_outer_pixel_centres():
    intrinsics = Intrinsics(4, 3, 2, 2, 1.5, 1)
    inside = [[-0.5, -0.5], [3.49, 2.49], [0, 1]]
    outside = [[-0.51, 0], [3.5, 0], [0, 2.5], [0, -0.51], [np.nan, 0], [0, np.nan]]
    assert intrinsics.in_image(inside).all()
    assert not intrinsics.in_image(outside).any()


@pytest.mark.parametrize("kind", KINDS)
def test_resizing_and_cropping_move_pixels_as_they_move_the_image(kind):
    intrinsics, points = camera(kind), points_in_view(generator())
    pixels = intrinsics.project(points)
    resized = intrinsics.resized(704, 396)
    assert (resized.width, resized.height) == (704, 396)
    np.testing.assert_allclose(resized.project(points) + 0.5, (pixels + 0.5) * 0.44, atol=1e-9)
    cropped = resized.cropped(32, -20, 640, 256)
    assert (cropped.width, cropped.height) == (640, 256)
    np.testing.assert_allclose(cropped.project(points), resized.project(points) - (32, -20), atol=1e-9)


def test_halving_an_image_by_area_keeps_a_dot_on_its_ray():
    intrinsics = Intrinsics(64, 32, 50, 50, 31.5, 15.5)
    image = np.zeros((32, 64), np.float32)
    image[20:22, 40:42] = 1  # one pixel of the smaller image, centred at (40.5, 20.5)
    smaller = cv2.resize(image, (32, 16), interpolation=cv2.INTER_AREA)
    row, column = np.unravel_index(smaller.argmax(), smaller.shape)
    np.testing.assert_allclose(
        intrinsics.resized(32, 16).unproject([column, row]), intrinsics.unproject([40.5, 20.5]), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["plumb_bob", "rational", "equidistant"])
def test_an_undistorted_picture_shows_every_ray_where_a_pinhole_would(kind):
    source = camera(kind).resized(160, 90)
    picture = _picture_of_rays(source)
    straight, pinhole = source.undistort(picture)
    assert pinhole == Intrinsics(160, 90, source.fx, source.fy, source.cx, source.cy)
    shown = np.abs(straight).sum(axis=-1) > 0.9
    assert shown.mean() > 0.7
    error = np.abs(straight - _picture_of_rays(pinhole)).max(axis=-1)
    interior = cv2.erode(shown.astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    assert error[interior].max() < 2e-3  # of a unit vector: a quarter of a pixel; the rest is interpolation


def test_undistortion_is_opencv_s():
    intrinsics = camera("plumb_bob").resized(320, 180)
    image = generator().integers(0, 255, (180, 320, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (5, 5), 1.5)
    expected = cv2.undistort(image, intrinsics.matrix, np.array(intrinsics.coefficients))
    got, _ = intrinsics.undistort(image)
    difference = np.abs(got.astype(int) - expected)
    assert np.quantile(difference, 0.99) <= 1  # both round positions to 1/32 of a pixel
    assert difference[5:-5, 5:-5].max() <= 8


def test_undistorting_to_a_chosen_camera_gives_that_camera():
    fisheye = Intrinsics(200, 200, 60, 60, 99.5, 99.5, "equidistant", (0, 0, 0, 0))
    target = Intrinsics(80, 40, 20, 20, 39.5, 19.5)
    straight, got = fisheye.undistort(_picture_of_rays(fisheye), target)
    assert got is target
    np.testing.assert_allclose(straight, _picture_of_rays(target), atol=0.02)


def test_what_the_camera_does_not_see_is_black():
    narrow, wide = Intrinsics(40, 40, 40, 40, 19.5, 19.5), Intrinsics(40, 40, 20, 20, 19.5, 19.5)
    picture, _ = narrow.undistort(np.full((40, 40, 3), 200, np.uint8), wide)
    assert (picture[12:28, 12:28] == 200).all()
    assert not picture[:9].any()
    assert not picture[:, 31:].any()


def test_a_pinhole_picture_is_left_as_it_is():
    intrinsics, image = Intrinsics(4, 3, 2, 2, 1.5, 1), np.ones((3, 4, 3), np.uint8)
    assert intrinsics.undistort(image)[0] is image


@pytest.mark.parametrize("size", [3, 4])
def test_a_matrix_gives_back_its_camera(size):
    intrinsics = camera("plumb_bob")
    matrix = np.eye(size)
    matrix[:3, :3] = intrinsics.matrix
    again = Intrinsics.from_matrix(matrix, 1600, 900, "plumb_bob", intrinsics.coefficients)
    assert again == intrinsics
    assert hash(again) == hash(intrinsics)


K = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (K * [[0], [1], [1]], "cam2img: expected a matrix that isn't singular, with fx > 0 and fy > 0, got fx 0"),
        (K * [[1], [-1], [1]], "fx > 0 and fy > 0, got fx 1266.4, fy -1266.4"),
        (np.zeros((3, 3)), "cam2img: expected a last row 0 0 1, got 0 0 0"),
        (K + [[0, 0.2, 0]] * 3 * np.array([[1], [0], [0]]), "cam2img: expected no skew"),
        (K[:2], r"cam2img: expected a camera matrix \(3, 3\), got shape \(2, 3\)"),
        (np.c_[K, [-380, 0, 0]], "cam2img: expected a camera matrix"),
        (np.full((3, 3), np.nan), "cam2img"),
        (K * [[np.nan], [1], [1]], "cam2img"),
        ("K", "cam2img: expected a camera matrix"),
        ([[1, 2], [3]], "cam2img: expected a camera matrix"),
        (None, "cam2img: expected a camera matrix"),
    ],
)
def test_matrices_that_are_no_camera_are_refused_by_name(matrix, message):
    with pytest.raises(InputError, match=message):
        Intrinsics.from_matrix(matrix, 1600, 900, what="cam2img")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "intrinsics width: expected a whole number of pixels > 0, got 0"),
        ({"height": -900}, "intrinsics height"),
        ({"width": 1600.5}, "intrinsics width"),
        ({"fx": 0}, "singular"),
        ({"fy": -1}, "fy -1"),
        ({"cx": float("nan")}, "intrinsics cx: expected a finite number, got nan"),
        ({"fx": "wide"}, "intrinsics fx: expected a number, got 'wide'"),
        ({"model": "plumbob"}, "expected pinhole | plumb_bob | equidistant, got 'plumbob'; did you mean plumb_bob?"),
        ({"model": ["pinhole"]}, "intrinsics model: expected pinhole"),
        ({"model": "plumb_bob"}, "5 or 8 coefficients, got 0"),
        ({"model": "equidistant", "coefficients": (0,) * 5}, "4 coefficients, got 5"),
        ({"coefficients": (0.1,)}, "pinhole distortion: expected 0 coefficients, got 1"),
        ({"model": "plumb_bob", "coefficients": (0, 0, 0, 0, float("inf"))}, "coefficients: expected a finite"),
    ],
)
def test_numbers_that_are_no_camera_are_refused(changes, message):
    good = {"width": 1600, "height": 900, "fx": 1266.4, "fy": 1266.4, "cx": 816.3, "cy": 491.5}
    with pytest.raises(InputError) as caught:
        Intrinsics(**{**good, **changes})
    assert message in str(caught.value)


def test_wrong_shapes_are_refused():
    intrinsics = camera()
    with pytest.raises(InputError, match="points to project"):
        intrinsics.project(np.zeros((5, 4)))
    with pytest.raises(InputError, match="pixels to unproject"):
        intrinsics.unproject(np.zeros((5, 3)))
    with pytest.raises(InputError, match="expected 1600x900 as in its intrinsics, got 900x1600"):
        intrinsics.undistort(np.zeros((1600, 900, 3), np.uint8))
    with pytest.raises(InputError, match="resized width"):
        intrinsics.resized(0, 10)


def _picture_of_rays(intrinsics: Intrinsics) -> np.ndarray:
    """An image (H, W, 3) float32 whose every pixel holds the direction it looks in."""
    columns, rows = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    return np.nan_to_num(intrinsics.unproject(np.stack([columns, rows], axis=-1))).astype(np.float32)
