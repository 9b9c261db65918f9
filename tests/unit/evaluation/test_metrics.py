"""Skill, and the scores of forecasts, worked out by hand."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.evaluation.metrics import score, skill


@pytest.mark.parametrize(
    ("loss", "persistence", "expected"),
    [
        (2.0, 2.0, 0.0),
        (0.0, 2.0, 1.0),
        (0.5, 2.0, 0.75),
        (3.0, 2.0, -0.5),
        (math.inf, 2, -math.inf),
    ],
)
def test_skill_is_one_minus_the_loss_ratio(
    loss: float, persistence: float, expected: float
) -> None:
    assert skill(loss, persistence) == expected


@pytest.mark.parametrize(
    ("loss", "persistence"), [(0.5, 0.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.nan)]
)
def test_skill_is_nan_if_persistence_is_never_wrong(loss: float, persistence: float) -> None:
    assert math.isnan(skill(loss, persistence))


# Scores


# Prices 10, 12, 11, 15 after 9, 10, 12, 11, forecast as 11, 12, 13, 13.
FORECAST, ACTUAL, LAST = [11.0, 12.0, 13.0, 13.0], [10.0, 12.0, 11.0, 15.0], [9.0, 10.0, 12.0, 11.0]


def test_scores_of_four_bars() -> None:
    scores = score(FORECAST, ACTUAL, LAST)
    assert scores.count == 4
    # Errors 1, 0, 2, -2: squares 1 + 0 + 4 + 4 = 9, sizes 1 + 0 + 2 + 2 = 5.
    assert scores.mse == pytest.approx(9 / 4)
    assert scores.mae == pytest.approx(5 / 4)
    # The mean is 12, off it -2, 0, -1, 3: squares 4 + 0 + 1 + 9 = 14.
    assert scores.r2 == pytest.approx(1 - 9 / 14)
    # Moves 1, 2, -1, 4: squares 1 + 4 + 1 + 16 = 22.
    assert scores.persistence_mse == pytest.approx(22 / 4)
    assert scores.skill == pytest.approx(1 - 9 / 22)
    # Forecast up, up, up, up from the last; it was up, up, down, up: three of four.
    assert (scores.direction.accuracy, scores.direction.moves) == (0.75, 4)
    # One cosine over four bars, 0.924 0.383 -0.383 -0.924, projects 0.383 of the hits: the variance
    # 0.5 x 0.383² / 4 = 0.0183 is that of 10 trials, of which 4 count, as there are 4 moves. With
    # t(0.975) = 12.706 of one degree of freedom (p - 0.75)² = t² p (1 - p) / 4 has these roots.
    ends = (scores.direction.low, scores.direction.high)
    assert ends == pytest.approx((0.0136203, 0.9984681), abs=1e-6)


def test_the_horizon_reaches_the_interval_of_a_score() -> None:
    found = score(ACTUAL, ACTUAL, LAST, horizon=2).direction
    assert (found.accuracy, found.moves) == (1.0, 4)
    # Two of two: the lower end of Wilson (1927) is 1 / (1 + z² / 2), z = 1.95996.
    assert (found.low, found.high) == pytest.approx((1 / (1 + 1.95996**2 / 2), 1.0), abs=1e-5)


def test_persistence_has_no_skill_and_a_perfect_forecast_has_all_of_it() -> None:
    same, perfect = score(LAST, ACTUAL, LAST), score(ACTUAL, ACTUAL, LAST)
    assert (same.skill, same.mse) == (0.0, same.persistence_mse)
    assert same.direction.accuracy == 0.0  # it forecasts no move at all
    assert (perfect.skill, perfect.mse, perfect.mae, perfect.r2) == (1.0, 0.0, 0.0, 1.0)
    assert perfect.direction.accuracy == 1.0


def test_r2_needs_two_bars_and_skill_needs_a_move() -> None:
    one = score([2.0], [1.0], [0.0])
    assert math.isnan(one.r2)
    assert (one.count, one.mse, one.skill) == (1, 1.0, 0.0)
    still = score([2.0, 2.0], [1.0, 1.0], [1.0, 1.0])
    assert math.isnan(still.skill)
    assert score([1.0, 2.0], [1.0, 3.0], [0.0, 0.0]).r2 == pytest.approx(0.5)  # 1 - 1 / 2
    assert math.isnan(still.direction.accuracy)


@pytest.mark.parametrize(
    "form",
    [
        np.array,
        tuple,
        lambda values: pd.Series(values, pd.bdate_range("2024-01-01", periods=4)),
        # Places count, not labels.
        lambda values: pd.Series(values, [3, 2, 1, 0]),
        lambda values: np.array(values, dtype=int),
    ],
)
def test_arrays_and_series_are_scored_as_lists_are(form: Any) -> None:
    assert score(form(FORECAST), form(ACTUAL), form(LAST)) == score(FORECAST, ACTUAL, LAST)


TWO = [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (([1.0], TWO, TWO), "{'forecast': 1, 'actual': 2, 'persistence': 2}"),
        ((TWO, TWO, [1.0]), "{'forecast': 2, 'actual': 2, 'persistence': 1}"),
        (([], [], []), "of one length, above 0, but have {'forecast': 0"),
        (([1.0, math.nan], TWO, TWO), "forecast must be finite, but 1 of 2 values are not"),
        ((TWO, [math.inf, 1.0], TWO), "actual must be finite, but 1 of 2 values are not"),
        ((TWO, TWO, [math.nan] * 2), "persistence must be finite, but 2 of 2 values are not"),
        (([TWO], TWO, TWO), "forecast must have one dimension, but has shape (1, 2)"),
        ((TWO, np.ones((2, 1)), TWO), "actual must have one dimension, but has shape (2, 1)"),
        ((TWO, ["up", "down"], TWO), "actual must hold numbers only"),
    ],
)
def test_invalid_forecasts_are_refused(values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        score(*values)


def test_scores_of_bars_that_never_move_are_printed_in_words() -> None:
    lines = str(score([2.0, 1.5], [1.0, 1.0], [1.0, 1.0])).splitlines()
    assert lines[3] == "skill               undefined: persistence is never wrong on these bars"
    assert lines[6] == "direction accuracy  undefined: no bar moves"
    assert "nan" not in str(score([2.0], [1.0], [1.0]))


def test_scores_are_printed_one_to_a_line() -> None:
    assert str(score(FORECAST, ACTUAL, LAST)).splitlines() == [
        "bars                4",
        "MSE                 2.25",
        "MSE of persistence  5.5",
        "skill               +59.1%",  # 13 of 22
        "MAE                 1.25",
        "R2                  0.3571",  # 5 of 14
        "direction accuracy  75.0% (1.4% to 99.8%)",
    ]
