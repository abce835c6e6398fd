"""Boxes that two detectors found of one object: paired, scored by both, and where both errors together say."""

import numpy as np
import pytest

from perception.model.late.boxes import (
    Calibration,
    Errors,
    Settings,
    covariances,
    fit_calibration,
    logit,
    sigmoid,
)
from perception.types import Boxes3D

CLASSES = ("car", "pedestrian")


def boxes(*rows: tuple, labels: tuple[int, ...] | None = None) -> Boxes3D:
    """Rows of x, y [m] and score, and perhaps yaw, all cars unless told."""
    count = len(rows)
    xy = np.array([row[:2] for row in rows]).reshape(count, 2)
    scores, yaws = [row[2] for row in rows], [row[3] if len(row) > 3 else 0.0 for row in rows]
    centers = np.column_stack([xy, np.zeros(count)])
    sizes, velocities = np.tile([4.0, 2.0, 1.5], (count, 1)), np.full((count, 2), 1.0)
    labels = np.array(labels if labels is not None else [0] * count, np.int64)
    return Boxes3D(centers, sizes, np.array(yaws), velocities, np.array(scores), labels, CLASSES)


def test_odds_multiply_where_both_agree():
    fused = Settings(prior=0.1).build()(boxes((10, 0, 0.6)), boxes((10.2, 0, 0.5)))
    odds = (0.6 / 0.4) * (0.5 / 0.5) / (0.1 / 0.9)
    assert len(fused) == 1
    assert fused.scores[0] == pytest.approx(odds / (1 + odds), rel=1e-5)


def test_what_only_one_sees_keeps_its_box_and_loses_as_set():
    fused = Settings(main_alone=-0.5, camera_alone=-2.0).build()(boxes((10, 0, 0.6)), boxes((-30, 5, 0.5)))
    assert fused.centers[:, 0].tolist() == [10, -30]
    np.testing.assert_allclose(fused.scores, sigmoid(logit([0.6, 0.5]) + np.array([-0.5, -2.0])), rtol=1e-5)


def test_a_missing_stream_costs_nothing():
    late = Settings().build()
    np.testing.assert_allclose(late(boxes((10, 0, 0.6)), None).scores, [0.6], rtol=1e-6)
    np.testing.assert_allclose(late(None, boxes((10, 0, 0.6))).scores, [0.6], rtol=1e-6)
    with pytest.raises(ValueError, match="one stream at least"):
        late(None, None)


def test_classes_do_not_mix():
    fused = Settings().build()(boxes((10, 0, 0.6)), boxes((10, 0, 0.5), labels=(1,)))
    assert sorted(fused.labels.tolist()) == [0, 1]


def test_a_cameras_doubt_lies_along_its_ray():
    """Far off along the ray is still the same car; as far off across it is another."""
    late = Settings(camera_errors=Errors(across_m=0.3, along_m=0.3, along_share=0.1)).build()
    along = late(boxes((0, 30, 0.6)), boxes((0, 34, 0.6)))
    across = late(boxes((0, 30, 0.6)), boxes((4, 30, 0.6)))
    assert (len(along), len(across)) == (1, 2)
    assert 30 < along.centers[0, 1] < 30.2  # the LiDAR knows distances better


def test_pairs_are_the_nearest_together():
    mine, theirs = (
        Settings().build().pairs(boxes((10, 0, 1), (12, 0, 1)), boxes((12.1, 0, 1), (10.1, 0, 1), (50, 0, 1)))
    )
    assert dict(zip(mine.tolist(), theirs.tolist(), strict=True)) == {0: 1, 1: 0}


def test_equal_doubt_meets_halfway():
    same = Errors(across_m=0.4, along_m=0.4)
    fused = Settings(main_errors=same, camera_errors=same).build()(
        boxes((10, 1, 0.6, 0.2)), boxes((10.4, 1.2, 0.6, 0.4))
    )
    np.testing.assert_allclose(fused.centers[0, :2], [10.2, 1.1], rtol=1e-5)
    np.testing.assert_allclose(fused.yaws, [0.3], rtol=1e-5)


def test_opposite_headings_follow_the_main_stream():
    same = Errors(across_m=0.4, along_m=0.4)
    late = Settings(main_errors=same, camera_errors=same).build()
    fused = late(boxes((10, 0, 0.6, 3.0)), boxes((10, 0, 0.6, 3.2 - np.pi)))
    np.testing.assert_allclose(fused.yaws, [3.1], rtol=1e-4)


def test_covariances_turn_with_the_ray():
    errors = Errors(across_m=1, along_m=2, along_share=0.1)
    found = covariances(np.array([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 0]]), errors)
    np.testing.assert_allclose(found, [np.diag([9, 1]), np.diag([1, 9]), np.diag([4, 1])], atol=1e-12)


def test_a_calibration_is_found_from_what_was_right():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    right = rng.random(20_000) < sigmoid(0.6 * logit(scores) - 1.0)
    found = fit_calibration(scores, right)
    assert found.scale == pytest.approx(0.6, abs=0.05)
    assert found.offset == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("right", [np.ones(50, bool), np.zeros(50, bool)])
def test_a_calibration_of_one_outcome_is_finite(right):
    found = fit_calibration(np.linspace(0.1, 0.9, 50), right)
    assert np.isfinite([found.scale, found.offset]).all()
    assert (sigmoid(found.scale * logit(0.5) + found.offset) > 0.5) == right[0]


def test_calibrated_scores_are_what_counts():
    halved = Calibration(scale=1.0, offset=float(logit(0.25)))
    fused = Settings(main=halved).build()(boxes((10, 0, 0.5)), None)
    np.testing.assert_allclose(fused.scores, [0.25], rtol=1e-5)
