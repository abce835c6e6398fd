"""Our nuScenes reader says what the development kit says, and names what is wrong with a dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.errors import InputError
from perception.nuscenes import CLASS_NAMES, CLASS_OF_CATEGORY
from perception.sources import FrameOptions, MissingDataError, nuscenes_tables
from perception.sources.nuscenes import Source
from perception.types import Frame
from tests.nuscenes_fixture import CAMERAS, VERSION, edited, ego_from_sensor, write_nuscenes

TRUTH_ONLY = FrameOptions(cameras=(), lidar=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("data") / "nuscenes")


@pytest.fixture(scope="module")
def frames(root: Path) -> list[Frame]:
    return list(Source(root))


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A dataset to damage."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


@pytest.fixture(scope="module")
def kit(root: Path) -> Any:
    """The development kit over the same dataset."""
    return pytest.importorskip("nuscenes").NuScenes(VERSION, str(root), verbose=False)


class TestAgainstTheDevelopmentKit:
    def kit_boxes(self, kit: Any, token: str) -> list:
        from nuscenes.eval.detection.utils import category_to_detection_name

        _, boxes, _ = kit.get_sample_data(kit.get("sample", token)["data"]["LIDAR_TOP"])
        return [box for box in boxes if category_to_detection_name(box.name)]

    def test_categories_become_the_same_classes(self, kit: Any) -> None:
        from nuscenes.eval.detection.utils import category_to_detection_name
        from nuscenes.utils.color_map import get_colormap

        for category in get_colormap():
            assert CLASS_OF_CATEGORY.get(category) == category_to_detection_name(category)

    def test_boxes_are_in_the_same_places_of_the_lidar_frame(self, kit: Any, frames: list[Frame]) -> None:
        for frame in frames:
            theirs, ours = self.kit_boxes(kit, frame.token), frame.truth.boxes
            assert len(ours) == len(theirs) >= 13
            np.testing.assert_allclose(ours.centers, [box.center for box in theirs], atol=1e-4)
            np.testing.assert_array_equal(ours.sizes, [box.wlh[[1, 0, 2]] for box in theirs])
            names = [CLASS_OF_CATEGORY[box.name] for box in theirs]
            assert [CLASS_NAMES[label] for label in ours.labels] == names
            headings = np.array([box.orientation.rotate([1, 0, 0]) for box in theirs])
            yaws = np.arctan2(headings[:, 1], headings[:, 0])
            np.testing.assert_allclose(np.sin(ours.yaws - yaws), 0, atol=1e-9)
            np.testing.assert_allclose(np.cos(ours.yaws - yaws), 1)

    def test_velocities_are_the_same(self, kit: Any, frames: list[Frame]) -> None:
        """Unknown ones are NaN in both."""
        unknown = 0
        for frame in frames:
            lidar_from_world = (frame.world_from_ego @ frame.ego_from_lidar).inverse()
            tokens = [box.token for box in self.kit_boxes(kit, frame.token)]
            flat = np.array([[*kit.box_velocity(token)[:2], 0] for token in tokens])
            theirs = lidar_from_world.rotate(flat)[:, :2]
            np.testing.assert_allclose(frame.truth.boxes.velocities, theirs, rtol=1e-11, atol=1e-12)
            unknown += np.isnan(theirs).any(axis=1).sum()
        assert unknown == 2

    def test_points_attributes_and_tracks_are_the_same(self, kit: Any, frames: list[Frame]) -> None:
        for frame in frames:
            rows = [kit.get("sample_annotation", box.token) for box in self.kit_boxes(kit, frame.token)]
            assert frame.truth.lidar_points.tolist() == [row["num_lidar_pts"] for row in rows]
            assert frame.truth.radar_points.tolist() == [row["num_radar_pts"] for row in rows]
            assert list(frame.truth.instances) == [row["instance_token"] for row in rows]
            names = [[kit.get("attribute", name)["name"] for name in row["attribute_tokens"]] for row in rows]
            assert [[name] if name else [] for name in frame.truth.attributes] == names

    def test_sweeps_are_accumulated_into_the_same_points(self, kit: Any, frames: list[Frame]) -> None:
        """The kit removes close returns from the keyframe too, so only the sweeps can be compared."""
        from nuscenes.utils.data_classes import LidarPointCloud

        longest = 0
        for frame in frames:
            sample = kit.get("sample", frame.token)
            cloud, ages = LidarPointCloud.from_file_multisweep(kit, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10)
            theirs, ours = cloud.points.T[ages[0] > 0], frame.cloud.points[frame.cloud.points[:, 4] > 0]
            np.testing.assert_allclose(ours[:, :4], theirs, atol=1e-4)
            np.testing.assert_allclose(ours[:, 4], ages[0][ages[0] > 0], atol=1e-6)
            longest = max(longest, len(np.unique(ours[:, 4])))
        assert longest == 8  # 3 + 1 + 3 + 1 between the last keyframe and the scene's start

    def test_points_meet_the_images_in_the_same_pixels(self, kit: Any, frames: list[Frame]) -> None:
        """The kit's own way: lidar -> ego -> world -> ego when the camera fired -> camera, with pyquaternion."""
        from nuscenes.utils.geometry_utils import transform_matrix, view_points
        from pyquaternion import Quaternion

        def matrix(table: str, token: str, inverse: bool) -> np.ndarray:
            row = kit.get(table, token)
            return transform_matrix(row["translation"], Quaternion(row["rotation"]), inverse)

        for frame in frames:
            data = kit.get("sample", frame.token)["data"]
            lidar = kit.get("sample_data", data["LIDAR_TOP"])
            points = np.c_[frame.cloud.points[:50, :3], np.ones(50)].astype(np.float64)
            for name, camera in frame.cameras.items():
                row = kit.get("sample_data", data[name])
                camera_from_lidar = (
                    matrix("calibrated_sensor", row["calibrated_sensor_token"], True)
                    @ matrix("ego_pose", row["ego_pose_token"], True)
                    @ matrix("ego_pose", lidar["ego_pose_token"], False)
                    @ matrix("calibrated_sensor", lidar["calibrated_sensor_token"], False)
                )
                np.testing.assert_allclose(camera.camera_from_lidar.matrix, camera_from_lidar, atol=1e-9)
                points_camera = (camera_from_lidar @ points.T)[:3]
                points_camera = points_camera[:, points_camera[2] > 1]
                intrinsic = np.array(kit.get("calibrated_sensor", row["calibrated_sensor_token"])["camera_intrinsic"])
                pixels = view_points(points_camera, intrinsic, normalize=True)[:2].T
                np.testing.assert_allclose(camera.intrinsics.project(points_camera.T), pixels, atol=1e-6)


class TestFrames:
    def test_stamps_are_the_microseconds_of_the_file_exactly(self, root: Path, frames: list[Frame]) -> None:
        samples = json.loads((root / VERSION / "sample.json").read_text())
        assert [frame.stamp_ns for frame in frames] == [row["timestamp"] * 1000 for row in samples]
        for frame in frames:
            for name, (_, early_us) in CAMERAS.items():
                assert frame.stamp_ns - frame.cameras[name].stamp_ns == early_us * 1000

    def test_the_motion_between_the_stamps_is_in_the_calibration(self, frames: list[Frame]) -> None:
        """At 4 m/s, a camera that fires 43 ms before the LiDAR's stamp was 17 cm behind its mount then."""
        for frame in frames:
            for name, (_, early_us) in CAMERAS.items():
                mount = (frame.ego_from_lidar.inverse() @ ego_from_sensor(name)).translation
                place = frame.cameras[name].camera_from_lidar.inverse().translation
                assert np.linalg.norm(place - mount) == pytest.approx(4 * early_us / 1e6, abs=0.01)

    def test_each_camera_shows_its_own_image(self, frames: list[Frame]) -> None:
        """The fixture paints its number into the red of each camera."""
        for frame in frames:
            for number, name in enumerate(CAMERAS):
                assert abs(frame.cameras[name].image[..., 0].mean() - 40 * number) < 3

    def test_an_earlier_image_is_the_keyframe_before_seen_from_where_the_frame_is(self, root: Path) -> None:
        source = Source(root, FrameOptions(cameras=("CAM_BACK",)))
        first, second = source.frame(source.tokens[0]), source.frame(source.tokens[1])
        earlier, then = source.earlier_image(source.tokens[1], "CAM_BACK"), first.cameras["CAM_BACK"]
        assert earlier.stamp_ns == then.stamp_ns
        np.testing.assert_array_equal(earlier.image, then.image)
        lidar_then_from_lidar_now = (first.world_from_ego @ first.ego_from_lidar).inverse() @ (
            second.world_from_ego @ second.ego_from_lidar
        )
        expected = (then.camera_from_lidar @ lidar_then_from_lidar_now).matrix
        np.testing.assert_allclose(earlier.camera_from_lidar.matrix, expected, atol=1e-9)
        starts = [token for token in source.tokens if source.earlier_image(token, "CAM_BACK") is None]
        assert starts == [source.tokens[0], source.tokens[3]]  # of two scenes

    def test_cameras_come_in_the_order_that_was_asked_for(self, root: Path) -> None:
        names = ("CAM_BACK", "CAM_FRONT")
        assert tuple(next(iter(Source(root, FrameOptions(cameras=names)))).cameras) == names

    def test_a_scene_starts_without_sweeps_and_later_keyframes_have_as_many_as_asked(self, root: Path) -> None:
        ages = [np.unique(frame.cloud.points[:, 4]) for frame in Source(root, FrameOptions(cameras=(), sweeps=2))]
        assert [len(age) for age in ages] == [1, 3, 3] * 2
        alone = [np.unique(frame.cloud.points[:, 4]) for frame in Source(root, FrameOptions(cameras=(), sweeps=0))]
        assert [age.tolist() for age in alone] == [[0.0]] * 6

    def test_scenes_come_one_after_the_other_in_time_order_however_the_tables_are_sorted(self, copy: Path) -> None:
        tokens = Source(copy, TRUTH_ONLY).tokens
        for table in ("sample", "sample_data", "ego_pose"):
            with edited(copy, table) as rows:
                rows.reverse()
        assert Source(copy, TRUTH_ONLY).tokens == tokens

    def test_nothing_is_read_before_it_is_asked_for(self, copy: Path) -> None:
        tokens = Source(copy).tokens
        shutil.rmtree(copy / "samples" / "CAM_FRONT")
        source = Source(copy)
        assert source.tokens == tokens
        with pytest.raises(MissingDataError):
            source.frame(tokens[0])

    def test_a_dataset_without_annotations_has_no_truth_rather_than_an_empty_one(self, copy: Path) -> None:
        with edited(copy, "sample_annotation") as rows:
            rows.clear()
        assert all(frame.truth is None for frame in Source(copy, TRUTH_ONLY))

    def test_a_frame_in_which_nothing_is_annotated_has_an_empty_truth(self, copy: Path) -> None:
        token = Source(copy, TRUTH_ONLY).tokens[0]
        with edited(copy, "sample_annotation") as rows:
            rows[:] = [row | {"prev": "", "next": ""} for row in rows if row["sample_token"] != token]
        truth = Source(copy, TRUTH_ONLY).frame(token).truth
        assert len(truth.boxes) == len(truth.lidar_points) == 0

    def test_velocities_over_gaps_of_more_than_one_and_a_half_seconds_are_unknown(self, copy: Path) -> None:
        with edited(copy, "sample") as rows:
            for row in rows[1:3]:
                row["timestamp"] += 1_100_000  # the first step of scene 1 is 1.6 s, its centred difference 2.1 s
        first, middle, last = (frame.truth.boxes for frame in list(Source(copy, TRUTH_ONLY))[:3])
        assert np.isnan(first.velocities).all()
        assert np.isfinite(middle.velocities).all()
        assert np.isfinite(last.velocities).all()


class TestChoosing:
    def test_a_split_is_its_scenes(self, root: Path) -> None:
        everything = Source(root, TRUTH_ONLY).tokens
        assert Source(root, TRUTH_ONLY, split="tiny_train").tokens == everything[:3]
        assert Source(root, TRUTH_ONLY, split="tiny_val").tokens == everything[3:]

    def test_chosen_samples_come_in_the_order_given_with_the_same_content(
        self, root: Path, frames: list[Frame]
    ) -> None:
        chosen = list(Source(root, tokens=[frames[4].token, frames[1].token]))
        assert [frame.token for frame in chosen] == [frames[4].token, frames[1].token]
        np.testing.assert_array_equal(chosen[0].cloud.points, frames[4].cloud.points)
        np.testing.assert_array_equal(chosen[1].truth.boxes.velocities, frames[1].truth.boxes.velocities)

    def test_official_splits_are_known_without_a_file(self, copy: Path) -> None:
        pytest.importorskip("nuscenes")
        (copy / VERSION / "splits.json").unlink()
        with edited(copy, "scene") as rows:
            rows[0]["name"] = "scene-0103"
        assert len(Source(copy, TRUTH_ONLY, split="mini_val")) == 3

    def test_a_split_of_another_version_is_an_input_error(self, root: Path) -> None:
        pytest.importorskip("nuscenes")
        with pytest.raises(InputError, match="samples of split test: expected at least one"):
            Source(root, split="test")

    def test_an_unknown_split_is_an_input_error_that_helps(self, root: Path) -> None:
        with pytest.raises(InputError, match=r"split: expected one of .*tiny_train, tiny_val, got 'tiny_vall'; "):
            Source(root, split="tiny_vall")

    @pytest.mark.parametrize("content", ["[1]", '{"tiny_val": "scene-0001"}', "{"])
    def test_a_malformed_split_file_is_an_input_error(self, copy: Path, content: str) -> None:
        (copy / VERSION / "splits.json").write_text(content)
        with pytest.raises(InputError, match=r"splits\.json: expected an object"):
            Source(copy, split="tiny_val")

    def test_a_split_and_samples_at_once_are_an_input_error(self, root: Path, frames: list[Frame]) -> None:
        with pytest.raises(InputError, match="expected a split or tokens, got both"):
            Source(root, split="tiny_val", tokens=[frames[0].token])

    def test_an_unknown_sample_is_an_input_error(self, root: Path) -> None:
        with pytest.raises(InputError, match=r"sample\.json: expected a sample with token 'nothing', got none; take"):
            Source(root, tokens=["nothing"])

    def test_the_version_may_be_left_out_only_where_there_is_one(self, copy: Path) -> None:
        assert Source(copy, TRUTH_ONLY).folder.name == VERSION
        shutil.copytree(copy / VERSION, copy / "v1.0-other")
        assert len(Source(copy, TRUTH_ONLY, version="v1.0-other")) == 6
        with pytest.raises(InputError, match=r"got versions: v1\.0-other, v1\.0-tiny; choose one"):
            Source(copy)

    def test_a_missing_version_is_an_input_error_that_lists_those_present(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"of version v1\.0-mini, got versions: v1\.0-tiny"):
            Source(root, version="v1.0-mini")
        with pytest.raises(InputError, match="got versions: none"):
            Source(tmp_path)


TABLES = ("scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose")
TRUTH_TABLES = ("category", "attribute", "instance", "sample_annotation")


class TestBrokenTables:
    @pytest.mark.parametrize("table", TABLES + TRUTH_TABLES)
    def test_a_missing_table_is_named(self, copy: Path, table: str) -> None:
        (copy / VERSION / f"{table}.json").unlink()
        with pytest.raises(InputError, match=rf"{table}\.json: expected a nuScenes table, got no such file"):
            Source(copy)

    @pytest.mark.parametrize("table", TRUTH_TABLES)
    def test_annotations_are_not_read_where_no_truth_is_wanted(self, copy: Path, table: str) -> None:
        (copy / VERSION / f"{table}.json").unlink()
        assert next(iter(Source(copy, FrameOptions(truth=False)))).truth is None

    @pytest.mark.parametrize("content", ["", "{}", "[", '[{"token": "a"', '[{"token"; "a"}]'])
    def test_broken_json_is_named(self, copy: Path, content: str) -> None:
        (copy / VERSION / "ego_pose.json").write_text(content)
        with pytest.raises(InputError, match=r"ego_pose\.json: expected a nuScenes table.*got broken JSON"):
            Source(copy)

    def test_text_in_another_encoding_is_named(self, copy: Path) -> None:
        (copy / VERSION / "scene.json").write_bytes(b'[{"name": "\xff"}]')
        with pytest.raises(InputError, match=r"scene\.json: expected a nuScenes table"):
            Source(copy)

    @pytest.mark.parametrize("row", [{}, 7, "text", None, []])
    def test_a_row_without_its_fields_is_shown(self, copy: Path, row: object) -> None:
        with edited(copy, "ego_pose") as rows:
            rows[3] = row
        with pytest.raises(InputError, match=r"ego_pose\.json: expected rows with token, translation, rotation, got"):
            Source(copy)

    @pytest.mark.parametrize(
        ("table", "field", "value"),
        [
            ("sample", "timestamp", 1533000000123457.0),
            ("sample_data", "is_key_frame", 1),
            ("sample_data", "prev", None),
            ("ego_pose", "translation", "1 2 3"),
            ("sample_annotation", "num_lidar_pts", "5"),
        ],
    )
    def test_a_field_of_the_wrong_type_is_named(self, copy: Path, table: str, field: str, value: object) -> None:
        with edited(copy, table) as rows:
            rows[0][field] = value
        with pytest.raises(InputError, match=rf"{table}\.json: {field} of row 0: expected type"):
            Source(copy)

    @pytest.mark.parametrize(
        ("table", "field", "leads_to"),
        [
            ("sample", "scene_token", "scene"),
            ("calibrated_sensor", "sensor_token", "sensor"),
            ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
            ("sample_data", "ego_pose_token", "ego_pose"),
            ("sample_data", "prev", "sample_data"),
            ("instance", "category_token", "category"),
            ("sample_annotation", "instance_token", "instance"),
            ("sample_annotation", "prev", "sample_annotation"),
            ("sample_annotation", "next", "sample_annotation"),
            ("sample_annotation", "attribute_tokens", "attribute"),
        ],
    )
    def test_a_token_that_leads_nowhere_is_named(self, copy: Path, table: str, field: str, leads_to: str) -> None:
        with edited(copy, table) as rows:
            for row in rows:
                row[field] = ["nothing"] if field == "attribute_tokens" else "nothing"
        with pytest.raises(InputError, match=rf"{leads_to}\.json: expected a row with token 'nothing', got none"):
            list(Source(copy))

    @pytest.mark.parametrize(
        ("table", "field", "value", "message"),
        [
            ("ego_pose", "rotation", [0, 0, 0, 0], "quaternion: expected w x y z, not all zero"),
            ("ego_pose", "translation", [1, 2], r"expected shape \(3,\)"),
            ("calibrated_sensor", "rotation", [1, 0, 0, float("nan")], "expected finite numbers"),
            ("calibrated_sensor", "camera_intrinsic", [[0, 0, 9], [0, 9, 9], [0, 0, 1]], "singular"),
            ("calibrated_sensor", "camera_intrinsic", [], r"camera_intrinsic of .*expected a camera matrix"),
            ("sample_annotation", "rotation", [0, 0, 0, 0], "rotation in sample .*expected 4 finite numbers"),
            ("sample_annotation", "size", [1, 2], "size in sample .*expected 3 finite numbers"),
            ("sample_annotation", "translation", [1, 2, float("inf")], "translation in sample"),
        ],
    )
    def test_numbers_that_cannot_be_are_named(
        self, copy: Path, table: str, field: str, value: list, message: str
    ) -> None:
        with edited(copy, table) as rows:
            for row in rows:
                row[field] = value
        with pytest.raises(InputError, match=rf"{table}\.json: .*{message}"):
            list(Source(copy, FrameOptions(allow_missing=True)))

    def test_two_attributes_on_one_box_are_an_input_error(self, copy: Path) -> None:
        with edited(copy, "sample_annotation") as rows:
            rows[0]["attribute_tokens"] *= 2
        with pytest.raises(InputError, match="expected one attribute or none, got 2"):
            list(Source(copy, TRUTH_ONLY))

    def test_tables_longer_than_a_piece_are_read_whole(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = list(nuscenes_tables.Table(root / VERSION, "sample_data", nuscenes_tables.SampleData))
        for piece in (700, 1009, 5000):
            monkeypatch.setattr(nuscenes_tables, "PIECE", piece)
            assert list(nuscenes_tables.Table(root / VERSION, "sample_data", nuscenes_tables.SampleData)) == whole


class TestMissingData:
    def files(self, root: Path, channel: str) -> list[Path]:
        return sorted((root / "samples" / channel).iterdir())

    def test_a_missing_or_broken_image_stops_the_frame_unless_that_is_allowed(self, copy: Path) -> None:
        self.files(copy, "CAM_BACK")[0].unlink()
        truncated = self.files(copy, "CAM_FRONT")[0]
        truncated.write_bytes(truncated.read_bytes()[:200])
        with pytest.raises(MissingDataError, match="CAM_FRONT"):
            next(iter(Source(copy)))
        first, second, *_ = Source(copy, FrameOptions(allow_missing=True))
        assert set(CAMERAS) - set(first.cameras) == {"CAM_BACK", "CAM_FRONT"}
        assert len(first.notes) == 2
        assert first.notes[0].startswith("CAM_FRONT is left out: ")
        assert first.notes[1].startswith("CAM_BACK is left out: ")
        assert (set(second.cameras), second.notes) == (set(CAMERAS), ())

    def test_a_missing_cloud_stops_the_frame_unless_that_is_allowed(self, copy: Path) -> None:
        self.files(copy, "LIDAR_TOP")[0].unlink()
        with pytest.raises(MissingDataError, match="LIDAR_TOP"):
            next(iter(Source(copy)))
        first, second, *_ = Source(copy, FrameOptions(allow_missing=True))
        assert first.cloud is None
        assert first.notes[0].startswith("The cloud is left out: ")
        assert len(first.truth.boxes) == 14
        assert second.cloud.points[:, 4].max() < 0.2
        assert second.notes[0].startswith("A sweep is left out: ")

    def test_a_camera_that_recorded_nothing_is_missing_data(self, copy: Path) -> None:
        with edited(copy, "sample_data") as rows:
            rows[:] = [row for row in rows if "CAM_BACK_LEFT" not in row["filename"]]
        with pytest.raises(MissingDataError, match=r"sample_data\.json: .*expected a keyframe of CAM_BACK_LEFT"):
            next(iter(Source(copy)))
        assert all(len(frame.cameras) == 5 for frame in Source(copy, FrameOptions(allow_missing=True)))

    def test_without_the_lidars_row_there_is_no_frame_time_whatever_is_allowed(self, copy: Path) -> None:
        with edited(copy, "sample_data") as rows:
            rows[:] = [row for row in rows if "LIDAR_TOP" not in row["filename"]]
        with pytest.raises(InputError, match="a keyframe of LIDAR_TOP"):
            next(iter(Source(copy, FrameOptions(allow_missing=True))))
