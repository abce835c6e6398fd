"""The worst mistakes come first, and each once."""

from __future__ import annotations

import pytest

from perception.evaluation.misses import working_points, worst_false_alarms, worst_misses
from perception.evaluation.pictures import draw_mistakes
from tests.perception.evaluation.made import made_up_boxes, made_up_truth, scored


def test_the_working_point_is_where_f1_is_best() -> None:
    """Two hits, then nothing but false alarms."""
    truth = made_up_truth([(10, 0), (20, 0)])
    scores = scored(truth, made_up_boxes([(10, 0), (20, 0), (0, 9), (0, 19), (0, 29)], [0.9, 0.8, 0.7, 0.6, 0.5]))
    point = working_points(scores)["car"]
    assert (point.score, point.precision, point.recall, point.f1) == pytest.approx((0.8, 1, 1, 1))


def test_misses_are_those_with_the_most_returns_one_of_each_track() -> None:
    truth = made_up_truth(
        [(10, 0), (20, 0), (30, 0), (40, 0)], points=[5, 9, 50, 100], instances=["a", "b", "b", "found"]
    )
    scores = scored(truth, made_up_boxes([(40, 0)]))
    misses = worst_misses(scores, truth, working_points(scores), 10)
    assert [(miss.row, miss.weight) for miss in misses] == [(2, 50), (0, 5)]
    assert worst_misses(scores, truth, working_points(scores), 1) == misses[:1]


def test_an_object_found_only_below_the_working_point_is_missed() -> None:
    truth = made_up_truth([(10, 0), (20, 0), (30, 0)])
    noise = [(0, 5 + 3 * number) for number in range(12)]
    places, marks = [(10, 0), (20, 0), *noise, (30, 0)], [0.9, 0.8, *[0.5] * 12, 0.1]
    scores = scored(truth, made_up_boxes(places, marks))
    assert [miss.row for miss in worst_misses(scores, truth, working_points(scores), 10)] == [2]


def test_false_alarms_are_those_with_the_highest_scores_one_at_each_place() -> None:
    truth = made_up_truth([(10, 0)], descriptions=["one", "another"])
    places = [(10, 0), (20, 0), (21, 0), (20, 0), (30, 0)]
    scores = scored(truth, made_up_boxes(places, [0.5, 0.9, 0.8, 0.7, 0.6], samples=[0, 0, 0, 1, 0]))
    alarms = worst_false_alarms(scores, truth, working_points(scores), 10)
    assert [alarm.weight for alarm in alarms] == [0.9, 0.7, 0.6]  # the third lies in another scene


def test_a_class_that_finds_nothing_misses_everything() -> None:
    truth = made_up_truth([(10, 0), (20, 0)])
    scores = scored(truth, made_up_boxes([]))
    assert len(worst_misses(scores, truth, working_points(scores), 10)) == 2
    assert worst_false_alarms(scores, truth, working_points(scores), 10) == []


def test_no_mistakes_need_no_data_to_draw() -> None:
    truth = made_up_truth([(10, 0)])
    scores = scored(truth, made_up_boxes([(10, 0)]))
    assert list(draw_mistakes([], scores, truth, working_points(scores))) == []
