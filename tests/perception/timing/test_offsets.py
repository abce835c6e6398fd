"""Clocks that are off are measured, and put right where that is allowed."""

from dataclasses import replace

import numpy as np
import pytest

from perception.timing.offsets import OffsetLearner
from tests.perception.timing.streams import LIDAR, MS, SENSORS, SETTINGS, Arrival, run, steady


def jittered(arrivals: list[Arrival], seed: int = 0) -> list[Arrival]:
    """Stamps off by 2 ms, arrivals late by 10 ms on average, one stamp in ten nonsense within the period."""
    rng = np.random.default_rng(seed)
    for at, name, stamp in arrivals:
        wrong = rng.integers(0, 50) * MS if rng.random() < 0.1 else 0
        yield at + int(rng.exponential(10) * MS), name, stamp + int(rng.normal(0, 2) * MS) + wrong


@pytest.mark.parametrize("ahead_ms", [80, 20, 0, -60, -130])
@pytest.mark.parametrize("camera", ["LEFT", "RIGHT"])
def test_a_camera_clock_that_is_off_is_estimated_within_5_ms(camera, ahead_ms):
    arrivals = steady("LIDAR", 100) + list(jittered(steady(camera, 50, ahead_ns=ahead_ms * MS)))
    _, synchroniser = run(arrivals)
    estimate = synchroniser.statistics().sensors[camera].offset
    assert abs(estimate.offset_ns - ahead_ms * MS) < 5 * MS
    assert estimate.spread_ns < 4 * MS


def test_a_slow_link_is_not_taken_for_a_clock_that_is_off():
    arrivals = steady("LIDAR", 100) + steady("LEFT", 100, delay_ns=35 * MS)
    _, synchroniser = run(arrivals)
    assert synchroniser.statistics().sensors["LEFT"].offset.offset_ns == 0


def test_a_link_known_to_be_slower_than_a_period_is_allowed_for():
    arrivals = steady("LIDAR", 100) + steady("LEFT", 100, delay_ns=105 * MS)
    known = SENSORS | {"LEFT": replace(SENSORS["LEFT"], latency_ns=100 * MS)}
    offsets = [run(arrivals, replace(SETTINGS, sensors=sensors))[1].statistics().sensors["LEFT"].offset.offset_ns
               for sensors in (SENSORS, known)]  # fmt: skip
    assert offsets == [-100 * MS, 0]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_clock_that_is_off_is_put_right_only_where_allowed(allowed):
    arrivals = steady("LIDAR", 100) + steady("LEFT", 100, ahead_ns=80 * MS)
    settings = replace(SETTINGS, sensors={"LIDAR": LIDAR, "LEFT": SENSORS["LEFT"]}, correct_offsets=allowed)
    bundles, _ = run(arrivals, settings)
    for bundle in bundles[40:-3]:
        if allowed:
            assert bundle.corrections_ns == {"LEFT": 80 * MS}
            assert bundle.stamp_of("LEFT") == bundle.stamp_ns - 30 * MS
            assert bundle.measurements["LEFT"].stamp_ns == bundle.stamp_ns + 50 * MS
        else:
            assert not bundle.corrections_ns


def test_too_few_measurements_give_no_estimate():
    assert run(steady("LIDAR", 15) + steady("LEFT", 15))[1].statistics().sensors["LEFT"].offset is None


def test_a_sensor_that_does_not_keep_step_gets_no_estimate():
    learner = OffsetLearner(50 * MS)
    for k in range(60):
        learner.add(k * 33 * MS, 0)
    assert learner.estimate() is None
