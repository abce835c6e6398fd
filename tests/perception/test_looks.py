"""Views of boxes: cut where they are, from the camera that shows them best, and from none that doesn't."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.looks import looks_at
from perception.types import Boxes3D, CameraImage

FORWARD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera from lidar: looks along x
CLASSES = ("car",)


def camera(towards_deg: float = 0.0, colour: tuple[int, int, int] = (0, 0, 0), size: tuple[int, int] = (200, 100)):
    width, height = size
    turn = np.deg2rad(towards_deg)
    around = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    intrinsics = Intrinsics(width, height, 100, 100, width / 2, height / 2)
    image = np.full((height, width, 3), colour, np.uint8)
    return CameraImage(image, 0, intrinsics, Transform(FORWARD @ around, np.zeros(3)))


def boxes(*centers: tuple[float, float, float], side: float = 2.0) -> Boxes3D:
    count = len(centers)
    return Boxes3D(
        np.array(centers, float).reshape(-1, 3),
        np.full((count, 3), side),
        np.zeros(count),
        np.zeros((count, 2)),
        np.ones(count),
        np.zeros(count, np.int64),
        CLASSES,
    )


def test_a_view_shows_what_is_at_the_box() -> None:
    view = camera()
    pixels = view.intrinsics.project(view.camera_from_lidar.apply(np.array([[10.0, 2.0, 0.5]])))[0].astype(int)
    view.image[pixels[1] - 3 : pixels[1] + 4, pixels[0] - 3 : pixels[0] + 4] = (250, 10, 20)
    looks = looks_at(boxes((10.0, 2.0, 0.5)), {"front": view}, 32, 0.1)
    assert looks.rows.tolist() == [0]
    np.testing.assert_allclose(looks.images[0, 15:17, 15:17].reshape(-1, 3), [[250, 10, 20]] * 4, atol=30)
    assert looks.images[0, 0, 0].tolist() == [0, 0, 0]
    assert looks.visible[0] == pytest.approx(1)
    assert looks.bearing[0] == pytest.approx(np.arctan2(2, 10))
    assert looks.pixels[0] == pytest.approx(100 * 2 / 9, rel=0.3)  # its near side is 9 m away


def test_of_two_cameras_the_one_that_shows_more_counts() -> None:
    cameras = {"left": camera(40, (255, 0, 0)), "front": camera(0, (0, 255, 0))}
    looks = looks_at(boxes((10.0, -8.5, 0.0), (7.0, 12.0, 0.0)), cameras, 16, 0.0)
    assert looks.rows.tolist() == [0, 1]
    assert looks.images[0, 8, 8].tolist() == [0, 255, 0]
    assert looks.images[1, 8, 8].tolist() == [255, 0, 0]


def test_what_no_camera_sees_has_no_view() -> None:
    looks = looks_at(
        boxes((-10.0, 0.0, 0.0), (10.0, 0.0, 0.0), (0.5, 30.0, 0.0), (5000.0, 0, 0)), {"f": camera()}, 8, 0
    )
    assert looks.rows.tolist() == [1]
    assert len(looks_at(boxes((10.0, 0.0, 0.0)), {}, 8, 0.1).rows) == 0
    assert looks_at(boxes(), {"f": camera()}, 8, 0.1).images.shape == (0, 8, 8, 3)


@pytest.mark.parametrize("center", [(1.2, 0.0, 0.0), (1.0, 1.2, 0.0), (3.0, 3.4, 0.0), (0.9, 0.0, -1.0)])
def test_boxes_at_the_edges_and_around_the_camera_give_finite_views(center: tuple[float, float, float]) -> None:
    looks = looks_at(boxes(center, side=3.0), {"f": camera(colour=(9, 9, 9))}, 24, 0.2)
    assert looks.images.dtype == np.uint8
    assert np.isfinite(looks.pixels).all()
    assert ((looks.visible > 0) & (looks.visible <= 1)).all()
