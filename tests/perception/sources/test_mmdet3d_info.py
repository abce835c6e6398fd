"""mmdetection3d's info files: what they say is believed, what they lack is told."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.nuscenes import CLASS_NAMES
from perception.sources import FrameOptions, MissingDataError
from perception.sources.mmdet3d_info import Source
from perception.types import Frame
from tests.data import GOLDEN, KEYFRAME, keyframe_info, needs
from tests.info_fixture import write_info
from tests.nuscenes_fixture import CAMERAS, write_nuscenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("data") / "nuscenes")


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A dataset to damage."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


def first_frame(path: Path, **options: object) -> Frame:
    return next(iter(Source(path, FrameOptions(**options))))


class TestFiles:
    def test_lie_in_the_folders_of_their_sensors(self, root: Path) -> None:
        frames = list(Source(write_info(root)))
        assert all(len(frame.cameras) == 6 for frame in frames)
        assert len(np.unique(frames[-1].cloud.points[:, 4])) == 9

    def test_or_beside_the_info_file(self, copy: Path) -> None:
        path = write_info(copy)
        expected = first_frame(path)
        for file in [*copy.glob("samples/*/*"), *copy.glob("sweeps/*/*")]:
            file.rename(copy / file.name)
        frame = first_frame(path)
        np.testing.assert_array_equal(frame.cloud.points, expected.cloud.points)
        np.testing.assert_array_equal(frame.cameras["CAM_BACK"].image, expected.cameras["CAM_BACK"].image)

    def test_that_are_nowhere_are_an_input_error_that_names_the_places(self, copy: Path) -> None:
        path = write_info(copy)
        shutil.rmtree(copy / "samples" / "CAM_BACK")
        with pytest.raises(
            MissingDataError, match=rf"expected a file at {copy}/n000.* or {copy}/samples/CAM_BACK/n000"
        ):
            first_frame(path)
        frame = first_frame(path, allow_missing=True)
        assert "CAM_BACK" not in frame.cameras
        assert frame.notes[0].startswith("CAM_BACK is left out: n000__CAM_BACK__")

    def test_only_as_many_sweeps_are_taken_as_asked(self, root: Path) -> None:
        *_, frame = Source(write_info(root), FrameOptions(cameras=(), sweeps=4))
        assert len(np.unique(frame.cloud.points[:, 4])) == 5


class TestInfo:
    def test_boxes_of_no_class_are_left_out_and_labels_go_by_name(self, root: Path) -> None:
        boxes = first_frame(write_info(root), cameras=(), lidar=False).truth.boxes
        assert len(boxes) == 14  # of 16
        names = [CLASS_NAMES[label] for label in boxes.labels]
        assert names[:5] == ["car", "construction_vehicle", "pedestrian", "bus", "barrier"]

    def test_unknown_velocities_stay_unknown(self, root: Path) -> None:
        assert np.isnan(first_frame(write_info(root), cameras=(), lidar=False).truth.boxes.velocities).all()

    @pytest.mark.parametrize("change", [lambda entry: entry.pop("instances"), lambda entry: entry["instances"].clear()])
    def test_a_file_without_any_box_has_no_truth(self, root: Path, change: Callable[[dict], object]) -> None:
        path = write_info(root, lambda info: [change(entry) for entry in info["data_list"]])
        assert first_frame(path, cameras=(), lidar=False).truth is None

    def test_a_frame_without_a_box_in_a_file_with_some_has_an_empty_truth(self, root: Path) -> None:
        path = write_info(root, lambda info: info["data_list"][0]["instances"].clear())
        truth = first_frame(path, cameras=(), lidar=False).truth
        assert len(truth.boxes) == len(truth.lidar_points) == len(truth.radar_points) == 0

    def test_the_image_size_is_nuscenes_own_only_for_nuscenes(self, root: Path) -> None:
        def without_sizes(info: dict) -> None:
            for camera in info["data_list"][0]["images"].values():
                del camera["width"], camera["height"]

        with pytest.raises(MissingDataError, match="expected 1600x900 pixels, as its calibration says, got 64x36"):
            first_frame(write_info(root, without_sizes))

        def of_another_dataset(info: dict) -> None:
            without_sizes(info)
            info["metainfo"]["dataset"] = "elsewhere"

        with pytest.raises(InputError, match="images: CAM_FRONT: expected a field 'width'"):
            first_frame(write_info(root, of_another_dataset))


def change_first(**values: object) -> Callable[[dict], None]:
    return lambda info: info["data_list"][0].update(values)


def change_camera(**values: object) -> Callable[[dict], None]:
    return lambda info: info["data_list"][0]["images"]["CAM_FRONT"].update(values)


def change_instance(**values: object) -> Callable[[dict], None]:
    return lambda info: info["data_list"][0]["instances"][0].update(values)


SHEARED = [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
MIRRORED = [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


class TestBrokenInfo:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (change_camera(cam2img=[[0, 0, 9], [0, 9, 9], [0, 0, 1]]), "CAM_FRONT: cam2img: .*singular"),
            (change_camera(cam2img="none"), "CAM_FRONT: cam2img: expected a camera matrix"),
            (change_camera(lidar2cam=SHEARED), "CAM_FRONT: lidar2cam: expected a rotation matrix"),
            (change_camera(lidar2cam=MIRRORED), "CAM_FRONT: lidar2cam: expected a rotation matrix"),
            (
                change_camera(lidar2cam=[[1, 0], [0, 1]]),
                r"CAM_FRONT: lidar2cam: expected finite numbers of shape \(4, 4\)",
            ),
            (change_camera(timestamp=float("nan")), "CAM_FRONT: timestamp: expected finite numbers"),
            (change_camera(width=64.5), "CAM_FRONT: width: expected type Integral, got 64.5"),
            (change_camera(img_path=None), "CAM_FRONT: img_path: expected type str, got None"),
            (change_first(ego2global=SHEARED), r"data_list\[0\]: ego2global: expected a rotation matrix"),
            (change_first(timestamp="now"), r"data_list\[0\]: timestamp: expected finite numbers"),
            (change_first(token=7), r"data_list\[0\]: token: expected type str, got 7"),
            (change_first(lidar_points={}), r"lidar_points: expected a field 'lidar_path', got none"),
            (change_first(images=[]), r"images: expected type dict, got \[\]"),
            (change_first(lidar_sweeps=[7]), r"lidar_sweeps\[0\]: expected type dict, got 7"),
            (change_instance(bbox_3d=[1, 2, 3]), r"instances\[0\]: bbox_3d: expected finite numbers of shape \(7,\)"),
            (change_instance(bbox_3d=[float("nan")] * 7), r"instances\[0\]: bbox_3d: expected finite numbers"),
            (change_instance(bbox_label_3d=10), r"instances\[0\]: bbox_label_3d: expected one of .* or -1, got 10"),
            (change_instance(velocity=None), r"instances\[0\]: velocity: expected numbers of shape \(2,\)"),
            (lambda info: info["data_list"].insert(0, "text"), r"data_list\[0\]: expected type dict, got 'text'"),
        ],
    )
    def test_what_cannot_be_is_named_with_its_place_whatever_may_be_missing(
        self, copy: Path, change: Callable[[dict], None], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            first_frame(write_info(copy, change), allow_missing=True)

    @pytest.mark.parametrize("field", ["token", "timestamp", "ego2global", "lidar_points"])
    def test_a_field_that_every_frame_needs_is_named(self, root: Path, field: str) -> None:
        path = write_info(root, lambda info: info["data_list"][0].pop(field))
        with pytest.raises(InputError, match=rf"data_list\[0\]: expected a field '{field}', got sample_idx, "):
            first_frame(path, allow_missing=True)

    @pytest.mark.parametrize(
        "change",
        [
            lambda info: info["data_list"][0].pop("images"),
            lambda info: info["data_list"][0]["images"].clear(),
        ],
    )
    def test_without_cameras_there_is_an_input_error_or_a_note_for_each(
        self, root: Path, change: Callable[[dict], object]
    ) -> None:
        path = write_info(root, change)
        with pytest.raises(MissingDataError, match=r"data_list\[0\]: images: expected a camera CAM_FRONT, got none"):
            first_frame(path)
        frame = first_frame(path, allow_missing=True)
        assert frame.cameras == {}
        assert [note.split()[0] for note in frame.notes] == list(CAMERAS)
        assert first_frame(path, cameras=()).notes == ()

    @pytest.mark.parametrize("version", ["1.0", "2", "v1.0-mini"])
    def test_another_info_version_is_an_input_error(self, root: Path, version: str) -> None:
        path = write_info(root, lambda info: info["metainfo"].update(info_version=version))
        with pytest.raises(InputError, match=rf"info_version: expected 1\.1, got {version}; make it anew"):
            Source(path)

    @pytest.mark.parametrize("content", [{"infos": [], "metadata": {}}, [], None, {"metainfo": {}, "data_list": []}])
    def test_what_is_no_info_of_this_kind_is_an_input_error(self, tmp_path: Path, content: object) -> None:
        path = tmp_path / "old.pkl"
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=r"old\.pkl: "):
            Source(path)

    def test_a_truncated_file_is_an_input_error(self, copy: Path) -> None:
        path = write_info(copy)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(InputError, match="expected an mmdetection3d info file, got no whole pickle"):
            Source(path)


@needs(KEYFRAME)
class TestRealKeyframe:
    @pytest.fixture(scope="class")
    @staticmethod
    def frame() -> Frame:
        return first_frame(keyframe_info())

    @pytest.fixture(scope="class")
    @staticmethod
    def info() -> dict:
        return pickle.loads(keyframe_info().read_bytes())["data_list"][0]

    def test_has_all_its_parts(self, frame: Frame) -> None:
        assert frame.stamp_ns == 1532402927647951000
        assert {name: camera.image.shape for name, camera in frame.cameras.items()} == dict.fromkeys(
            CAMERAS, (900, 1600, 3)
        )
        assert frame.cameras["CAM_FRONT"].stamp_ns == 1532402927612460000
        assert frame.cloud.points.shape == (34688, 5)
        assert not frame.cloud.points[:, 4].any()
        assert len(frame.truth.boxes) == 68  # of 69, one has no class
        assert frame.notes == ()

    def test_boxes_hold_the_points_that_the_annotators_counted(self, frame: Frame) -> None:
        inside = frame.truth.boxes.contain(frame.cloud.points).sum(axis=1)
        assert (inside == frame.truth.lidar_points).sum() >= 60

    def test_box_centres_fall_where_the_file_says_in_every_image(self, frame: Frame, info: dict) -> None:
        checked = 0
        for name, instances in info["cam_instances"].items():
            camera = frame.cameras[name]
            pixels = camera.intrinsics.project(camera.camera_from_lidar.apply(frame.truth.boxes.centers))
            for instance in instances:
                distances = np.linalg.norm(pixels - instance["center_2d"], axis=1)
                assert np.nanmin(distances) < 1
                checked += 1
        assert checked == 84

    @needs(GOLDEN)
    def test_is_what_the_reference_detector_was_given(self, frame: Frame) -> None:
        with np.load(GOLDEN / "frame_inputs.npz") as golden:
            np.testing.assert_array_equal(frame.cloud.points, golden["points"])
            for number, camera in enumerate(frame.cameras.values()):
                lidar_from_camera = camera.camera_from_lidar.inverse().matrix
                np.testing.assert_allclose(lidar_from_camera, golden["cam2lidar"][number], atol=1e-6)
                np.testing.assert_allclose(camera.intrinsics.matrix, golden["cam2img"][number][:3, :3])
