"""A slice scores its own objects, and false alarms where they are."""

from __future__ import annotations

import numpy as np
import pytest

from perception.evaluation.definition import OFFICIAL
from perception.evaluation.slices import SliceScore, conditions_of, score_slices
from tests.perception.evaluation.made import made_up_boxes, made_up_truth, scored


def slices(truth, predictions) -> dict[tuple[str, str], SliceScore]:
    return {(part.group, part.name): part for part in score_slices(scored(truth, predictions), truth)}


def test_each_distance_scores_its_own_objects() -> None:
    truth = made_up_truth([(10, 0), (25, 0), (35, 0), (45, 0)])
    found = slices(truth, made_up_boxes([(10, 0), (35, 0)], [0.9, 0.8]))
    names = ("0-20 m", "20-30 m", "30-40 m", "40 m and more")
    assert [found["distance", name].objects for name in names] == [1, 1, 1, 1]
    assert [found["distance", name].found for name in names] == [1, 0, 1, 0]
    assert [found["distance", name].metrics.mean_ap for name in names] == pytest.approx([1, 0, 1, 0])


def test_a_hit_elsewhere_is_neither_right_nor_wrong() -> None:
    """The better detection matches the far object although it lies in the near slice itself."""
    truth = made_up_truth([(10, 0), (20.1, 0)])
    found = slices(truth, made_up_boxes([(19.8, 0), (10, 0)], [0.9, 0.8]))
    assert found["distance", "0-20 m"].metrics.mean_ap == pytest.approx(1)
    assert found["distance", "20-30 m"].found == 1


def test_a_false_alarm_counts_where_it_is() -> None:
    truth = made_up_truth([(10, 0), (25, 0)])
    found = slices(truth, made_up_boxes([(0, 15), (10, 0), (25, 0)], [0.9, 0.8, 0.7]))
    assert found["distance", "0-20 m"].metrics.mean_ap < 0.6
    assert found["distance", "20-30 m"].metrics.mean_ap == pytest.approx(1)


def test_a_false_alarm_counts_on_every_level_of_visibility() -> None:
    truth = made_up_truth([(10, 0), (25, 0)], levels=["v0-40", "v80-100"])
    found = slices(truth, made_up_boxes([(0, 15), (10, 0), (25, 0)], [0.9, 0.8, 0.7]))
    for name in ("0-40 % visible", "80-100 % visible"):
        assert found["visibility", name].objects == 1
        assert found["visibility", name].metrics.mean_ap < 0.6


def test_class_sizes_average_over_their_classes_that_have_objects() -> None:
    truth = made_up_truth([(10, 0), (20, 0), (0, 10)], names=["truck", "bus", "pedestrian"])
    found = slices(truth, made_up_boxes([(10, 0)], names=["truck"]))
    large = found["class size", "large: truck, bus, trailer, construction vehicle"]
    assert set(large.metrics.mean_dist_aps) == {"truck", "bus"}
    assert large.metrics.mean_ap == pytest.approx(0.5)
    assert ("class size", "medium: car") not in found


def test_speeds_leave_out_what_never_moves_and_what_nobody_knows() -> None:
    truth = made_up_truth(
        [(10, 0), (20, 0), (0, 10), (0, 20)],
        names=["car", "car", "barrier", "car"],
        speeds=[0.0, 7.0, 0.0, np.nan],
    )
    found = slices(truth, made_up_boxes([(10, 0), (20, 0)], [0.9, 0.8], speeds=[0, 7]))
    counts = {name: part.objects for (group, name), part in found.items() if group == "speed"}
    assert counts == {"below 0.5 m/s": 1, "5-10 m/s": 1}


def test_scenes_have_the_conditions_that_their_descriptions_say() -> None:
    texts = [
        "Night, heavy rain, parked cars",
        "Raining, dusk",
        "Busy street",
        "Foggy, overcast morning",
        "Train, knight",
    ]
    found = {name: np.flatnonzero(samples).tolist() for name, samples in conditions_of(texts).items()}
    assert found == {
        "night": [0],
        "dusk or dawn": [1],
        "rain": [0, 1],
        "fog": [3],
        "overcast": [3],
        "none of these": [2, 4],
    }


def test_scene_conditions_score_their_samples() -> None:
    truth = made_up_truth([(10, 0), (10, 0)], samples=[0, 1], descriptions=["rain", "sunny"])
    found = slices(truth, made_up_boxes([(10, 0), (20, 0)], samples=[0, 1]))
    assert found["scene condition", "rain"].metrics.mean_ap == pytest.approx(1)
    assert found["scene condition", "none of these"].metrics.mean_ap == 0


def test_all_distances_together_find_what_the_whole_does() -> None:
    rng = np.random.default_rng(0)
    truth = made_up_truth([tuple(place) for place in rng.uniform(-30, 30, (40, 2))])
    places = [tuple(place) for place in truth.objects.boxes.centers[:, :2] + rng.normal(0, 1, (40, 2))]
    predictions = made_up_boxes(places, rng.uniform(0.1, 1, 40))
    parts = [part for (group, _), part in slices(truth, predictions).items() if group == "distance"]
    matching = scored(truth, predictions).matchings["car", OFFICIAL.dist_th_tp]
    assert sum(part.objects for part in parts) == len(matching.truth)
    assert sum(part.found * part.objects for part in parts) == pytest.approx((matching.matched >= 0).sum())
