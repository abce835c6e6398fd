"""Measuring a detector: its stages, no others, and that they add up."""

from __future__ import annotations

import pytest

import perception.detector
from perception.benchmark import run
from perception.benchmark.run import Stage, Subject, measure_stages
from perception.prepare import prepare
from tests.perception.benchmark.subjects import PILLARS, quietly, tiny_subject

CAMERA = ["image backbone", "image neck", "view transform"]
SPARSE = ["voxelise", "rulebooks", "LiDAR encoder"]
REST = ["BEV decoder", "head", "decode boxes", "end to end"]


@pytest.fixture(scope="module")
def measured() -> list[Stage]:
    return measure_stages(tiny_subject(), 3, quietly)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, ["preprocess", *CAMERA, *SPARSE, "fuser", *REST]),
        ({"cameras": False}, ["preprocess", *SPARSE, *REST]),
        ({"lidar": False}, ["preprocess", *CAMERA, *REST]),
        ({"cameras": False, "head": "centerpoint"}, ["preprocess", *SPARSE, *REST]),
        ({"cameras": False, "decodes": True}, ["decode", "preprocess", *SPARSE, *REST]),
    ],
    ids=["fusion", "lidar", "camera", "centerpoint", "from files"],
)
def test_a_detector_has_the_stages_of_its_parts_and_no_other(parts: dict, expected: list[str]) -> None:
    stages = measure_stages(tiny_subject(**parts), 1, quietly)
    assert [stage.name for stage in stages] == expected
    assert all(stage.median_s > 0 for stage in stages)  # each of them was seen to run


def test_pillars_have_no_rulebooks() -> None:
    stages = measure_stages(tiny_subject(PILLARS, cameras=False), 1, quietly)
    assert [stage.name for stage in stages] == ["preprocess", "voxelise", "LiDAR encoder", *REST]


def test_stages_take_no_longer_than_the_whole(measured: list[Stage]) -> None:
    *parts, whole = measured
    for repeat in range(3):
        seconds = [stage.seconds[repeat] for stage in parts]
        assert min(seconds) >= 0
        assert sum(seconds) <= whole.seconds[repeat]


def test_the_stages_operations_are_those_of_the_whole(measured: list[Stage]) -> None:
    *parts, whole = measured
    assert sum(stage.operations for stage in parts) == whole.operations > 0
    without = {stage.name for stage in parts if not stage.operations}
    assert without == {"preprocess", "voxelise", "rulebooks", "decode boxes"}


def test_the_whole_holds_at_most_what_its_hungriest_stage_does(measured: list[Stage]) -> None:
    *parts, whole = measured
    if whole.memory_peak is None:
        pytest.skip("this system doesn't tell memory by stage")
    assert whole.memory_peak >= max(stage.memory_peak for stage in parts) > 0
    assert min(stage.memory_growth for stage in parts) >= 0


def test_passes_to_warm_up_are_not_timed() -> None:
    passes = []

    def counted(numbers: range, total: int) -> list[int]:
        passes.extend(numbers)
        return passes

    stages = measure_stages(tiny_subject(cameras=False), 4, counted)
    assert len(passes) == run.WARM_UP + 2 + 4  # one for memory, one for operations
    assert all(len(stage.seconds) == 4 for stage in stages)


def test_where_the_system_does_not_tell_memory_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "peak_can_be_reset", lambda: False)
    stages = measure_stages(tiny_subject(cameras=False), 1, quietly)
    assert {(stage.memory_growth, stage.memory_peak) for stage in stages} == {(None, None)}


def test_the_detector_is_left_as_it_was() -> None:
    subject: Subject = tiny_subject()
    own = {name: set(vars(module)) for name, module in subject.detector.network.named_modules()}
    before = subject.detector(subject.read())
    measure_stages(subject, 1, quietly)
    assert {name: set(vars(module)) for name, module in subject.detector.network.named_modules()} == own
    assert perception.detector.prepare is prepare
    after = subject.detector(subject.read())
    assert (before.centers == after.centers).all()
    assert (before.scores == after.scores).all()
