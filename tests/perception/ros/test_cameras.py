"""A CameraInfo becomes the intrinsics that it means, or a sentence about what it lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.camera import Intrinsics
from calibration.errors import InputError
from perception.ros.cameras import camera_info_message, intrinsics_from_message
from perception.ros.codec import Codec

pytest.importorskip("rosbags")
PINHOLE = Intrinsics(640, 480, 500.0, 510.0, 320.5, 239.0)
LENSES = [
    PINHOLE,
    replace(PINHOLE, model="plumb_bob", coefficients=(-0.3, 0.1, 1e-3, -2e-3, 0.01)),
    replace(PINHOLE, model="plumb_bob", coefficients=(-0.3, 0.1, 1e-3, -2e-3, 0.01, 0.02, 0.03, 0.04)),
    replace(PINHOLE, model="equidistant", coefficients=(0.01, -0.02, 0.003, 0.0004)),
]


def info(intrinsics: Intrinsics = PINHOLE, **changes: Any) -> Any:
    """A CameraInfo through its bytes."""
    codec = Codec()
    message = replace(camera_info_message(codec.make, 7, "camera", intrinsics), **changes)
    return codec.decode(codec.encode(message), "sensor_msgs/msg/CameraInfo")


@pytest.mark.parametrize("intrinsics", LENSES, ids=lambda lens: f"{lens.model}-{len(lens.coefficients)}")
def test_every_lens_comes_back(intrinsics: Intrinsics) -> None:
    assert intrinsics_from_message(info(intrinsics)) == intrinsics


@pytest.mark.parametrize(("ours", "name"), [(LENSES[2], "rational_polynomial"), (LENSES[3], "equidistant")])
def test_lenses_have_their_names_in_ros(ours: Intrinsics, name: str) -> None:
    assert info(ours).distortion_model == name


def test_a_lens_without_distortion_is_a_pinhole_whatever_its_model() -> None:
    assert intrinsics_from_message(info(distortion_model="", d=np.zeros(0))) == PINHOLE
    assert intrinsics_from_message(info(distortion_model="plumb_bob", d=np.zeros(5))) == PINHOLE


def test_four_coefficients_are_five() -> None:
    got = intrinsics_from_message(info(LENSES[1], d=np.array([-0.3, 0.1, 1e-3, -2e-3])))
    assert got.coefficients == (-0.3, 0.1, 1e-3, -2e-3, 0.0)


def test_binned_pixels_of_a_part_of_the_sensor() -> None:
    roi = Codec.make(
        "sensor_msgs/msg/RegionOfInterest", x_offset=40, y_offset=20, height=400, width=600, do_rectify=False
    )
    got = intrinsics_from_message(info(roi=roi, binning_x=2, binning_y=2))
    assert got == PINHOLE.cropped(40, 20, 600, 400).resized(300, 200)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": np.zeros(9)}, "CAM K: expected a calibrated camera, got zeros; calibrate it"),
        ({"d": np.ones(5), "distortion_model": "plumb_job"}, "got 'plumb_job'; did you mean plumb_bob"),
        ({"d": np.ones(3), "distortion_model": "plumb_bob"}, "expected 5 or 8 coefficients, got 3"),
        ({"width": 0}, "width: expected a whole number of pixels > 0, got 0"),
        ({"k": np.array([1e-300, 0, 320, 0, 500, 240, 0, 0, 1.0])}, "focal lengths from .* got fx 1e-300, fy 500"),
        ({"k": np.array([500, 0, 1e9, 0, 500, 240, 0, 0, 1.0])}, "a centre near it, got .* cx 1e[+]09"),
        ({"k": np.array([1, 0, 0, 0, np.nan, 0, 0, 0, 1.0])}, "expected a finite number, got nan"),
    ],
)
def test_what_cannot_be_is_named(changes: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        intrinsics_from_message(info(**changes), "CAM")
