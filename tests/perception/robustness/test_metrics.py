"""RA, RRA and CE, by hand."""

from __future__ import annotations

import math

import pytest

from perception.robustness.metrics import comparison, resistance


def test_resistance_is_the_mean_share_of_the_clean_score() -> None:
    found = resistance(0.5, {"fog": [0.4, 0.3, 0.2], "snow": [0.5, 0.5, 0.25]})
    assert found.ra == pytest.approx({"fog": 0.6, "snow": 2.5 / 3})
    assert found.mra == pytest.approx((0.6 + 2.5 / 3) / 2)


def test_a_comparison_takes_sums_over_the_severities() -> None:
    mine = {"fog": [0.4, 0.3, 0.2], "snow": [0.5, 0.5, 0.5]}
    theirs = {"fog": [0.3, 0.2, 0.1], "snow": [0.6, 0.6, 0.6], "rain": [0.1, 0.1, 0.1]}
    found = comparison(mine, theirs)
    assert found.rra == pytest.approx({"fog": 0.9 / 0.6 - 1, "snow": 1.5 / 1.8 - 1})
    assert found.mrra == pytest.approx((0.5 - 1 / 6) / 2)
    assert found.ce == pytest.approx({"fog": 2.1 / 2.4, "snow": 1.5 / 1.2})
    assert found.mce == pytest.approx((0.875 + 1.25) / 2)


def test_published_numbers_come_out() -> None:
    """CMT beside BEVFusion under MultiCorrupt's beam reduction: 18.64 % more NDS, from resistances rounded to 0.001."""
    cmt, bevfusion = [0.729 * 0.786] * 3, [0.714 * 0.676] * 3
    assert comparison({"beams": cmt}, {"beams": bevfusion}).rra["beams"] == pytest.approx(0.18642, abs=0.002)


def test_itself_is_as_good_as_itself() -> None:
    scores = {"fog": [0.4, 0.3, 0.2]}
    found = comparison(scores, scores)
    assert (found.mrra, found.mce) == (0, 1)


def test_what_is_divided_by_nothing_is_unknown() -> None:
    assert math.isnan(resistance(0.0, {"fog": [0.0]}).mra)
    assert math.isnan(comparison({"fog": [0.1]}, {"fog": [0.0]}).mrra)
    assert math.isnan(comparison({"fog": [0.1]}, {"fog": [1.0]}).mce)
