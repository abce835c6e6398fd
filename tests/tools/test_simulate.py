"""tools/simulate.py: what it says, and what it leaves behind when something is in its way."""

import sys

import pytest

from perception.command import INTERRUPTED
from perception.simulation import dataset
from tests.commands import run_tool


@pytest.fixture
def simulate(capfd, monkeypatch, tmp_path):
    """The command on `out`, with scenes that take no time: what is tested here is around them."""
    monkeypatch.setattr(dataset, "require", lambda: None)
    monkeypatch.setattr(dataset, "record_scene", _record)

    def command(*arguments, out=tmp_path / "out"):
        return run_tool("simulate", out, "--seed", 1, *arguments, capture=capfd, monkeypatch=monkeypatch)

    return command


def _record(out, settings, number):
    from perception.simulation.tables import PER_SCENE

    rows = {table: [{"token": f"{table}{number}"}] for table in PER_SCENE}
    dataset._put(dataset._rows_file(out, number), dataset.json.dumps(rows).encode())


def test_it_says_how_many_scenes_there_are_and_how_many_are_new(simulate, tmp_path):
    assert simulate("--scenes", 2).stdout == f"2 scenes, 2 of them new: {tmp_path / 'out' / 'v1.0-sim'}\n"
    assert simulate("--scenes", 3).stdout == f"3 scenes, 1 of them new: {tmp_path / 'out' / 'v1.0-sim'}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--image-size", "800"), "--image-size: expected WIDTHxHEIGHT"),
        (("--image-size", "10x8"), "image size: expected even numbers of pixels from 32"),
        (("--image-size", "801x450"), "image size: expected even numbers"),
        (("--image-size", "2000x100"), "image size: expected an aspect"),
        (("--scenes", "0"), "scenes: expected 1 to 9999, got 0"),
        (("--split-ratio", "1.5"), "split ratio: expected 0 to 1"),
        (("--seconds", "0"), "seconds: expected 1 to 60"),
        (("--seconds", "nan"), "seconds: expected 1 to 60"),
        (("--workers", "0"), "workers: expected at least 1"),
        (("--seed", "-4"), "seed: expected a number >= 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_settings_that_make_no_sense_are_refused_in_one_line(simulate, tmp_path, arguments, complaint):
    finished = simulate("--scenes", 2, *arguments)
    assert finished.code == 2
    assert complaint in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(simulate, tmp_path):
    (tmp_path / "out" / "v1.0-mini").mkdir(parents=True)
    finished = simulate("--scenes", 1)
    assert (finished.code, finished.stderr.count("\n")) == (2, 1)
    assert "expected an empty folder, or one that this command began, got other files in it" in finished.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["v1.0-mini"]


def test_a_place_that_is_no_folder_is_refused(simulate, tmp_path):
    (tmp_path / "file").write_text("")
    finished = simulate("--scenes", 1, out=tmp_path / "file" / "out")
    assert (finished.code, finished.stderr.count("\n")) == (2, 1)
    assert "expected a folder to write to" in finished.stderr


def test_a_dataset_of_another_seed_is_not_mixed_with_this_one(simulate):
    simulate("--scenes", 1)
    finished = simulate("--scenes", 1, "--seed", 2)
    assert finished.code == 2
    assert "seed: expected 1, as begun, got 2; use another folder" in finished.stderr


def test_after_an_interruption_it_says_how_to_go_on_and_does(simulate, tmp_path, monkeypatch):
    def interrupted(out, settings, number):
        if number == 1:
            raise KeyboardInterrupt
        _record(out, settings, number)

    monkeypatch.setattr(dataset, "record_scene", interrupted)
    finished = simulate("--scenes", 2)
    assert finished.code == INTERRUPTED
    assert (
        finished.stderr
        == f"interrupted; give the same command again to go on with the scenes that {tmp_path / 'out'} lacks\n"
    )
    assert not (tmp_path / "out" / "v1.0-sim").exists()
    monkeypatch.setattr(dataset, "record_scene", _record)
    assert simulate("--scenes", 2).stdout.startswith("2 scenes, 1 of them new")


def test_a_missing_ray_caster_is_told_with_what_to_install(capfd, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "open3d", None)
    finished = run_tool("simulate", tmp_path, "--seed", 1, "--scenes", 1, capture=capfd, monkeypatch=monkeypatch)
    assert (finished.code, finished.stderr.count("\n")) == (2, 1)
    assert "pip install -c constraints.txt -e '.[sim]'" in finished.stderr


def test_a_missing_system_library_is_told_with_what_to_install(capfd, monkeypatch, tmp_path):
    (tmp_path / "open3d.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    finished = run_tool(
        "simulate", tmp_path / "out", "--seed", 1, "--scenes", 1, capture=capfd, monkeypatch=monkeypatch
    )
    assert finished.code == 2
    assert "libusb-1.0.so.0: cannot open shared object file; apt-get install libusb-1.0-0" in finished.stderr
