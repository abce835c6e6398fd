"""Sources are found by name, and the name from what a path holds; all keep the same contract."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.errors import InputError
from perception.replay.nuscenes import Drive
from perception.ros.bags import write_bag
from perception.sources import FrameOptions, Source, guess_source, open_source, source_names
from tests.info_fixture import write_info
from tests.nuscenes_fixture import write_nuscenes

RIG = Path(__file__).resolve().parents[3] / "configs" / "rigs" / "nuscenes_ros.yaml"
WITH_TRUTH = [name for name in source_names() if name != "bag"]
HAS_BAGS = find_spec("rosbags") is not None
OPENABLE = [name for name in source_names() if name != "bag" or HAS_BAGS]
ALL = FrameOptions()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_nuscenes(tmp_path_factory.mktemp("data") / "nuscenes")
    write_info(root)
    if HAS_BAGS:
        drive = Drive(root, scene="scene-0001")
        write_bag(root / "bag", drive.topics, drive)
    return root


def opened(name: str, root: Path, options: FrameOptions = ALL) -> Source:
    path = {"nuscenes": root, "mmdet3d_info": root / "tiny_infos.pkl", "bag": root / "bag"}[name]
    settings: dict[str, Any] = {"rig": RIG} if name == "bag" else {}
    return open_source(name, path, options, **settings)


@pytest.mark.parametrize("name", OPENABLE)
class TestEverySource:
    def test_yields_as_many_frames_as_it_says_again_and_again(self, name: str, root: Path) -> None:
        source = opened(name, root)
        tokens = [frame.token for frame in source]
        assert len(tokens) == len(source) == len(set(tokens)) >= 3
        assert [frame.token for frame in source] == tokens

    def test_can_leave_out_frames(self, name: str, root: Path) -> None:
        source = opened(name, root, FrameOptions(cameras=(), lidar=False))
        tokens = [frame.token for frame in source]
        rest = source.without({tokens[1], "another"})
        assert len(rest) == len(tokens) - 1
        assert [frame.token for frame in rest] == [tokens[0], *tokens[2:]]
        assert len(source) == len(tokens)

    def test_holds_what_the_options_say(self, name: str, root: Path) -> None:
        options = FrameOptions(cameras=("CAM_BACK",), lidar=False, truth=False)
        for frame in opened(name, root, options):
            assert list(frame.cameras) == ["CAM_BACK"]
            assert frame.cloud is None
            assert frame.truth is None
            assert not any("left out" in note for note in frame.notes)


@pytest.mark.parametrize("name", WITH_TRUTH)
class TestEverySourceWithTruth:
    def test_has_a_frame_a_sample(self, name: str, root: Path) -> None:
        assert len(opened(name, root)) == 6

    def test_counts_labels_in_the_class_names_of_the_options(self, name: str, root: Path) -> None:
        names = ("pedestrian", "car")
        source = opened(name, root, FrameOptions(cameras=(), lidar=False, class_names=names))
        assert source.class_names == names
        for frame in source:
            assert frame.truth.boxes.class_names == names
            heights = frame.truth.boxes.sizes[:, 2]
            np.testing.assert_allclose(heights[frame.truth.boxes.labels == 0], [1.8, 1.3])
            np.testing.assert_allclose(heights[frame.truth.boxes.labels == 1], [1.7, 1.6])


def test_both_readers_see_the_same_frames(root: Path) -> None:
    """Info files hold float32 matrices, so a point 1200 m from the world's origin is good to 0.2 mm."""
    tables, infos = (opened(name, root) for name in ("nuscenes", "mmdet3d_info"))
    for one, other in zip(tables, infos, strict=True):
        assert (one.token, one.stamp_ns, list(one.cameras)) == (other.token, other.stamp_ns, list(other.cameras))
        np.testing.assert_allclose(one.cloud.points, other.cloud.points, atol=1e-3)
        np.testing.assert_allclose(one.ego_from_lidar.matrix, other.ego_from_lidar.matrix, atol=1e-6)
        np.testing.assert_allclose(one.world_from_ego.matrix, other.world_from_ego.matrix, atol=1e-4)
        for name, camera in one.cameras.items():
            assert camera.stamp_ns == other.cameras[name].stamp_ns
            assert camera.intrinsics == other.cameras[name].intrinsics
            np.testing.assert_array_equal(camera.image, other.cameras[name].image)
            matrix = other.cameras[name].camera_from_lidar.matrix
            np.testing.assert_allclose(camera.camera_from_lidar.matrix, matrix, atol=1e-6)
        np.testing.assert_array_equal(one.truth.lidar_points, other.truth.lidar_points)
        np.testing.assert_array_equal(one.truth.boxes.labels, other.truth.boxes.labels)
        for field in ("centers", "sizes", "yaws"):
            np.testing.assert_allclose(getattr(one.truth.boxes, field), getattr(other.truth.boxes, field), atol=1e-6)


def test_what_a_path_holds_tells_the_source(root: Path, tmp_path: Path) -> None:
    assert guess_source(root) == "nuscenes"
    assert guess_source(str(root / "tiny_infos.pkl")) == "mmdet3d_info"
    for name in ("metadata.yaml", "drive.mcap"):
        (tmp_path / name).touch()
    assert guess_source(tmp_path) == guess_source(tmp_path / "drive.mcap") == "bag"
    for path in (root / "maps", root / "maps" / "nowhere.png", tmp_path / "missing.pkl"):
        with pytest.raises(InputError, match="expected a nuScenes root"):
            guess_source(path)


def test_helpers_beside_the_sources_are_no_sources() -> None:
    assert source_names() == ["bag", "mmdet3d_info", "nuscenes"]
    with pytest.raises(InputError, match="did you mean nuscenes"):
        open_source("nuscene", "nowhere")
    with pytest.raises(InputError, match="'images'"):
        open_source("images", "nowhere")


@pytest.mark.parametrize("wrong", [{"sweeps": -1}, {"remove_radius_m": -0.1}, {"remove_radius_m": float("nan")}])
def test_options_that_make_no_sense_are_input_errors(wrong: dict) -> None:
    with pytest.raises(InputError, match=r"numbers >= 0"):
        FrameOptions(**wrong)
