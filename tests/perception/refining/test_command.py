"""What frames teach refiners: with all their sensors, and for some refiners without one of them, too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from perception.refining import appearance, command, traffic
from perception.types import Boxes3D, Frame
from tests.tiny import tiny_frame


class Teacher:
    """Finds nothing, and remembers which sensors it was shown."""

    def __init__(self, **config: object) -> None:
        self.config = SimpleNamespace(
            **{"images": object(), "lidar_encoder": object(), "cameras_stand_in": True, **config}
        )
        self.shown: list[str] = []

    def __call__(self, frame: Frame) -> Boxes3D:
        self.shown.append("".join(("L" if frame.cloud is not None else "", "C" if frame.cameras else "")))
        return Boxes3D.empty(("car",))


class Taught:
    """Lessons of nothing."""

    @staticmethod
    def joined(parts: list) -> Taught:
        return Taught()

    def save(self, path: Path) -> None:
        path.touch()


@pytest.mark.parametrize(
    ("how", "config", "shown"),
    [
        (traffic, {}, ["LC", "C", "LC", "L", "LC", "C"]),
        (appearance, {}, ["LC", "C", "LC", "LC", "C"]),
        (traffic, {"cameras_stand_in": False}, ["LC", "LC", "L", "LC"]),
        (traffic, {"cameras_stand_in": False, "images": None}, ["LC"] * 3),
        (traffic, {"cameras_stand_in": False, "lidar_encoder": None}, ["LC"] * 3),
    ],
)
def test_frames_teach_without_a_sensor_too(tmp_path: Path, monkeypatch, how, config, shown) -> None:
    monkeypatch.setattr(how, "lessons_of", lambda *_: None)
    monkeypatch.setattr(how, "Lessons", Taught)
    source = SimpleNamespace(tokens=["a", "b", "c"], frame=lambda token: tiny_frame())
    name, teacher = how.__name__.rpartition(".")[2], Teacher(**config)
    refiner = SimpleNamespace(name=name)
    files = command._lessons(teacher, refiner, source, tmp_path, lambda tokens, *_: tokens)
    assert teacher.shown == shown
    assert [file.name for file in files] == ["a.npz", "b.npz", "c.npz"]
    command._lessons(teacher, refiner, source, tmp_path, lambda tokens, *_: tokens)
    assert teacher.shown == shown  # what is there is not made again
