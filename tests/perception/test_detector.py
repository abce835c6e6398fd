"""The detector: one frame or many, whatever they lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.checkpoints.native import save_weights
from perception.detector import Detector, choose_device, load_detector
from perception.types import Boxes3D, Frame, PointCloud
from tests.tiny import CAMERAS, tiny_config, tiny_frame, tiny_network, tiny_yaml

HEADS = ("transfusion", "centerpoint")


def detector(cameras: bool = True, lidar: bool = True, head: str = "transfusion") -> Detector:
    config = tiny_config(cameras, lidar, head)
    return Detector(config, tiny_network(config))


def check_same(one: Boxes3D, other: Boxes3D) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    for name in ("centers", "sizes", "yaws", "velocities", "scores"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-4)


def without_points(frame: Frame) -> Frame:
    return replace(frame, cloud=PointCloud(np.zeros((0, 5), np.float32)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cameras", [CAMERAS, CAMERAS[1:], CAMERAS[:1], ()], ids=len)
@pytest.mark.parametrize("points", [400, 1, 0, None])
def test_any_sensors_may_be_missing(head: str, cameras: tuple[str, ...], points: int | None) -> None:
    boxes = detector(head=head)(tiny_frame(cameras=cameras, points=points))
    assert boxes.frame == "lidar"
    assert np.isfinite(boxes.centers).all()
    assert (boxes.scores >= 0).all()
    assert (boxes.scores <= 1).all()


@pytest.mark.parametrize(("cameras", "lidar"), [(True, False), (False, True)])
def test_one_branch_needs_only_its_sensor(cameras: bool, lidar: bool) -> None:
    frame = tiny_frame()
    alone = replace(frame, cloud=None) if cameras else replace(frame, cameras={})
    one, other = (detector(cameras, lidar)(given) for given in (alone, frame))
    if lidar:
        check_same(one, other)  # with cameras alone, points still tell the view transform the depths
    assert len(one) > 0


def test_a_frame_with_nothing_to_look_at_gets_no_boxes() -> None:
    nothing = without_points(tiny_frame(cameras=()))
    assert len(detector()(nothing)) == 0
    assert len(detector(lidar=False)(replace(tiny_frame(), cameras={}))) == 0
    assert len(detector(cameras=False)(replace(tiny_frame(), cloud=None))) == 0


def test_points_out_of_range_are_nothing_to_look_at() -> None:
    frame = tiny_frame(cameras=())
    far = replace(frame.cloud, points=frame.cloud.points + np.float32([1e4, 0, 0, 0, 0]))
    assert len(detector()(replace(frame, cloud=far))) == 0


def test_no_cloud_is_the_same_as_an_empty_one() -> None:
    frame = tiny_frame()
    check_same(detector()(replace(frame, cloud=None)), detector()(without_points(frame)))


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_gives_what_its_frames_give_alone(head: str) -> None:
    frames = [tiny_frame(0), tiny_frame(1, cameras=CAMERAS[:2]), tiny_frame(2, points=None), tiny_frame(3, cameras=())]
    frames.append(without_points(tiny_frame(4, cameras=())))
    found = detector(head=head).detect(frames)
    assert len(found) == len(frames)
    for frame, boxes in zip(frames, found, strict=True):
        check_same(boxes, detector(head=head)(frame))


def test_no_frames_give_no_boxes() -> None:
    assert detector().detect([]) == []


def test_another_rig_is_no_error() -> None:
    frame = tiny_frame(size=(200, 200))
    renamed = {"FISHEYE": frame.cameras["CAM_FRONT"], **{name: frame.cameras[name] for name in CAMERAS[1:3]}}
    check_same(
        detector()(replace(frame, cameras=renamed)),
        detector()(replace(frame, cameras={name: frame.cameras[name] for name in CAMERAS[1:3]})),
    )


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    frame, threads = tiny_frame(), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(detector()(frame))
    finally:
        torch.set_num_threads(threads)
    for name in ("centers", "sizes", "yaws", "velocities", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_loads_from_files(tmp_path: Path) -> None:
    config = tiny_yaml(tmp_path / "tiny.yaml")
    save_weights(tmp_path / "tiny.safetensors", tiny_network(tiny_config()).state_dict())
    check_same(load_detector(config, tmp_path / "tiny.safetensors")(tiny_frame()), detector()(tiny_frame()))


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=r"device.*: expected .*; use --device cpu"):
        choose_device(name)


@pytest.mark.parametrize("bfloat16", [True, False])
def test_bfloat16_without_instructions_for_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bfloat16: bool
) -> None:
    monkeypatch.setattr("perception.model.precision.computes_bfloat16", lambda device: bfloat16)
    config = tiny_config()
    Detector(config, tiny_network(config), precision="bf16")
    assert ("use fp32" in caplog.text) == (not bfloat16)
    caplog.clear()
    Detector(config, tiny_network(config))
    assert caplog.text == ""
