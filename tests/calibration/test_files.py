"""A file is there whole or not at all, whatever happens while it is written."""

import os

import pytest

from calibration.errors import InputError
from calibration.files import write_atomically


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "rig.yaml"
    write_atomically(path, "old")

    def full_disk(source, destination):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match=r"rig\.yaml: expected a place to write to, got No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_write_replaces_the_first(tmp_path):
    write_atomically(tmp_path / "rig.yaml", "old and longer")
    write_atomically(tmp_path / "rig.yaml", "new")
    assert (tmp_path / "rig.yaml").read_text() == "new"


def test_a_file_is_no_folder_to_write_in(tmp_path):
    write_atomically(tmp_path / "rig.yaml", "old")
    with pytest.raises(InputError, match="expected a place to write to"):
        write_atomically(tmp_path / "rig.yaml" / "rig.yaml", "new")
