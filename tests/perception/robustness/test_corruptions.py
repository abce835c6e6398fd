"""Every corruption, found by name: what all of them promise, and what each is."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.errors import InputError
from perception.robustness import SEVERITIES, code_digest, corrupted, corruption, corruption_names
from perception.robustness.physics.pulses import pulses_of
from perception.types import Frame, PointCloud
from tests.perception.robustness.made import SPEED_M_S, Driving, made_frame

NAMES = corruption_names()
CLEAN = made_frame()
PAST = Driving(CLEAN)
every = pytest.mark.parametrize("name", NAMES)


def worse(name: str, severity: int, frame: Frame = CLEAN, seed: int = 0) -> Frame:
    return corrupted(frame, name, severity, seed, PAST)


def same(one: Frame, other: Frame) -> bool:
    if set(one.cameras) != set(other.cameras) or (one.cloud is None) != (other.cloud is None):
        return False
    if one.cloud is not None and not np.array_equal(one.cloud.points, other.cloud.points):
        return False
    return all(
        np.array_equal(camera.image, other.cameras[name].image)
        and camera.stamp_ns == other.cameras[name].stamp_ns
        and np.array_equal(camera.camera_from_lidar.matrix, other.cameras[name].camera_from_lidar.matrix)
        for name, camera in one.cameras.items()
    )


def damage(frame: Frame) -> float:
    """How far a frame is from the clean one: pixels, points that are no longer there, and calibration."""
    total = 0.0
    for name, before in CLEAN.cameras.items():
        after = frame.cameras.get(name)
        if after is None:
            total += 2
            continue
        total += np.abs(after.image.astype(int) - before.image).mean() / 255
        total += np.abs(after.camera_from_lidar.matrix - before.camera_from_lidar.matrix).mean()
    points = frame.cloud.points if frame.cloud is not None else np.zeros((0, 5))
    there = set(map(tuple, np.round(points[:, :3], 2)))
    gone = np.mean([tuple(point) not in there for point in np.round(CLEAN.cloud.points[:, :3], 2)])
    return total + gone


def test_the_suite_is_complete():
    assert set(NAMES) == {
        "fog",
        "rain",
        "snow",
        "sun_glare",
        "darkness",
        "motion_blur",
        "camera_drop",
        "camera_lag",
        "lidar_beams",
        "lidar_dropout",
        "limited_view",
        "lidar_crosstalk",
        "spatial_misalignment",
        "temporal_misalignment",
        "sensors_partly_lost",
    }


@every
def test_the_given_frame_is_not_changed(name: str) -> None:
    before = deepcopy(CLEAN)
    for severity in SEVERITIES:
        assert not same(worse(name, severity), before)
    assert same(CLEAN, before)


@every
def test_the_same_seed_and_token_give_the_same_in_any_order(name: str) -> None:
    first = [worse(name, severity) for severity in SEVERITIES]
    again = [worse(name, severity) for severity in reversed(SEVERITIES)][::-1]
    assert all(same(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"lidar_beams", "limited_view", "temporal_misalignment"}))
def test_other_seeds_and_tokens_give_others(name: str) -> None:
    severity = 2
    seeds = [worse(name, severity, seed=seed) for seed in range(4)]
    tokens = [worse(name, severity, replace(CLEAN, token=token)) for token in "bcd"]
    if name == "fog":  # images in fog are all alike
        seeds, tokens = ([replace(frame, cameras={}) for frame in frames] for frames in (seeds, tokens))
    assert not all(same(seeds[0], frame) for frame in seeds[1:])
    assert not all(same(seeds[0], frame) for frame in tokens)


@every
def test_a_higher_severity_does_more(name: str) -> None:
    found = [damage(CLEAN), *(damage(worse(name, severity)) for severity in SEVERITIES)]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


@every
def test_only_the_sensors_that_it_names_are_touched(name: str) -> None:
    frame = worse(name, 2)
    sensors = corruption(name).SENSORS
    assert sensors
    assert set(sensors) <= {"camera", "lidar"}
    assert same(replace(frame, cloud=None), replace(CLEAN, cloud=None)) == ("camera" not in sensors)
    assert same(replace(frame, cameras={}), replace(CLEAN, cameras={})) == ("lidar" not in sensors)


@every
@pytest.mark.parametrize("severity", SEVERITIES)
def test_shapes_types_and_numbers_stay_sound(name: str, severity: int) -> None:
    frame = worse(name, severity)
    assert (frame.token, frame.stamp_ns) == (CLEAN.token, CLEAN.stamp_ns)
    assert set(frame.cameras) <= set(CLEAN.cameras)
    for camera_name, camera in frame.cameras.items():
        before = CLEAN.cameras[camera_name]
        assert camera.image.dtype == np.uint8
        assert camera.image.shape == before.image.shape
        assert camera.intrinsics == before.intrinsics
        assert np.isfinite(camera.camera_from_lidar.matrix).all()
    if frame.cloud is not None:
        points = frame.cloud.points
        assert points.dtype == np.float32
        assert points.shape[1] == 5
        assert len(points) <= len(CLEAN.cloud.points)
        assert np.isfinite(points).all()
        assert (points[:, 3] >= 0).all()
        assert (points[:, 3] <= 255).all()
        assert set(points[:, 4]) <= set(CLEAN.cloud.points[:, 4])


@every
@pytest.mark.parametrize("severity", SEVERITIES)
def test_frames_may_lack_any_sensor(name: str, severity: int) -> None:
    one = {"CAM_BACK": CLEAN.cameras["CAM_BACK"]}
    empty = PointCloud(np.zeros((0, 5), np.float32))
    single = PointCloud(np.zeros((1, 5), np.float32))
    for cameras in ({}, one):
        for cloud in (None, empty, single):
            frame = worse(name, severity, replace(CLEAN, cameras=cameras, cloud=cloud))
            assert set(frame.cameras) <= set(cameras)
            assert frame.cloud is None or np.isfinite(frame.cloud.points).all()


@every
def test_a_sensor_gets_the_same_whichever_others_there_are(name: str) -> None:
    if "lidar" in corruption(name).SENSORS:
        alone = worse(name, 2, replace(CLEAN, cameras={}))
        assert same(alone, replace(worse(name, 2), cameras={}))


def test_unknown_names_and_severities_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean fog"):
        worse("fogg", 1)
    with pytest.raises(InputError, match="severity: expected 1, 2 or 3, got 4"):
        worse("fog", 4)


@pytest.mark.parametrize("name", ["camera_lag", "temporal_misalignment"])
def test_what_needs_a_history_says_so(name: str) -> None:
    with pytest.raises(InputError, match="a history"):
        corrupted(CLEAN, name, 1)


def test_the_digest_of_the_code_tells_corruptions_apart() -> None:
    assert len({code_digest(name) for name in NAMES}) == len(NAMES)


class TestFog:
    def test_takes_contrast_from_what_is_far_first(self) -> None:
        image = worse("fog", 2).cameras["CAM_FRONT"].image.astype(float)
        before = CLEAN.cameras["CAM_FRONT"].image.astype(float)
        near, far = slice(75, 90), slice(46, 52)  # below and just under the horizon
        left = [image[rows].std() / before[rows].std() for rows in (far, near)]
        assert left[0] < 0.3 < 0.6 < left[1]

    def test_hides_the_wall_and_keeps_every_return_on_its_beam(self) -> None:
        pulses = pulses_of(CLEAN, CLEAN.cloud, PAST)
        assert (pulses.distances > 60).sum() > 1000
        frame = worse("fog", 3)
        found = pulses_of(frame, frame.cloud, PAST)
        assert not (found.distances > 60).any()
        assert set(found.beams) <= set(pulses.beams)


class TestLidar:
    @pytest.mark.parametrize(("severity", "beams"), [(1, 16), (2, 8), (3, 4)])
    def test_fewer_beams_are_whole_beams_of_each_sweep_though_the_car_drives(self, severity: int, beams: int) -> None:
        frame = worse("lidar_beams", severity, made_frame(sweeps=9))
        pulses = pulses_of(frame, frame.cloud, PAST)
        for sweep in range(10):
            counts = np.bincount(pulses.beams[pulses.sweep == sweep], minlength=32)
            assert (counts > 0).sum() == beams
            assert set(counts[counts > 0]) == {240}

    def test_drop_out_loses_packets_and_at_last_the_cloud(self) -> None:
        left = [len(worse("lidar_dropout", s).cloud.points) / len(CLEAN.cloud.points) for s in (1, 2)]
        assert left[0] == pytest.approx(0.6, abs=0.15)
        assert left[1] == pytest.approx(0.2, abs=0.12)
        assert worse("lidar_dropout", 3).cloud is None

    @pytest.mark.parametrize(("severity", "view_deg"), [(1, 240), (2, 180), (3, 120)])
    def test_a_limited_view_is_ahead(self, severity: int, view_deg: float) -> None:
        newest = replace(CLEAN, cloud=PointCloud(CLEAN.cloud.points[CLEAN.cloud.points[:, 4] == 0]))
        frame = worse("limited_view", severity, newest)
        ahead = CLEAN.ego_from_lidar.rotate(frame.cloud.points[:, :3])
        assert np.degrees(np.abs(np.arctan2(ahead[:, 1], ahead[:, 0]))).max() <= view_deg / 2 + 0.01
        assert len(frame.cloud.points) / len(newest.cloud.points) == pytest.approx(view_deg / 360, abs=0.01)

    @pytest.mark.parametrize(("severity", "share"), [(1, 0.02), (2, 0.06), (3, 0.15)])
    def test_crosstalk_moves_a_share_of_the_returns_along_their_beams(self, severity: int, share: float) -> None:
        before = pulses_of(CLEAN, CLEAN.cloud, PAST)
        frame = worse("lidar_crosstalk", severity)
        after = pulses_of(frame, frame.cloud, PAST)
        assert (np.abs(after.distances - before.distances) > 1e-3).mean() == pytest.approx(share, rel=0.15)
        cosines = (after.local * before.local).sum(axis=1) / (after.distances * before.distances)
        assert cosines.min() > 1 - 1e-5

    def test_flakes_and_drops_are_near(self) -> None:
        for name in ("rain", "snow"):
            frame = worse(name, 3)
            before = {tuple(point) for point in np.round(CLEAN.cloud.points[:, :3], 2)}
            early = [point for point in frame.cloud.points if tuple(np.round(point[:3], 2)) not in before]
            assert len(early) > 20
            assert np.linalg.norm(np.array(early)[:, :2], axis=1).max() < 10


class TestMisalignment:
    @pytest.mark.parametrize(("severity", "angle_deg"), [(1, 1.0), (2, 2.0), (3, 3.0)])
    def test_cameras_are_turned_by_that_angle(self, severity: int, angle_deg: float) -> None:
        frame, axes = worse("spatial_misalignment", severity), []
        for name, camera in frame.cameras.items():
            moved = camera.camera_from_lidar @ CLEAN.cameras[name].camera_from_lidar.inverse()
            turn = Rotation.from_matrix(moved.rotation).as_rotvec()
            assert np.degrees(np.linalg.norm(turn)) == pytest.approx(angle_deg)
            axes.append(turn)
        assert len({tuple(axis) for axis in axes}) == len(axes)

    @pytest.mark.parametrize(("severity", "delay_s"), [(1, 0.05), (2, 0.1), (3, 0.2)])
    def test_stamps_that_are_off_move_the_scene_by_the_cars_way(self, severity: int, delay_s: float) -> None:
        class Standing(Driving):
            """The image of the frame is all there is, as between nuScenes' keyframes of a camera without sweeps."""

            def image(self, frame, camera, stamp_ns):
                return frame.cameras[camera]

        frame = corrupted(CLEAN, "temporal_misalignment", severity, 0, Standing(CLEAN))
        for name, camera in frame.cameras.items():
            before = CLEAN.cameras[name]
            assert camera.stamp_ns - before.stamp_ns == round(delay_s * 1e9)
            moved = before.camera_from_lidar.inverse() @ camera.camera_from_lidar
            np.testing.assert_allclose(moved.rotation, np.eye(3), atol=1e-12)
            shift_ego = CLEAN.ego_from_lidar.rotate(moved.translation)
            np.testing.assert_allclose(shift_ego, [-SPEED_M_S * delay_s, 0, 0], atol=1e-9)

    def test_a_camera_that_hangs_shows_the_old_as_new(self) -> None:
        late = [worse("camera_lag", severity) for severity in SEVERITIES]
        for frame, count in zip(late, (2, 4, 6), strict=True):
            old = [
                name
                for name, camera in frame.cameras.items()
                if np.array_equal(camera.image, np.roll(CLEAN.cameras[name].image, 20, axis=1))
            ]
            assert len(old) == count
            assert all(camera.stamp_ns == CLEAN.cameras[name].stamp_ns for name, camera in frame.cameras.items())


class TestLight:
    def test_the_sun_saturates_somewhere_and_dazzles_around(self) -> None:
        frame = worse("sun_glare", 3)
        assert max((camera.image.min(axis=-1) == 255).sum() for camera in frame.cameras.values()) > 20

    def test_night_is_dark_and_noisy(self) -> None:
        means = []
        for severity in SEVERITIES:
            image = worse("darkness", severity).cameras["CAM_FRONT"].image
            means.append(image.mean())
            rows = image[5:25].astype(float)  # the sky, without texture by day
            assert rows.std(axis=(0, 1)).mean() > 0.5
        assert CLEAN.cameras["CAM_FRONT"].image.mean() > means[0] > means[1] > means[2] > 0

    def test_blur_keeps_the_brightness(self) -> None:
        before, after = (f.cameras["CAM_FRONT"].image.astype(float) for f in (CLEAN, worse("motion_blur", 3)))
        assert after.mean() == pytest.approx(before.mean(), rel=0.05)
        assert np.abs(np.diff(after[40:], axis=0)).mean() < 0.7 * np.abs(np.diff(before[40:], axis=0)).mean()


class TestDropping:
    @pytest.mark.parametrize(("severity", "left"), [(1, 5), (2, 3), (3, 0)])
    def test_cameras_are_lost_and_stay_lost(self, severity: int, left: int) -> None:
        frame = worse("camera_drop", severity)
        assert len(frame.cameras) == left
        if severity > 1:
            assert set(frame.cameras) < set(worse("camera_drop", severity - 1).cameras)
        assert frame.cloud is CLEAN.cloud


@every
def test_the_documentation_names_it(name: str) -> None:
    documentation = Path(__file__).parents[3] / "docs" / "robustness.md"
    if not documentation.is_file():  # where tests run beside an installed package
        pytest.skip("no documentation here")
    assert f"| `{name}` |" in documentation.read_text(encoding="utf-8")
