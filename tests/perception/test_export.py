"""ONNX files of a detector's dense parts: right, or not written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import perception.export
from calibration.errors import InputError
from perception.config import parse_config
from perception.detector import Detector
from perception.export import export, relative_rms
from tests.tiny import CAMERAS, HEADS, tiny_config, tiny_data, tiny_network

onnxruntime = pytest.importorskip("onnxruntime")


def detector(cameras: bool = True, lidar: bool = True, head: str = "centerpoint") -> Detector:
    config = tiny_config(cameras, lidar, head)
    return Detector(config, tiny_network(config))


@pytest.mark.parametrize("head", ["centerpoint", "transfusion"])
@pytest.mark.parametrize(
    ("cameras", "lidar", "files"),
    [
        (True, True, ["images.onnx", "bev.onnx"]),
        (False, True, ["bev.onnx"]),
        (True, False, ["images.onnx", "bev.onnx"]),
    ],
)
def test_another_runtime_computes_the_same(
    cameras: bool, lidar: bool, files: list[str], head: str, tmp_path: Path
) -> None:
    said: list[str] = []
    exported = export(detector(cameras, lidar, head), tmp_path, said.append)
    assert [one.path.name for one in exported] == files
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    assert all(one.difference < 1e-4 for one in exported)
    assert len(said) == len(files)


def test_streams_of_their_own_and_the_refiner_are_files_too(tmp_path: Path) -> None:
    data = tiny_data() | {"late": {"name": "fallback"}, "head": HEADS["centerpoint"]}
    data["refiners"] = [{"name": "appearance", "size": 32, "out_stage": 1, "hidden": 16}]
    del data["fuser"]
    config = parse_config(data)
    exported = export(Detector(config, tiny_network(config)), tmp_path, print)
    assert [one.path.name for one in exported] == ["images.onnx", "camera_bev.onnx", "bev.onnx", "appearance.onnx"]
    assert all(one.difference < 1e-4 for one in exported)


def test_the_image_part_takes_as_many_images_as_there_are_cameras(tmp_path: Path) -> None:
    export(detector(), tmp_path, print)
    (images,) = onnxruntime.InferenceSession(str(tmp_path / "images.onnx")).get_inputs()
    assert (images.name, images.shape) == ("images", [len(CAMERAS), 3, 32, 88])


def test_a_part_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(perception.export, "_differences", lambda part, path: [0.5])
    with pytest.raises(InputError, match=r"images\.onnx: expected results within 0\.001 of torch's"):
        export(detector(), tmp_path, print)
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a folder to write to"):
        export(detector(), tmp_path / "file", print)


def test_a_difference_that_is_not_a_number_is_told() -> None:
    assert relative_rms(torch.tensor([float("nan")]).numpy(), torch.ones(1).numpy()) != 0
