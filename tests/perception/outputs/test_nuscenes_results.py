"""What we write is what the official evaluation reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import ATTRIBUTES, CLASS_NAMES, attribute_of
from perception.outputs.nuscenes_results import sample_results, write_results
from perception.sources import FrameOptions
from perception.sources.nuscenes import Source
from perception.types import Boxes3D, Frame
from tests.nuscenes_fixture import VERSION, write_nuscenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("data") / "nuscenes", samples=4)


@pytest.fixture(scope="module")
def frames(root: Path) -> list[Frame]:
    return list(Source(root, FrameOptions(cameras=(), lidar=False), split="tiny_val"))


def write(path: Path, detections: Iterable[tuple[Frame, Boxes3D]]) -> Path:
    samples = ((frame.token, sample_results(frame, found)) for frame, found in detections)
    write_results(path, samples, use_camera=True, use_lidar=False)
    return path


def perfect(frames: list[Frame]) -> list[tuple[Frame, Boxes3D]]:
    """The truth as if it had been detected."""
    return [(frame, frame.truth.boxes) for frame in frames]


def mistaken(truth: Boxes3D) -> Boxes3D:
    """0.3 m away, a fifth too low, turned by 0.1 rad and 1 m/s too fast."""
    return replace(
        truth,
        centers=truth.centers + np.array([0.3, 0, 0]),
        sizes=truth.sizes * np.array([1, 1, 0.8]),
        yaws=truth.yaws + 0.1,
        velocities=truth.velocities + np.array([0, 1]),
    )


def boxes(count: int = 1, **fields: Any) -> Boxes3D:
    given = {
        "centers": np.tile([10.0, 5, 1], (count, 1)),
        "sizes": np.tile([4.0, 2, 1.5], (count, 1)),
        "yaws": np.zeros(count),
        "velocities": np.zeros((count, 2)),
        "scores": np.linspace(0.1, 0.9, count),
        "labels": np.zeros(count, np.int64),
        "class_names": CLASS_NAMES,
    }
    return Boxes3D(**given | fields)


LEVEL = Frame(0, "sample", {}, None, Transform.identity(), Transform.identity())


class TestOfficialEvaluation:
    @pytest.fixture(scope="class")
    @staticmethod
    def kit(root: Path) -> Any:
        return pytest.importorskip("nuscenes").NuScenes(VERSION, str(root), verbose=False)

    def evaluate(self, kit: Any, results: Path, folder: Path) -> Any:
        from nuscenes.eval.detection.config import config_factory
        from nuscenes.eval.detection.evaluate import DetectionEval

        config = config_factory("detection_cvpr_2019")
        metrics, _ = DetectionEval(kit, config, str(results), "tiny_val", str(folder), verbose=False).evaluate()
        return metrics

    def test_finds_the_truth_perfect(self, kit: Any, frames: list[Frame], tmp_path: Path) -> None:
        metrics = self.evaluate(kit, write(tmp_path / "results.json", perfect(frames)), tmp_path)
        assert metrics.mean_ap == pytest.approx(1)
        errors = metrics.tp_errors
        assert errors["trans_err"] < 1e-9
        assert errors["scale_err"] < 1e-9
        assert errors["attr_err"] == 0
        assert errors["orient_err"] < 1e-3  # what the yaw in a lidar frame that tilts by 2 degrees can't say
        assert errors["vel_err"] < 2e-3

    def test_sees_every_mistake_that_we_make(self, kit: Any, frames: list[Frame], tmp_path: Path) -> None:
        detections = [(frame, mistaken(frame.truth.boxes)) for frame in frames]
        errors = self.evaluate(kit, write(tmp_path / "results.json", detections), tmp_path).tp_errors
        assert errors["trans_err"] == pytest.approx(0.3, abs=1e-3)
        assert errors["scale_err"] == pytest.approx(0.2, abs=1e-9)
        assert errors["orient_err"] == pytest.approx(0.1, abs=2e-3)
        assert errors["vel_err"] == pytest.approx(1, abs=0.01)
        assert errors["attr_err"] > 0.3  # what stood now moves

    def test_reads_back_boxes_classes_and_flags(self, frames: list[Frame], tmp_path: Path) -> None:
        loaders = pytest.importorskip("nuscenes.eval.common.loaders")
        from nuscenes.eval.detection.data_classes import DetectionBox

        path = write(tmp_path / "results.json", perfect(frames))
        predictions, meta = loaders.load_prediction(str(path), 500, DetectionBox)
        flags = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}
        assert meta == flags
        assert predictions.sample_tokens == [frame.token for frame in frames]
        for frame in frames:
            names = [box.detection_name for box in predictions[frame.token]]
            assert names == [CLASS_NAMES[label] for label in frame.truth.boxes.labels]
            attributes = [box.attribute_name for box in predictions[frame.token]]
            assert attributes == list(frame.truth.attributes)


class TestRecords:
    def test_boxes_are_turned_by_the_whole_rotation_to_the_world(self) -> None:
        """A car on a slope: its roof leans as the road does, which a yaw alone would not say."""
        from scipy.spatial.transform import Rotation

        slope = Rotation.from_euler("ZYX", [0.5, 0.3, -0.2])
        frame = replace(
            LEVEL,
            ego_from_lidar=Transform(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), [1, 0, 2]),
            world_from_ego=Transform(slope.as_matrix(), [100, 200, 3]),
        )
        (record,) = sample_results(frame, boxes(yaws=np.array([0.7]), velocities=np.array([[3.0, 4.0]])))
        np.testing.assert_allclose(record["translation"], np.array([100, 200, 3]) + slope.apply([1 + 5, -10, 3]))
        assert record["size"] == [2.0, 4.0, 1.5]
        w, x, y, z = record["rotation"]
        world_from_box = Rotation.from_quat([x, y, z, w])
        forward = [np.sin(0.7), -np.cos(0.7), 0]  # in the ego frame
        np.testing.assert_allclose(world_from_box.apply([1, 0, 0]), slope.apply(forward))
        np.testing.assert_allclose(world_from_box.apply([0, 0, 1]), slope.apply([0, 0, 1]))
        np.testing.assert_allclose(record["velocity"], slope.apply([4, -3, 0])[:2])

    def test_only_the_500_best_are_kept_best_first_and_equals_in_their_order(self) -> None:
        scores = np.random.default_rng(0).permutation(np.repeat(np.arange(1, 301) / 300, 2))
        sizes = np.column_stack([np.arange(1, 601)] * 3)
        records = sample_results(LEVEL, boxes(600, scores=scores, sizes=sizes))
        assert len(records) == 500
        kept = [(-record["detection_score"], record["size"][0]) for record in records]
        assert kept == sorted(kept)
        assert kept[-1][0] == -51 / 300

    def test_a_sample_in_which_nothing_was_found_is_there_and_empty(self, tmp_path: Path) -> None:
        write(tmp_path / "a.json", [(LEVEL, Boxes3D.empty(CLASS_NAMES))])
        assert json.loads((tmp_path / "a.json").read_text())["results"] == {"sample": []}

    def test_an_unknown_velocity_is_written_as_standing_still(self) -> None:
        (record,) = sample_results(LEVEL, boxes(velocities=np.array([[np.nan, np.nan]])))
        assert record["velocity"] == [0.0, 0.0]
        assert record["attribute_name"] == "vehicle.parked"

    def test_float32_boxes_are_written_as_plain_numbers(self) -> None:
        (record,) = sample_results(LEVEL, boxes(scores=np.float32([0.3]), sizes=np.float32([[4, 2, 1]])))
        assert type(record["detection_score"]) is float
        json.dumps(record)

    @pytest.mark.parametrize(
        ("name", "standing", "moving"),
        [
            ("car", "vehicle.parked", "vehicle.moving"),
            ("truck", "vehicle.parked", "vehicle.moving"),
            ("construction_vehicle", "vehicle.parked", "vehicle.moving"),
            ("bus", "vehicle.stopped", "vehicle.moving"),
            ("trailer", "vehicle.parked", "vehicle.moving"),
            ("barrier", "", ""),
            ("motorcycle", "cycle.without_rider", "cycle.with_rider"),
            ("bicycle", "cycle.without_rider", "cycle.with_rider"),
            ("pedestrian", "pedestrian.standing", "pedestrian.moving"),
            ("traffic_cone", "", ""),
        ],
    )
    def test_attributes_follow_class_and_speed(self, name: str, standing: str, moving: str) -> None:
        assert attribute_of(name, 0.2) == standing
        assert attribute_of(name, 0.21) == moving
        both = boxes(2, labels=np.full(2, CLASS_NAMES.index(name)), velocities=np.array([[0.1, -0.2], [0.1, 0.1]]))
        assert [record["attribute_name"] for record in sample_results(LEVEL, both)] == [standing, moving]

    def test_every_class_has_attributes_that_the_evaluation_knows(self) -> None:
        relevant = pytest.importorskip("nuscenes.eval.detection.utils").detection_name_to_rel_attributes
        assert set(ATTRIBUTES) == set(CLASS_NAMES)
        for name, attributes in ATTRIBUTES.items():
            assert set(attributes) <= {"", *relevant(name)}


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"centers": np.full((1, 3), np.nan)}, r"boxes\.centers of sample sample: expected finite numbers"),
            ({"scores": np.full(1, np.nan)}, r"boxes\.scores"),
            ({"yaws": np.full(1, np.inf)}, r"boxes\.yaws"),
            ({"sizes": np.array([[4.0, 0, 1]])}, r"boxes\.sizes of sample sample: expected sizes > 0, got 0"),
            ({"velocities": np.array([[np.inf, 0]])}, r"boxes\.velocities"),
            ({"frame": "ego"}, "expected in the lidar frame, got in the ego frame"),
            ({"class_names": ("cars",)}, "expected a nuScenes class, got 'cars'; did you mean car"),
        ],
    )
    def test_boxes_that_cannot_be_are_input_errors(self, changes: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            sample_results(LEVEL, boxes(**changes))

    def test_a_frame_without_a_pose_is_an_input_error(self) -> None:
        with pytest.raises(InputError, match=r"frame sample: expected world_from_ego, .* got none"):
            sample_results(replace(LEVEL, world_from_ego=None), boxes())

    def test_a_sample_that_comes_twice_is_an_input_error_and_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="results of sample sample: expected each sample once"):
            write(tmp_path / "a.json", [(LEVEL, boxes())] * 2)
        assert list(tmp_path.iterdir()) == []

    def test_whatever_stops_the_run_leaves_the_old_file_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError):
            write(path, ((LEVEL, boxes(1 // (1 - number))) for number in range(2)))
        assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]

    def test_a_folder_that_is_not_there_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a\.json: expected a place to write to, got No such file"):
            write(tmp_path / "missing" / "a.json", [])
