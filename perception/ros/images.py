"""sensor_msgs/msg/Image and CompressedImage: pixels as (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.ros.fields import bytes_of, header_message
from perception.sources.images import decode_image

CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "mono8": 1, "8UC1": 1}
CHANNELS |= dict.fromkeys(("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"), 1)
TO_RGB = {  # encodings without a colour order are OpenCV's, blue first
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "8UC4": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
    # OpenCV names a pattern by its second row's second and third pixel, ROS by its first row's first two.
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}


def image_from_message(message: Any, what: str = "image") -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of an Image; those of rgb8 without padding are the message's own.

    Raises InputError for encodings of more than 8 bits a channel and others that are unknown, and for data that is
    longer or shorter than the message says.
    """
    encoding = message.encoding
    if encoding not in CHANNELS:
        raise InputError(
            f"{what} encoding", "one of 8 bits a channel", repr(encoding), did_you_mean(encoding, CHANNELS)
        )
    channels, height, width, step = CHANNELS[encoding], int(message.height), int(message.width), int(message.step)
    if not (height > 0 and width > 0):
        raise InputError(f"{what} size", "at least one pixel", f"{width}x{height}")
    if step < width * channels:
        raise InputError(f"{what} step", f"at least {width} pixels of {channels} bytes", f"{step}")
    data = bytes_of(message.data, f"{what} data")
    if data.size != height * step:
        expected = f"{height * step} bytes, {height} rows of {step}"
        raise InputError(f"{what} data", expected, f"{data.size} bytes")
    pixels = data.reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    return cv2.cvtColor(pixels, TO_RGB[encoding]) if encoding in TO_RGB else np.ascontiguousarray(pixels)


def image_from_compressed(message: Any, what: str = "image") -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a CompressedImage, a JPEG or PNG; MissingDataError for anything else."""
    return decode_image(io.BytesIO(bytes_of(message.data, f"{what} data")), what)


def image_message(make: Callable[..., Any], stamp_ns: int, frame_id: str, image: np.ndarray) -> Any:
    """An Image, rgb8, of pixels (H, W, 3) uint8."""
    height, width = image.shape[:2]
    return make(
        "sensor_msgs/msg/Image",
        header=header_message(make, stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(image).reshape(-1),
    )


def compressed_message(make: Callable[..., Any], stamp_ns: int, frame_id: str, file: bytes, kind: str = "jpeg") -> Any:
    """A CompressedImage of an image file's bytes, as they are."""
    data = np.frombuffer(file, np.uint8)
    return make(
        "sensor_msgs/msg/CompressedImage", header=header_message(make, stamp_ns, frame_id), format=kind, data=data
    )
