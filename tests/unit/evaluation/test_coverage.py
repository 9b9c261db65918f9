"""Shares inside intervals, interval scores and thirds, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from puffin.models.evaluation.coverage import (
    interval_score,
    recent_volatility,
    share_inside,
    thirds,
)


def test_the_share_has_the_interval_of_wilson() -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I: 81 of
    # 263 have 0.2553 to 0.3662.
    found = share_inside(np.arange(263) < 81)
    assert found.share == 81 / 263
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert found.holds(0.3)
    assert not found.holds(0.25)


def test_errors_that_overlap_or_share_a_date_count_once() -> None:
    inside = np.arange(100) % 4 > 0
    dates = np.repeat(np.arange(50), 2).astype("M8[D]")
    assert share_inside(inside[:40]) == share_inside(np.arange(40) % 4 > 0)
    width = [
        found.high - found.low
        for found in (
            share_inside(inside),
            share_inside(inside, dates=dates),
            share_inside(inside, 5, dates),
        )
    ]
    few = share_inside(np.arange(10) < 8)
    assert width == sorted(width)
    assert width[2] == pytest.approx(few.high - few.low)


def test_no_bar_has_no_share() -> None:
    assert math.isnan(share_inside(np.array([], dtype=bool)).share)


def test_the_score_is_the_width_and_a_penalty_for_what_lies_outside() -> None:
    low, high = np.full(4, 1.0), np.full(4, 3.0)
    actual = np.array([2.0, 3.0, 3.5, 0.0])
    assert interval_score(low, high, actual, 0.8) == pytest.approx([2, 2, 2 + 10 * 0.5, 2 + 10])
    assert interval_score(low, high, actual, 0.5) == pytest.approx([2, 2, 2 + 4 * 0.5, 2 + 4])


def test_the_score_is_lowest_at_the_quantiles() -> None:
    actual = np.random.default_rng(0).normal(size=20_000)
    scores = {
        end: float(interval_score(np.full(1, -end), np.full(1, end), actual, 0.8).mean())
        for end in (1.0, 1.15, 1.2816, 1.4, 1.6)
    }
    assert min(scores, key=lambda end: scores[end]) == 1.2816


@pytest.mark.parametrize(("count", "sizes"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (2, [1, 1, 0])])
def test_thirds_are_of_equal_size_in_order_of_volatility(count: int, sizes: list[int]) -> None:
    volatility = np.random.default_rng(1).permutation(count).astype(float)
    found = thirds(volatility)
    assert [int(np.sum(found == part)) for part in range(3)] == sizes
    assert (np.diff(found[np.argsort(volatility)]) >= 0).all()


def test_volatility_is_of_relative_changes_where_there_are_positive_closes() -> None:
    rng = np.random.default_rng(2)
    closes = 50 * np.exp(np.cumsum(rng.normal(0, np.repeat([0.01, 0.03], 100))))
    found = recent_volatility(closes)
    assert recent_volatility(closes * 7)[2:] == pytest.approx(found[2:])
    assert found[-1] == pytest.approx(0.03 * math.sqrt(2 / math.pi), rel=0.2)
    assert found[99] == pytest.approx(0.01 * math.sqrt(2 / math.pi), rel=0.2)
    assert np.isfinite(recent_volatility(closes - closes.mean())).all()
