"""The command writes a file that loads, or none and one line on what is wrong."""

import runpy
import stat
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from calibration.errors import InputError
from perception.checkpoints.native import load_weights
from perception.config import load_config
from perception.detector import load_detector
from perception.model.network import Network
from tests.perception.checkpoints.public import as_mit_han_lab, as_mmdetection3d, random_weights, write_config

COMMAND = Path(__file__).resolve().parents[3] / "tools" / "import_checkpoint.py"


class Setting:
    """A folder with a small configuration, its weights, and what a run of the command left."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        self.folder, self._patch, self._output = folder, monkeypatch, capsys
        self.config = write_config(folder)
        self.native = random_weights(self.config)
        self.public = as_mmdetection3d(self.native)
        self.source, self.out = folder / "public.pth", folder / "out" / "native.safetensors"
        self.out.parent.mkdir()

    def run(self, *options: str) -> int:
        arguments = [str(COMMAND), str(self.source), "--out", str(self.out), "--config", str(self.config), *options]
        self._patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(COMMAND), run_name="__main__")
        self.report, self.error = self._output.readouterr()
        return left.value.code

    def assert_refused(self, *words: str) -> None:
        assert self.error.count("\n") == 1
        assert "Traceback" not in self.error
        for word in words:
            assert word in self.error
        assert list(self.out.parent.iterdir()) == []


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Setting:
    return Setting(tmp_path, monkeypatch, capsys)


class TestAWholeCheckpoint:
    def test_becomes_a_file_that_the_detector_loads(self, setting: Setting) -> None:
        torch.save({"state_dict": as_mit_han_lab(setting.public), "meta": {}}, setting.source)
        assert setting.run() == 0
        assert setting.error == ""
        load_detector(setting.config, setting.out)
        network = Network(load_config(setting.config))
        load_weights(network, setting.out)
        loaded = network.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in setting.native.items())
        assert [path.name for path in setting.out.parent.iterdir()] == ["native.safetensors"]

    def test_is_reported_with_what_was_done_to_it(self, setting: Setting) -> None:
        torch.save({"state_dict": as_mit_han_lab(setting.public), "meta": {}}, setting.source)
        setting.run()
        lines = setting.report.splitlines()
        assert lines[0] == f"{setting.source}: layout of mit-han-lab"
        assert lines[1].startswith("configuration: ")
        assert lines[1].endswith("small.yaml")
        assert f"loaded: {len(setting.native)}" in lines
        assert "  lidar_branch.encoder 66" in lines
        assert {"missing: 0", "unexpected: 0", "wrong shape: 0", "converted:", "skipped:"} <= set(lines)
        assert "  beside the weights: meta" in lines
        assert lines[-1] == f"written: {setting.out}"

    def test_keeps_where_it_came_from(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.run()
        with safe_open(setting.out, "pt") as file:
            about = file.metadata()
        assert about == {
            "format": "bevfuse-weights-1",
            "source": "public.pth",
            "layout": "mmdetection3d",
            "configuration": "small.yaml",
        }

    def test_is_as_readable_as_any_new_file(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.run()
        (setting.folder / "any").touch()
        assert stat.S_IMODE(setting.out.stat().st_mode) == stat.S_IMODE((setting.folder / "any").stat().st_mode)


MISSING = "bbox_head.shared_conv.bias"
OURS = "head.shared_conv.bias"


class TestAnIncompleteCheckpoint:
    def break_it(self, setting: Setting, how: str) -> str:
        """Save it broken; returns what names the mistake."""
        weights = dict(setting.public)
        if how == "missing":
            del weights[MISSING]
        elif how == "unexpected":
            weights["bbox_head.extra.weight"] = torch.ones(1)
        else:
            weights[MISSING] = torch.ones(17)
        torch.save({"state_dict": weights}, setting.source)
        return {
            "missing": OURS,
            "unexpected": "bbox_head.extra.weight",
            "wrong shape": f"{OURS}: expected (16,), got (17,)",
        }[how]

    @pytest.mark.parametrize("how", ["missing", "unexpected", "wrong shape"])
    def test_is_refused_after_the_report(self, setting: Setting, how: str) -> None:
        mistake = self.break_it(setting, how)
        assert setting.run() == 2
        setting.assert_refused(str(setting.source), f"1 {how} (", "--partial")
        assert f"{how}: 1\n  {mistake}\n" in setting.report
        assert "written" not in setting.report

    @pytest.mark.parametrize("how", ["missing", "unexpected", "wrong shape"])
    def test_is_written_as_far_as_it_fits_if_asked_to(self, setting: Setting, how: str) -> None:
        mistake = self.break_it(setting, how)
        assert setting.run("--partial") == 0
        assert f"{how}: 1\n  {mistake}\n" in setting.report
        assert setting.report.endswith(f"written, incomplete: {setting.out}\n")
        found = load_file(setting.out)
        expected = dict(setting.native)
        if how != "unexpected":
            del expected[OURS]
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

    def test_if_written_is_refused_by_the_detector_with_the_missing_name(self, setting: Setting) -> None:
        self.break_it(setting, "missing")
        setting.run("--partial")
        with pytest.raises(InputError, match=rf"{setting.out}.*1 missing \({OURS}\)"):
            load_weights(Network(load_config(setting.config)), setting.out)

    def test_of_which_nothing_fits_is_refused_even_then(self, setting: Setting) -> None:
        torch.save({"pts_backbone.blocks.0.0.weight": torch.ones(3)}, setting.source)
        assert setting.run("--partial") == 2
        setting.assert_refused("1 wrong shape")

    def test_leaves_an_earlier_file_alone(self, setting: Setting) -> None:
        setting.out.write_text("earlier")
        self.break_it(setting, "missing")
        assert setting.run() == 2
        assert setting.out.read_text() == "earlier"


class TestBadInput:
    def test_that_is_no_checkpoint_is_one_line(self, setting: Setting) -> None:
        setting.source.write_text("not a checkpoint\n")
        assert setting.run() == 2
        setting.assert_refused(str(setting.source), "expected a checkpoint written by torch.save")
        assert setting.report == ""

    def test_that_is_already_native_says_so(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.run()
        setting.source, setting.out = setting.out, setting.folder / "elsewhere" / "again.safetensors"
        setting.out.parent.mkdir()
        assert setting.run() == 2
        setting.assert_refused("a safetensors file", "needs no import")

    def test_an_output_folder_that_does_not_exist_is_one_line(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.out.parent.rmdir()
        assert setting.run() == 2
        assert setting.error == f"{setting.out}: expected a place to write to, got No such file or directory\n"

    def test_an_output_that_is_a_folder_is_one_line_and_leaves_nothing_in_it(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.out.mkdir()
        assert setting.run() == 2
        assert "expected a place to write a file to" in setting.error
        assert [path.name for path in setting.out.parent.iterdir()] == [setting.out.name]

    def test_a_configuration_that_is_missing_is_one_line(self, setting: Setting) -> None:
        torch.save(setting.public, setting.source)
        setting.config = setting.folder / "none.yaml"
        assert setting.run() == 2
        setting.assert_refused("none.yaml", "no such file")
