"""What is on disk: the whole schema, for the development kit and for our reader, the same for the same seed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.nuscenes import CAMERAS, CLASS_NAMES, CLASS_OF_CATEGORY, LIDAR
from perception.simulation import dataset
from perception.sources import open_source
from tests.perception.simulation.conftest import SCENES, SETTINGS, TRAIN_SHARE

KEYFRAMES = SCENES * SETTINGS.keyframes
TABLES = "attribute calibrated_sensor category ego_pose instance log map sample sample_annotation sample_data scene "
TABLES += "sensor visibility"


def run(root, *, settings=SETTINGS, scenes=SCENES, share=TRAIN_SHARE, workers=1):
    return dataset.simulate(root, settings, scenes, share, workers, lambda numbers, total: numbers)


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def devkit(simulated):
    nuscenes = pytest.importorskip("nuscenes.nuscenes")
    return nuscenes.NuScenes(version="v1.0-sim", dataroot=str(simulated), verbose=False)


def test_all_thirteen_tables_are_there_and_filled(simulated):
    for table in TABLES.split():
        assert json.loads((simulated / "v1.0-sim" / f"{table}.json").read_text()), table


def test_every_file_that_a_table_names_exists_and_no_other(simulated):
    rows = [json.loads((simulated / "v1.0-sim" / f"{table}.json").read_text()) for table in ("sample_data", "map")]
    named = {row["filename"] for table in rows for row in table}
    written = {name for name in files(simulated) if name.startswith(("samples", "sweeps", "maps"))}
    assert named == written


def test_the_development_kit_opens_and_renders_it(devkit, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    assert (len(devkit.scene), len(devkit.sample)) == (SCENES, KEYFRAMES)
    devkit.render_sample(devkit.sample[1]["token"], out_path=str(tmp_path / "sample.png"), verbose=False)
    assert (tmp_path / "sample.png").stat().st_size > 10_000


def test_ten_sweeps_lead_up_to_each_keyframe_but_the_first(devkit):
    from nuscenes.utils.data_classes import LidarPointCloud

    sample = devkit.sample[SETTINGS.keyframes - 1]
    cloud, ages = LidarPointCloud.from_file_multisweep(devkit, sample, LIDAR, LIDAR, nsweeps=10)
    assert cloud.points.shape[1] > 100_000
    np.testing.assert_allclose(np.unique(ages), np.arange(10) * 0.05, atol=1e-5)


def test_rows_of_a_chain_lead_to_each_other_in_time_order(devkit):
    for table in ("sample", "sample_data", "sample_annotation"):
        for row in getattr(devkit, table):
            if row["next"]:
                after = devkit.get(table, row["next"])
                assert after["prev"] == row["token"]
                key = "sample_token" if table == "sample_annotation" else None
                times = [
                    devkit.get("sample", one[key])["timestamp"] if key else one["timestamp"] for one in (row, after)
                ]
                assert times[0] < times[1]


def test_instances_count_their_annotations_from_first_to_last(devkit):
    for instance in devkit.instance:
        token, count = instance["first_annotation_token"], 0
        while token:
            row = devkit.get("sample_annotation", token)
            assert row["instance_token"] == instance["token"]
            token, count = row["next"], count + 1
        assert (row["token"], count) == (instance["last_annotation_token"], instance["nbr_annotations"])


def test_points_inside_a_box_are_what_its_annotation_says(devkit):
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    total = 0
    for sample in devkit.sample:
        path, boxes, _ = devkit.get_sample_data(sample["data"][LIDAR])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            expected = devkit.get("sample_annotation", box.token)["num_lidar_pts"]
            assert points_in_box(box, points).sum() == expected
            total += expected
    assert total > 1000


def test_velocities_are_those_of_the_way_that_boxes_go(devkit):
    speeds = [np.linalg.norm(devkit.box_velocity(row["token"])) for row in devkit.sample_annotation]
    attributes = [
        [devkit.get("attribute", token)["name"] for token in row["attribute_tokens"]]
        for row in devkit.sample_annotation
    ]
    moving = [s for s, names in zip(speeds, attributes, strict=True) if "vehicle.moving" in names and np.isfinite(s)]
    parked = [s for s, names in zip(speeds, attributes, strict=True) if "vehicle.parked" in names and np.isfinite(s)]
    assert moving
    assert min(moving) > 0.05
    assert max(moving) < 20
    assert parked
    assert max(parked) == 0


def test_cameras_fire_when_the_sweep_passes_them(devkit):
    """In a turn of 50 ms: first the front left camera, then clockwise, the back left one just before the end."""
    order = ["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT"]
    for sample in devkit.sample:
        stamps = {name: devkit.get("sample_data", token)["timestamp"] for name, token in sample["data"].items()}
        assert sorted(CAMERAS, key=stamps.get) == order
        assert 0 <= stamps[LIDAR] - stamps["CAM_BACK_LEFT"] < 2_000
        assert 40_000 < stamps[LIDAR] - stamps["CAM_FRONT_LEFT"] < 46_000


def test_truth_scores_a_perfect_average_precision(devkit, tmp_path):
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    results = {sample["token"]: [] for sample in devkit.sample}
    for row in devkit.sample_annotation:
        attributes = [devkit.get("attribute", token)["name"] for token in row["attribute_tokens"]]
        box = {key: row[key] for key in ("sample_token", "translation", "size", "rotation")}
        box |= {"velocity": np.nan_to_num(devkit.box_velocity(row["token"])[:2]).tolist(), "detection_score": 1.0}
        box |= {"detection_name": CLASS_OF_CATEGORY[row["category_name"]], "attribute_name": "".join(attributes)}
        results[row["sample_token"]].append(box)
    split = {
        sample["token"]
        for sample in devkit.sample
        if devkit.get("scene", sample["scene_token"])["name"] == "scene-0002"
    }
    content = {
        "meta": dict.fromkeys(("use_camera", "use_lidar"), True)
        | dict.fromkeys(("use_radar", "use_map", "use_external"), False)
    }
    content["results"] = {token: boxes for token, boxes in results.items() if token in split}
    (tmp_path / "results.json").write_text(json.dumps(content))
    scorer = DetectionEval(
        devkit, config_factory("detection_cvpr_2019"), str(tmp_path / "results.json"), "sim_val", str(tmp_path), False
    )
    metrics, _ = scorer.evaluate()
    present = {box.detection_name for token in scorer.gt_boxes.sample_tokens for box in scorer.gt_boxes[token]}
    assert len(present) >= 3
    assert {name: metrics.mean_dist_aps[name] for name in present} == pytest.approx(dict.fromkeys(present, 1.0))
    assert max(metrics.get_label_tp(name, "trans_err") for name in present) < 1e-6


def test_our_reader_reads_the_same(simulated, devkit):
    frames = list(open_source("nuscenes", simulated, version="v1.0-sim"))
    assert [frame.token for frame in frames] == [sample["token"] for sample in devkit.sample]
    for frame in frames:
        rows = [row for row in devkit.sample_annotation if row["sample_token"] == frame.token]
        assert set(frame.cameras) == set(CAMERAS)
        assert frame.truth.lidar_points.tolist() == [row["num_lidar_pts"] for row in rows]
        assert {frame.truth.boxes.class_names[label] for label in frame.truth.boxes.labels} <= set(CLASS_NAMES)


def test_splits_are_half_and_half_and_disjoint(simulated):
    splits = json.loads((simulated / "v1.0-sim" / "splits.json").read_text())
    assert splits == {"sim_train": ["scene-0001"], "sim_val": ["scene-0002"]}
    assert len(open_source("nuscenes", simulated, version="v1.0-sim", split="sim_val")) == SETTINGS.keyframes


def test_the_same_seed_gives_the_same_bytes_with_two_workers(simulated, tmp_path):
    assert run(tmp_path / "again", workers=2) == SCENES
    expected, got = files(simulated), files(tmp_path / "again")
    assert expected.keys() == got.keys()
    assert [name for name in expected if expected[name] != got[name]] == []


def test_a_worker_makes_one_scene_after_another(simulated, tmp_path):
    dataset._claim(tmp_path / "again", SETTINGS)
    worker = dataset._Worker(tmp_path / "again", SETTINGS)
    for number in range(SCENES):
        worker.begin(number)
        assert worker.finished() == number
    worker.end()
    assert worker.process.exitcode == 0
    got = files(tmp_path / "again")
    assert [name for name in got if got[name] != files(simulated)[name]] == []


def test_a_worker_that_dies_is_told(tmp_path):
    worker = dataset._Worker(tmp_path, SETTINGS)
    worker.process.kill()
    worker.begin(0)
    with pytest.raises(InputError, match="scene-0001: expected a process that finishes, got exit code -9; use fewer"):
        worker.finished()


def test_an_interrupted_run_goes_on_with_what_is_missing(simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    shutil.rmtree(root / "v1.0-sim")
    (root / ".simulation" / "scene-0002.json").unlink()  # as when its files were being written
    next((root / "samples" / LIDAR).glob("sim-5-0002*")).write_bytes(b"half")
    assert run(root) == 1
    assert files(root) == files(simulated)


def test_a_dataset_grows_and_scenes_keep_their_part(simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    assert run(root, scenes=1) == 0
    assert json.loads((root / "v1.0-sim" / "splits.json").read_text()) == {"sim_train": ["scene-0001"], "sim_val": []}
    assert run(root) == 0
    assert files(root) == files(simulated)


def test_what_was_begun_with_other_settings_is_refused(simulated):
    with pytest.raises(InputError, match="seed: expected 5, as begun, got 6; use another folder"):
        run(simulated, settings=replace(SETTINGS, seed=6))
    with pytest.raises(InputError, match=r"rare: expected 1.0, as begun, got 2.0; use another folder"):
        run(simulated, settings=replace(SETTINGS, rare=2.0))


def test_what_was_begun_before_there_was_a_choice_goes_on(simulated, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(simulated, root)
    began = root / ".simulation" / "settings.json"
    began.write_text(json.dumps({key: value for key, value in json.loads(began.read_text()).items() if key != "rare"}))
    assert run(root) == 0
    with pytest.raises(InputError, match=r"rare: expected 1.0, as begun, got 2.0; use another folder"):
        run(root, settings=replace(SETTINGS, rare=2.0))


def test_images_between_keyframes_come_at_twelve_hertz_when_asked(devkit):
    front = [row for row in devkit.sample_data if row["channel"] == "CAM_FRONT"][:7]
    assert [row["is_key_frame"] for row in front] == [True] + 5 * [False] + [True]
    assert set(np.diff([row["timestamp"] for row in front])) == {50_000, 100_000}


def test_a_full_disk_is_told_and_leaves_no_scene_that_looks_complete(scene, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    (tmp_path / "maps").mkdir()
    monkeypatch.setattr(dataset, "Scene", lambda settings, number: scene)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        InputError, match="expected room to write it, got No space left on device; give the same command"
    ):
        dataset.record_scene(tmp_path, SETTINGS, 1)
    assert not list(tmp_path.rglob("*.json"))
