"""Pixels come out red, green, blue whatever the encoding and padding; lengths that don't fit are named."""

from __future__ import annotations

import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibration.errors import InputError
from perception.ros.codec import Codec
from perception.ros.images import compressed_message, image_from_compressed, image_from_message, image_message
from perception.sources import MissingDataError

pytest.importorskip("rosbags")
FROM_RGB = {
    "rgb8": lambda rgb: rgb,
    "bgr8": lambda rgb: rgb[..., ::-1],
    "rgba8": lambda rgb: np.dstack([rgb, rgb[..., 0]]),
    "bgra8": lambda rgb: np.dstack([rgb[..., ::-1], rgb[..., 0]]),
}
PATTERNS = {"bayer_rggb8": "RGGB", "bayer_bggr8": "BGGR", "bayer_gbrg8": "GBRG", "bayer_grbg8": "GRBG"}


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> SimpleNamespace:
    """An Image whose rows end in padding."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=0x5A)
    return SimpleNamespace(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())


@given(st.sampled_from(sorted(FROM_RGB)), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_colours_and_padding_of_every_encoding(encoding: str, width: int, height: int, padding: int) -> None:
    rgb = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    image = image_from_message(message(FROM_RGB[encoding](rgb), encoding, padding))
    np.testing.assert_array_equal(image, rgb)
    assert image.flags.c_contiguous


def test_grey_becomes_grey() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(image_from_message(message(grey, "mono8", 2)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("encoding", PATTERNS)
def test_a_uniform_colour_survives_its_bayer_pattern(encoding: str) -> None:
    colour = {"R": 200, "G": 120, "B": 40}
    tile = np.array([colour[letter] for letter in PATTERNS[encoding]], np.uint8).reshape(2, 2)
    image = image_from_message(message(np.tile(tile, (6, 6)), encoding))
    np.testing.assert_array_equal(image[2:-2, 2:-2], np.broadcast_to([200, 120, 40], (8, 8, 3)))


def test_what_is_written_is_read() -> None:
    codec = Codec()
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    made = codec.decode(codec.encode(image_message(codec.make, 5, "camera", rgb)), "sensor_msgs/msg/Image")
    np.testing.assert_array_equal(image_from_message(made), rgb)


def test_pixels_without_padding_are_not_copied() -> None:
    one = message(np.zeros((4, 4, 3), np.uint8), "rgb8")
    one.data = np.frombuffer(one.data, np.uint8)
    assert np.shares_memory(image_from_message(one), one.data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_compressed_images_are_decoded_as_files_are(kind: str) -> None:
    codec, file = Codec(), io.BytesIO()
    rgb = cv2.resize(np.random.default_rng(2).integers(0, 256, (3, 4, 3), np.uint8), (40, 30))
    Image.fromarray(rgb).save(file, kind, quality=95)
    made = compressed_message(codec.make, 5, "camera", file.getvalue(), kind.lower())
    image = image_from_compressed(codec.decode(codec.encode(made), "sensor_msgs/msg/CompressedImage"))
    np.testing.assert_array_equal(image, np.array(Image.open(file)))
    made.data = made.data[:200]
    with pytest.raises(MissingDataError, match=r"CAM: expected a JPEG or PNG .* can't be decoded"):
        image_from_compressed(made, "CAM")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": bytes(35)}, "CAM data: expected 36 bytes, 3 rows of 12, got 35 bytes"),
        ({"data": bytes(37)}, "got 37 bytes"),
        ({"step": 11}, "CAM step: expected at least 4 pixels of 3 bytes, got 11"),
        ({"encoding": "mono16"}, "CAM encoding: expected one of 8 bits a channel, got 'mono16'; did you mean mono8"),
        ({"width": 0}, "CAM size: expected at least one pixel, got 0x3"),
    ],
)
def test_what_does_not_fit_together_is_named(changes: dict, text: str) -> None:
    one = message(np.zeros((3, 4, 3), np.uint8), "rgb8")
    vars(one).update(changes)
    with pytest.raises(InputError, match=text):
        image_from_message(one, "CAM")
