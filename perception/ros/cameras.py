"""sensor_msgs/msg/CameraInfo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.ros.fields import header_message

MODELS = {  # ROS's name -> ours
    "plumb_bob": "plumb_bob",
    "rational_polynomial": "plumb_bob",  # with eight coefficients
    "equidistant": "equidistant",
    "fisheye": "equidistant",
}
FURTHEST = 1000.0  # in image sizes: a lens of 1000 times the image's width sees a twentieth of a degree
UNDISTORTED = {"pinhole": "plumb_bob", "plumb_bob": "plumb_bob", "equidistant": "equidistant"}  # ours -> ROS's


def intrinsics_from_message(message: Any, what: str = "camera_info") -> Intrinsics:
    """How the raw image of this camera came about: K and D of the message, for the part of the sensor that is read.

    Raises InputError for a camera that isn't calibrated (K all zero), and for models and numbers that can't be.
    """
    matrix = np.array(message.k, np.float64).reshape(3, 3)
    if not matrix.any():
        raise InputError(f"{what} K", "a calibrated camera", "zeros", "calibrate it, or give its intrinsics in the rig")
    coefficients = [float(value) for value in message.d]
    model = message.distortion_model
    if not any(coefficients):
        model, coefficients = "pinhole", []
    elif model not in MODELS:
        fix = did_you_mean(model, MODELS)
        raise InputError(f"{what} distortion_model", f"one of {', '.join(MODELS)}", repr(model), fix)
    model = MODELS.get(model, model)
    if model == "plumb_bob":
        coefficients = _padded(coefficients)
    width, height = int(message.width), int(message.height)
    whole = Intrinsics.from_matrix(matrix, width, height, model, coefficients, f"{what} K")
    _check_plausible(whole, f"{what} K")
    return _read_out(whole, message)


def camera_info_message(make: Callable[..., Any], stamp_ns: int, frame_id: str, intrinsics: Intrinsics) -> Any:
    """A CameraInfo of raw images, without rectification."""
    model, coefficients = UNDISTORTED[intrinsics.model], intrinsics.coefficients or (0.0,) * 5
    if len(coefficients) == 8:
        model = "rational_polynomial"
    projection = np.zeros((3, 4))
    projection[:, :3] = intrinsics.matrix
    nothing = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header_message(make, stamp_ns, frame_id),
        height=intrinsics.height,
        width=intrinsics.width,
        distortion_model=model,
        d=np.array(coefficients, np.float64),
        k=intrinsics.matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=projection.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=nothing,
    )


def _check_plausible(intrinsics: Intrinsics, what: str) -> None:
    """No lens sees so much or so little; what bytes that went wrong say, no arithmetic survives."""
    size, focal = (intrinsics.width, intrinsics.height), (intrinsics.fx, intrinsics.fy)
    shares = [length / pixels for length, pixels in zip(focal, size, strict=True)]
    away = [abs(c) / pixels for c, pixels in zip((intrinsics.cx, intrinsics.cy), size, strict=True)]
    if not (all(1 / FURTHEST <= share <= FURTHEST for share in shares) and max(away) <= FURTHEST):
        expected = (
            f"focal lengths from a {FURTHEST:g}th of the image's size to {FURTHEST:g} times it, and a centre near it"
        )
        got = f"fx {intrinsics.fx:g}, fy {intrinsics.fy:g}, cx {intrinsics.cx:g}, cy {intrinsics.cy:g}"
        raise InputError(what, expected, got)


def _padded(coefficients: list[float]) -> list[float]:
    """Four coefficients are five of which k3 is 0; OpenCV's longer models end in zeros where they aren't needed."""
    return coefficients + [0.0] * (5 - len(coefficients)) if len(coefficients) == 4 else coefficients


def _read_out(whole: Intrinsics, message: Any) -> Intrinsics:
    """Of the region that is read, and of pixels that are binned: K is always of the whole sensor."""
    roi = message.roi
    if roi.width and roi.height:
        whole = whole.cropped(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    across, down = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    return whole if across == down == 1 else whole.resized(whole.width // across, whole.height // down)
