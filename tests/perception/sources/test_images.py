"""Images arrive as they are in the file; what can't be decoded is missing data, never a wrong picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.camera import Intrinsics
from calibration.transform import Transform
from perception.sources import MissingDataError
from perception.sources.images import Shot, read_cameras, read_image, read_shot

PIXELS = np.random.default_rng(0).integers(0, 256, (36, 64, 3), np.uint8)


def save(path: Path, pixels: np.ndarray = PIXELS, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def shot(path: Path, width: int = 64, height: int = 36) -> Shot:
    return Shot((path,), 5, Intrinsics(width, height, 50.0, 50.0, 31.5, 17.5), Transform.identity())


def test_a_png_keeps_every_pixel_in_rgb_order(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png"))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, PIXELS)


def test_a_jpeg_is_rgb(tmp_path: Path) -> None:
    red = np.full((36, 64, 3), (200, 30, 40), np.uint8)
    np.testing.assert_allclose(read_image(save(tmp_path / "a.jpg", red, quality=95)), red, atol=3)


def test_grey_becomes_rgb_and_transparency_is_ignored(tmp_path: Path) -> None:
    grey = read_image(save(tmp_path / "grey.png", PIXELS[..., 0]))
    np.testing.assert_array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=-1))
    transparent = np.dstack([PIXELS, np.zeros((36, 64), np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "clear.png", transparent)), PIXELS)


def test_more_than_8_bits_a_channel_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    path = save(tmp_path / "deep.png", np.full((36, 64), 4000, np.uint16))
    with pytest.raises(MissingDataError, match="mode I;16"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MissingDataError, match=rf"a\.{suffix}: expected a JPEG or PNG"):
            read_image(path)


@pytest.mark.parametrize("position", [8, 20, 45, 200])
def test_a_damaged_png_is_refused(tmp_path: Path, position: int) -> None:
    path = save(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[position : position + 4] = b"\xff\x00\xff\x00"
    path.write_bytes(content)
    with pytest.raises(MissingDataError, match="can't be decoded"):
        read_image(path)


def test_other_formats_and_what_is_no_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    for path in (save(tmp_path / "a.bmp"), save(tmp_path / "a.gif"), tmp_path / "text.jpg", tmp_path):
        with pytest.raises(MissingDataError, match="expected a JPEG or PNG"):
            read_image(path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MissingDataError, match="can't be decoded"):
        read_image(path)


def test_an_image_of_another_size_than_its_calibration_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    assert read_shot(shot(path)).stamp_ns == 5
    with pytest.raises(MissingDataError, match=r"a\.png: expected 32x18 pixels, as its calibration says, got 64x36"):
        read_shot(shot(path, 32, 18))


def test_the_first_place_where_a_file_is_counts(tmp_path: Path) -> None:
    second = save(tmp_path / "second.png")
    here = shot(tmp_path / "first.png")
    both = Shot((*here.paths, second), here.stamp_ns, here.intrinsics, here.camera_from_lidar)
    np.testing.assert_array_equal(read_shot(both).image, PIXELS)


def test_a_camera_without_an_image_is_left_out_with_its_reason_only_if_that_is_allowed(tmp_path: Path) -> None:
    shots = {"LEFT": shot(save(tmp_path / "a.png")), "RIGHT": shot(tmp_path / "missing.png")}
    cameras, notes = read_cameras(shots, shots.__getitem__, allow_missing=True)
    assert list(cameras) == ["LEFT"]
    assert notes == (f"RIGHT is left out: missing.png: expected a file at {tmp_path / 'missing.png'}, got none.",)
    with pytest.raises(MissingDataError, match=r"missing\.png"):
        read_cameras(shots, shots.__getitem__, allow_missing=False)
