"""The demo on a city of one second and with tiny detectors: everything it leaves behind, and that it does so once."""

import re
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.checkpoints.native import save_weights
from perception.config import load_config
from perception.demo import run
from perception.demo.page import speeds, text_table
from perception.demo.run import Contender, run_demo
from perception.detector import load_detector
from perception.offline import frame_options_of
from perception.simulation.raycast import require
from perception.simulation.scene import Settings
from perception.simulation.tables import VERSION
from perception.sources.nuscenes import Source
from tests.tiny import tiny_network, tiny_yaml

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SETTINGS = Settings(seed=9, size=(96, 54), seconds=1.0)
BRANCHES = {"LiDAR": {"cameras": False}, "camera": {"lidar": False}, "both": {}}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a demo, what it came to, and a way to run it again that gives what was said."""
    try:
        require()
    except InputError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("demo")
    chosen = []
    for title, branches in BRANCHES.items():
        config, checkpoint = (folder / f"{title}.{kind}" for kind in ("yaml", "safetensors"))
        tiny_yaml(config, **branches)
        save_weights(checkpoint, tiny_network(load_config(config)).state_dict(), {"mAP": "0.1250", "NDS": "0.2500"})
        chosen.append(Contender(title, config, checkpoint))

    def go():
        said, steps = [], []

        def progress(items, total, what):
            steps.append((what, total))
            return items

        return run_demo(folder / "out", chosen, 1, SETTINGS, 1, progress, said.append), said, steps

    return folder / "out", go()[0], go


def test_there_is_a_report_of_each_detector_and_one_of_all(demo):
    out, outcomes, _ = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    for outcome in outcomes:
        name = outcome.contender.config.stem
        assert (out / name / "metrics.json").is_file()
        assert f'href="{name}/report.html"' in page
        assert (out / name / "report.html").is_file()
        assert f"{outcome.scores.metrics.nd_score:.3f}" in page
    assert "mAP 0.1250 and NDS 0.2500" in page


def test_the_report_needs_no_other_file_to_be_looked_at(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    images = re.findall(r'src="([^"]{20})', page)
    assert len(images) == 1 + len(BRANCHES)  # of one drive: the cameras, and each detector's view from above
    assert all(image.startswith("data:image/jpeg") for image in images)


def test_the_table_has_a_line_for_each_detector(demo):
    head, *lines = text_table(demo[1]).splitlines()
    assert head.split() == ["mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "ms"]
    assert [line.split()[0] for line in lines] == list(BRANCHES)
    for line, outcome in zip(lines, demo[1], strict=True):
        assert float(line.split()[1]) == pytest.approx(outcome.scores.metrics.mean_ap, abs=5e-4)


def test_a_second_run_takes_up_what_is_there(demo):
    _, first, again = demo
    outcomes, said, steps = again()
    assert steps == [("simulating", 0)]  # nothing to simulate, and no detector asks for frames
    assert sum("made by these arguments before" in remark for remark in said) == len(BRANCHES)
    assert [o.scores.metrics.mean_ap for o in outcomes] == [o.scores.metrics.mean_ap for o in first]
    assert [o.speed for o in outcomes] == [o.speed for o in first]  # not timed anew, in another minute


def test_each_step_is_a_line_where_no_bar_is_seen():
    said = []
    progress = run._announced(lambda items, total, what: items, said.append)
    assert list(progress("abc", 3, "simulating")) == ["a", "b", "c"]
    assert list(progress("", 0, "detecting")) == []
    assert said == ["simulating: 3 to do"]


def test_speeds_say_how_they_were_measured(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    for outcome in demo[1]:
        assert re.fullmatch(r"median of \d+ frames?, \d+ threads?, load [\d.]+", outcome.speed.told)
        assert f"{outcome.contender.title}: {outcome.speed.told}" in speeds(demo[1])
        assert outcome.speed.told in page


def test_captions_tell_what_counts_and_what_is_drawn(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    numbers = r"\d+ of \d+ objects? that count found, \d+ false alarms?"
    assert re.search(rf"boxes of both: {numbers}; \d+ objects? annotated", page)


def test_the_detectors_are_the_three_that_come_with_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "checkpoint_of", lambda config: tmp_path / f"{config.stem}.safetensors")
    names = [contender.config.stem for contender in run.contenders(tmp_path)]
    assert names == ["sim_lidar", "sim_camera", "sim_fusion"]


def test_the_lidar_detector_finds_most_of_what_is_plain_to_see(demo):
    detector = load_detector(CONFIGS / "sim_lidar.yaml")
    options = frame_options_of(detector.config, cameras_too=False, allow_missing=False)
    plain, found = 0, 0
    for frame in Source(demo[0] / "data", options, version=VERSION):
        boxes, truth = detector(frame), frame.truth.boxes
        boxes = boxes.select(boxes.scores > 0.2)
        near = np.linalg.norm(truth.centers[:, :2], axis=1) < 30
        for center in truth.centers[near & (frame.truth.lidar_points >= 20)]:
            plain += 1
            found += bool((np.linalg.norm(boxes.centers[:, :2] - center[:2], axis=1) < 2).any())
    assert plain >= 10
    assert found >= 0.7 * plain
