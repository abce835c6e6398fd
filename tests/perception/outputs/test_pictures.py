"""A picture shows what is there, where it is, and nothing else."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import CAMERAS, CLASS_NAMES
from perception.outputs.drawing.bird_view import BirdView, draw_bird_view
from perception.outputs.drawing.box_edges import NEAR, box_edges, clip_near, project_edges
from perception.outputs.drawing.camera_tile import draw_camera, draw_missing
from perception.outputs.drawing.colours import CLASS_COLOURS, class_colours
from perception.outputs.drawing.lettering import Text, fitted, place, text_width
from perception.outputs.drawing.strokes import clip_segments
from perception.outputs.pictures import NUSCENES_CAMERAS, WIDTH, camera_order, draw_frame, write_png
from perception.types import Boxes3D, CameraImage, Frame, PointCloud, Truth
from tests.data import KEYFRAME, keyframe_info, needs

# The lidar frame of nuScenes (x right, y forward, z up) seen by a camera that looks along y.
CAMERA_FROM_LIDAR = Transform(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), np.zeros(3))
EGO_FROM_LIDAR = Transform(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), np.array([0.9, 0, 1.8]))
INTRINSICS = Intrinsics(320, 180, 200.0, 200.0, 159.5, 89.5)
LENSES = {
    "pinhole": INTRINSICS,
    "plumb_bob": replace(INTRINSICS, model="plumb_bob", coefficients=(-0.2, 0.03, 0.001, 0.001, 0.0)),
    "equidistant": replace(INTRINSICS, model="equidistant", coefficients=(0.01, 0.0, 0.0, 0.0)),
}
SIZE = (320, 180)
GREY = 90


def camera(intrinsics=INTRINSICS, grey=GREY):
    image = np.full((intrinsics.height, intrinsics.width, 3), grey, np.uint8)
    return CameraImage(image, 1_000_000_000, intrinsics, CAMERA_FROM_LIDAR)


def box(x, y, z=0.0, size=(4.0, 2.0, 1.5), yaw=0.0, label=0, velocity=(0.0, 0.0), score=0.9):
    columns = ([(x, y, z)], [size], [yaw], [velocity], [score])
    return Boxes3D(*(np.array(column, float) for column in columns), np.array([label]), CLASS_NAMES)


def joined(*boxes):
    names = ("centers", "sizes", "yaws", "velocities", "scores", "labels")
    return Boxes3D(*(np.concatenate([getattr(b, name) for b in boxes]) for name in names), CLASS_NAMES)


NOTHING = Boxes3D.empty(CLASS_NAMES)
NO_POINTS = np.zeros((0, 5), np.float32)


def frame(cameras=("CAM_FRONT",), **fields):
    images = {name: camera() for name in cameras}
    return Frame(1_000_000_000, "token", images, PointCloud(NO_POINTS), EGO_FROM_LIDAR, **fields)


def tile(detections=NOTHING, truth=None, points=NO_POINTS, intrinsics=INTRINSICS):
    return draw_camera("cam", camera(intrinsics), points, detections, truth, SIZE, 1_000_000_000)


def changed(one, other):
    """Rows and columns (N, 2) of the pixels that differ."""
    return np.argwhere((one != other).any(axis=-1))


# --- edges against the camera's plane and the picture's border


@given(arrays(np.float64, (1, 1, 2, 3), elements=st.floats(-50, 50)))
def test_the_clipped_edge_is_the_part_of_the_edge_in_front_of_the_near_plane(edge):
    clipped = clip_near(edge)[0, 0]
    start, end = edge[0, 0]
    if max(start[2], end[2]) < NEAR:
        assert np.isnan(clipped).all()
        return
    direction = (end - start) / max(np.linalg.norm(end - start), 1e-12)
    assert np.linalg.norm(np.cross(clipped - start, direction), axis=-1).max() < 1e-6  # on the same line
    for before, after in zip((start, end), clipped, strict=True):
        if before[2] >= NEAR:
            np.testing.assert_array_equal(after, before)
        else:
            assert after[2] == pytest.approx(NEAR, abs=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_an_edge_that_crosses_the_camera_plane_runs_on_in_the_direction_of_its_visible_part(lens):
    intrinsics = LENSES[lens]
    edge = np.array([[1.5, 1.2, 10.0], [1.5, 1.2, -3.0]])  # along the driving direction, beside the camera
    pieces = project_edges(edge[None, None], intrinsics)[0]
    drawn = clip_segments(pieces, intrinsics.width, intrinsics.height).reshape(-1, 2)
    visible = intrinsics.project(np.linspace(edge[0], (1.5, 1.2, 0.5), 2000))
    assert len(drawn) >= 2
    nearest = np.linalg.norm(drawn[:, None] - visible[None], axis=-1).min(axis=1)
    assert nearest.max() < 3  # a few pixels, not somewhere on the other side of the picture
    right, bottom = drawn.max(axis=0)
    assert right > intrinsics.width - 10 or bottom > intrinsics.height - 10  # drawn all the way to the border


@pytest.mark.parametrize("lens", LENSES)
def test_the_pieces_of_an_edge_follow_the_lens(lens):
    intrinsics = LENSES[lens]
    edge = np.array([[-4.0, -2.0, 6.0], [4.0, -2.0, 6.0]])
    pieces = project_edges(edge[None, None], intrinsics)[0]
    middles = pieces.mean(axis=1)
    truth = intrinsics.project(np.linspace(*edge, 4000))
    assert np.linalg.norm(middles[:, None] - truth[None], axis=-1).min(axis=1).max() < 0.5  # [px]


@given(arrays(np.float64, (2, 2), elements=st.floats(-1e7, 1e7)))
def test_a_clipped_segment_is_exactly_its_part_inside_the_picture(segment):
    clipped = clip_segments(segment[None], 100, 50, margin=0)
    assert (clipped >= -1e-3).all()
    assert (clipped <= np.array([100, 50]) + 1e-3).all()
    samples = segment[0] + np.linspace(0, 1, 1001)[:, None] * (segment[1] - segment[0])
    inside = samples[((samples > 1e-3) & (samples < np.array([100, 50]) - 1e-3)).all(axis=-1)]
    if len(inside):
        assert len(clipped) == 1 or (segment[0] == segment[1]).all()
        for end in clipped:
            low, high = end.min(axis=0) - 1e-3, end.max(axis=0) + 1e-3
            assert ((inside >= low) & (inside <= high)).all()


def test_segments_with_an_unknown_end_are_not_drawn():
    segments = np.array([[(np.nan, 1), (5, 5)], [(1, 1), (np.inf, 5)], [(1, 1), (5, 5)]])
    assert len(clip_segments(segments, 10, 10)) == 1


# --- camera tiles


@pytest.mark.parametrize("lens", ["pinhole", "plumb_bob"])
def test_a_box_behind_the_camera_draws_nothing(lens):
    intrinsics = LENSES[lens]
    np.testing.assert_array_equal(tile(box(0, -10), intrinsics=intrinsics), tile(intrinsics=intrinsics))
    np.testing.assert_array_equal(tile(truth=box(1, -8), intrinsics=intrinsics), tile(intrinsics=intrinsics))


@pytest.mark.parametrize("lens", LENSES)
def test_an_annotated_box_changes_pixels_along_its_outline_only(lens):
    intrinsics, shown = LENSES[lens], box(2, 12, yaw=0.7)
    rows, columns = changed(tile(truth=shown, intrinsics=intrinsics), tile(intrinsics=intrinsics)).T
    outline = project_edges(CAMERA_FROM_LIDAR.apply(box_edges(shown)), intrinsics).reshape(-1, 2)
    assert rows.min() == pytest.approx(outline[:, 1].min(), abs=2)
    assert rows.max() == pytest.approx(outline[:, 1].max(), abs=2)
    assert columns.min() == pytest.approx(outline[:, 0].min(), abs=2)
    assert columns.max() == pytest.approx(outline[:, 0].max(), abs=2)


def test_a_detection_is_drawn_in_the_colour_of_its_class():
    for label, colour in enumerate(class_colours(CLASS_NAMES)):
        assert (tile(box(0, 8, label=label)) == colour).all(axis=-1).sum() > 20


def test_the_side_that_the_heading_points_to_is_tinted():
    row, column = 90, 160 + 21  # inside the near face's image, beside the far one's
    assert (tile(box(0, 10, yaw=np.pi / 2))[row, column] == GREY).all()
    assert (tile(box(0, 10, yaw=-np.pi / 2))[row, column] != GREY).any()


def test_a_box_around_the_camera_is_drawn_without_harm():
    assert tile(box(0, 0, size=(6.0, 6.0, 4.0)), truth=box(0, 0, size=(8.0, 3.0, 3.0))).shape == (180, 320, 3)


def test_a_point_is_dotted_where_the_camera_sees_it():
    points = np.array([[1.0, 10.0, 0.5, 0, 0], [1.0, -10.0, 0.5, 0, 0]], np.float32)  # the second is behind
    rows, columns = changed(tile(points=points), tile()).T
    u, v = INTRINSICS.project(CAMERA_FROM_LIDAR.apply(points[0, :3]))
    assert len(rows) == 4
    assert abs(columns.mean() - u) <= 1
    assert abs(rows.mean() - v) <= 1


@pytest.mark.parametrize("size", [(60, 200), (500, 90), (33, 33)])
def test_images_of_any_shape_fit_their_tile(size):
    intrinsics = Intrinsics(*size, 80.0, 80.0, size[0] / 2, size[1] / 2)
    shown = tile(box(0, 8), intrinsics=intrinsics)
    assert shown.shape == (SIZE[1], SIZE[0], 3)
    scale = min(SIZE[0] / size[0], SIZE[1] / size[1])
    grey = (shown == GREY).all(axis=-1).sum()
    assert 0.4 < grey / (size[0] * size[1] * scale**2) < 1


@given(arrays(np.float64, (12, 2), elements=st.floats(-20, 330)), st.integers(5, 60))
def test_labels_never_cover_each_other_nor_leave_the_picture(corners, extent):
    anchors = np.concatenate([corners, corners + extent], axis=1)
    labels = [Text(0, 0, f"car 0.{row:02d}", 11, plate=(0, 0, 0, 200)) for row in range(len(anchors))]
    title = (4, 4, 90, 20)
    rectangles = [text.rectangle for text in place(labels, anchors, [title], 320, 180)]
    for a, b in combinations([title, *rectangles], 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for left, top, right, bottom in rectangles:
        assert left >= 0
        assert top >= 0
        assert right <= 320
        assert bottom <= 180


def test_a_text_is_shortened_to_the_room_it_has():
    assert fitted("short", 13, 200) == "short"
    long = fitted("x" * 500, 13, 200)
    assert long.endswith("…")
    assert text_width(long, 13) <= 200


# --- the scene from above


def above(detections=NOTHING, truth=None, ego_from_lidar=EGO_FROM_LIDAR, points=NO_POINTS):
    return draw_bird_view(400, points, detections, truth, ego_from_lidar)


@pytest.mark.parametrize(
    ("ego_from_lidar", "ahead", "to_the_left"),
    [(EGO_FROM_LIDAR, (0, 20), (-20, 0)), (Transform.identity(), (20, 0), (0, 20))],
    ids=["lidar looks along y", "lidar looks along x"],
)
def test_forward_is_up_and_left_is_left_however_the_lidar_is_mounted(ego_from_lidar, ahead, to_the_left):
    for spot, expected in ((ahead, (200, 200 - 20 * 400 / 108)), (to_the_left, (200 - 20 * 400 / 108, 200))):
        pixels = changed(above(box(*spot), ego_from_lidar=ego_from_lidar), above(ego_from_lidar=ego_from_lidar))
        np.testing.assert_allclose(pixels[:, ::-1].mean(axis=0), expected, atol=2)


def test_the_velocity_arrow_reaches_as_far_as_the_object_in_a_second():
    still, moving = above(box(10, 0)), above(box(10, 0, velocity=(0.0, 15.0)))
    tip = BirdView.of(400, EGO_FROM_LIDAR).pixels(np.array([10.0, 15.0]))
    assert changed(still, moving)[:, 0].min() == pytest.approx(tip[1], abs=2)


@pytest.mark.parametrize("velocity", [(np.nan, np.nan), (0.1, 0.1)])
def test_unknown_and_tiny_velocities_have_no_arrow(velocity):
    np.testing.assert_array_equal(above(box(10, 0, velocity=velocity)), above(box(10, 0)))


def test_points_are_brighter_the_higher_they_are():
    points = np.array([[-20, 5, -1.8, 0, 0], [20, 5, 1.2, 0, 0]], np.float32)
    panel = above(points=points).astype(int).sum(axis=-1)
    view = BirdView.of(400, EGO_FROM_LIDAR)
    (low_u, low_v), (high_u, high_v) = np.round(view.pixels(points)).astype(int)
    assert panel[low_v, low_u] < panel[high_v, high_u]


# --- the whole picture


def test_cameras_stand_as_the_driver_sees_them():
    assert set(NUSCENES_CAMERAS) == set(CAMERAS)
    assert camera_order(["CAM_BACK", "CAM_FRONT"]) == NUSCENES_CAMERAS
    assert camera_order(["right", "left"]) == ("left", "right")


def test_a_missing_camera_is_a_tile_that_says_so():
    whole = draw_frame(frame(NUSCENES_CAMERAS), NOTHING)
    lacking = draw_frame(frame(name for name in NUSCENES_CAMERAS if name != "CAM_BACK"), NOTHING)
    rows, columns = changed(whole, lacking).T
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    expected = draw_missing("CAM_BACK", (right - left, bottom - top))
    np.testing.assert_array_equal(lacking[top:bottom, left:right], expected)


@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("shape", [(320, 180), (90, 160), (123, 77)])
def test_any_number_of_cameras_of_any_shape_gives_a_picture(count, shape):
    intrinsics = Intrinsics(*shape, 100.0, 100.0, shape[0] / 2, shape[1] / 2)
    names = [f"camera {index}" for index in range(count)]
    images = {name: camera(intrinsics) for name in names}
    scene = replace(frame(), cameras=images, cloud=None, notes=("No LiDAR.",))
    height, width, _ = draw_frame(scene, box(0, 15), cameras=names).shape
    assert width == WIDTH if count else width < WIDTH
    assert 400 < height < 1100


def test_detections_below_the_threshold_are_neither_drawn_nor_counted():
    strong, weak = box(0, 10), box(3, 20, score=0.29)
    both = joined(strong, weak)
    np.testing.assert_array_equal(draw_frame(frame(), both, 0.3), draw_frame(frame(), strong, 0.3))
    assert len(changed(draw_frame(frame(), both, 0.2), draw_frame(frame(), strong, 0.2)))


def test_truth_and_notes_show():
    plain = draw_frame(frame(), NOTHING)
    truth = Truth(box(0, 10), np.array([5]), np.array([0]))
    assert len(changed(plain, draw_frame(frame(truth=truth), NOTHING)))
    assert draw_frame(frame(notes=("CAM_BACK came too late.",)), NOTHING).shape[0] > plain.shape[0]


def test_boxes_of_another_frame_are_refused():
    with pytest.raises(InputError, match="lidar frame, got boxes in world"):
        draw_frame(frame(), replace(box(0, 10), frame="world"))


def test_the_frame_is_left_as_it_was():
    scene = frame()
    draw_frame(scene, box(0, 10))
    assert (scene.cameras["CAM_FRONT"].image == GREY).all()


# --- colours

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ_FROM_RGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ_FROM_RGB.sum(axis=1)


def cielab(colours, sight):
    encoded = np.array(colours) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ sight.T, 0, 1) @ XYZ_FROM_RGB.T / WHITE
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * 841 / 108 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("sight", SIGHTS)
def test_class_colours_stay_apart_for_everyone(sight):
    assert set(CLASS_COLOURS) == set(CLASS_NAMES)
    colours = cielab(list(CLASS_COLOURS.values()), SIGHTS[sight])
    assert min(np.linalg.norm(a - b) for a, b in combinations(colours, 2)) > 19


def test_ten_classes_of_another_data_set_have_ten_colours():
    assert len(set(class_colours(tuple(f"class {index}" for index in range(10))))) == 10


# --- files


def test_a_written_picture_reads_back_the_same(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calibration.files.os.replace", refuse)
    with pytest.raises(InputError, match="No space left"):
        write_png(path, np.zeros((4, 4, 3), np.uint8))
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_only_8_bit_colour_is_written(tmp_path, image):
    with pytest.raises(InputError, match="picture"):
        write_png(tmp_path / "a.png", image)


# --- real data


@needs(KEYFRAME)
def test_on_a_real_frame_the_points_in_an_annotated_box_lie_inside_its_drawn_outline():
    from perception.sources.mmdet3d_info import Source

    (scene,) = Source(keyframe_info())
    boxes, points = scene.truth.boxes, scene.cloud.points
    inside = boxes.contain(points)
    checked = 0
    for image in scene.cameras.values():
        outlines = project_edges(image.camera_from_lidar.apply(box_edges(boxes)), image.intrinsics)
        for outline, members in zip(outlines.reshape(len(boxes), -1, 2), inside, strict=True):
            pixels = image.intrinsics.project(image.camera_from_lidar.apply(points[members, :3]))
            if len(pixels) and np.isfinite(outline).all() and image.intrinsics.in_image(pixels).all():
                assert (pixels >= outline.min(axis=0) - 1).all()
                assert (pixels <= outline.max(axis=0) + 1).all()
                checked += len(pixels)
    assert checked > 500
    assert draw_frame(scene, boxes).shape[1] == WIDTH
