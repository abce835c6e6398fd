"""What a drive's sensors recorded around a frame, from a nuScenes dataset; and frames made in several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.robustness.frames import Condition, CorruptedSource, FrameMaker, Recipe
from perception.robustness.history import NuScenesHistory
from perception.sources import FrameOptions, MissingDataError
from perception.sources.nuscenes import Source
from tests import nuscenes_fixture as fixture
from tests.nuscenes_fixture import VERSION, write_nuscenes

MS = 1_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("history") / "root", samples=4)


@pytest.fixture(scope="module")
def source(root: Path) -> Source:
    return Source(root, FrameOptions(), version=VERSION)


@pytest.fixture(scope="module")
def past(root: Path, source: Source) -> NuScenesHistory:
    return NuScenesHistory(root / VERSION, source.tokens)


def test_a_frames_own_image_is_the_one_at_its_stamp(source: Source, past: NuScenesHistory) -> None:
    frame = source.frame(source.tokens[5])
    for name, camera in frame.cameras.items():
        found = past.image(frame, name, camera.stamp_ns)
        assert found.stamp_ns == camera.stamp_ns
        np.testing.assert_array_equal(found.image, camera.image)
        np.testing.assert_allclose(found.camera_from_lidar.matrix, camera.camera_from_lidar.matrix, atol=1e-9)


def test_images_between_keyframes_are_found_and_scenes_kept_apart(source: Source, past: NuScenesHistory) -> None:
    frame = source.frame(source.tokens[5])
    own = frame.cameras["CAM_BACK"]
    before = past.image(frame, "CAM_BACK", own.stamp_ns - 80 * MS)
    assert own.stamp_ns - before.stamp_ns == pytest.approx(83 * MS, abs=MS)
    first = source.frame(source.tokens[4])
    assert past.image(first, "CAM_BACK", first.stamp_ns - 10**12).stamp_ns == first.cameras["CAM_BACK"].stamp_ns


def test_poses_are_interpolated_and_end_with_the_drive(source: Source, past: NuScenesHistory) -> None:
    frame = source.frame(source.tokens[5])
    np.testing.assert_allclose(past.world_from_ego(frame, frame.stamp_ns).matrix, frame.world_from_ego.matrix)
    stamp_ns = frame.stamp_ns - 25 * MS
    truth = fixture.world_from_ego(1, stamp_ns // 1000)
    np.testing.assert_allclose(past.world_from_ego(frame, stamp_ns).matrix, truth.matrix, atol=1e-3)
    with pytest.raises(InputError, match="pose stamp"):
        past.world_from_ego(frame, frame.stamp_ns + 10**10)


def test_what_isnt_there_is_none(root: Path, source: Source, past: NuScenesHistory) -> None:
    frame = source.frame(source.tokens[1])
    assert past.image(frame, "CAM_ROOF", frame.stamp_ns) is None
    path = next((root / "sweeps" / "CAM_FRONT").glob(f"*{frame.cameras['CAM_FRONT'].stamp_ns // 1000 - 83322}*"))
    kept = path.read_bytes()
    path.write_bytes(kept[:40])
    assert past.image(frame, "CAM_FRONT", frame.cameras["CAM_FRONT"].stamp_ns - 83 * MS) is None
    path.write_bytes(kept)


def test_processes_that_work_ahead_give_the_same_frames(root: Path, source: Source) -> None:
    recipe = Recipe(root / VERSION, source.tokens, FrameOptions(sweeps=2), seed=3)
    made = []
    for workers in (0, 2):
        maker = FrameMaker(recipe, workers)
        frames = CorruptedSource(maker, Condition("snow", 2)).without(source.tokens[:2])
        assert len(frames) == len(source.tokens) - 2
        made.append(list(frames))
        maker.close()
    for one, other in zip(*made, strict=True):
        assert one.token == other.token
        np.testing.assert_array_equal(one.cloud.points, other.cloud.points)
        for name, camera in one.cameras.items():
            np.testing.assert_array_equal(camera.image, other.cameras[name].image)


def test_what_a_process_cant_read_is_told_as_it_is(root: Path, source: Source) -> None:
    path = next(iter(sorted((root / "samples" / "LIDAR_TOP").iterdir())))
    kept = path.read_bytes()
    path.write_bytes(kept[:-4])
    maker = FrameMaker(Recipe(root / VERSION, source.tokens, FrameOptions(sweeps=0)), 1)
    with pytest.raises(MissingDataError, match=r"points of 5 float32 each, got .* bytes; its size"):
        list(CorruptedSource(maker, Condition("fog", 1)))
    maker.close()
    path.write_bytes(kept)
