"""Skill, direction with its interval, and the scores of forecasts, worked out by hand."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.evaluation.metrics import direction, score, skill


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


@pytest.mark.parametrize(
    ("forecast", "actual", "last", "expected"),
    [
        # Two of three signs are right.
        ([0.1, -0.2, 0.3], [0.5, -0.5, -0.5], [0, 0, 0], 2 / 3),
        # The last bar did not move and does not count: one of two.
        ([1, 1, 1], [2, -2, 0], [0, 0, 0], 1 / 2),
        # A move is counted from the last value, not from zero: up and up, down and down.
        ([101, 89], [105, 70], [100, 90], 1.0),
        # Up and down: both wrong, though every value is above zero.
        ([101, 89], [99, 91], [100, 90], 0.0),
        # A forecast of no move is wrong wherever there was one.
        ([0, 0, 1], [1, -1, 1], [0, 0, 0], 1 / 3),
    ],
)
def test_direction_accuracy_counts_the_signs_of_the_moves(
    forecast: list[float], actual: list[float], last: list[float], expected: float
) -> None:
    arrays = [np.array(values, dtype=float) for values in (forecast, actual, last)]
    assert direction(*arrays).accuracy == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("values", [[], [1.0, 2.0]])
def test_direction_and_its_interval_are_nan_if_no_bar_moved(values: list[float]) -> None:
    last = np.array(values)
    found = direction(last + 1, last, last)
    assert all(math.isnan(value) for value in (found.accuracy, found.low, found.high))
    assert found.moves == 0


def right_in(right: int, moves: int, still: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return forecast, actual and persistence: `moves` bars up, then `still` bars without move."""
    forecast = np.ones(moves + still)
    forecast[right:] = -1.0
    actual = np.ones(moves + still)
    actual[moves:] = 0.0
    return forecast, actual, np.zeros(moves + still)


def wilson(right: int, trials: int) -> tuple[float, float]:
    """Solve ``(p - right / trials)² = z² p (1 - p) / trials`` for p, z the 97.5 % normal quantile.

    The formula of Wilson (1927), as a quadratic in p.
    """
    z, share = 1.959963984540054, right / trials
    roots = np.roots([1 + z**2 / trials, -(2 * share + z**2 / trials), share**2])
    return min(roots), max(roots)


@pytest.mark.parametrize(
    ("right", "moves"), [(0, 1), (1, 1), (3, 4), (7, 10), (10, 10), (154, 300), (0, 50)]
)
def test_the_interval_is_the_one_of_wilson(right: int, moves: int) -> None:
    found = direction(*right_in(right, moves))
    assert (found.accuracy, found.moves) == (right / moves, moves)
    assert (found.low, found.high) == pytest.approx(wilson(right, moves), abs=1e-9)


def test_the_interval_of_a_textbook_case() -> None:
    # 81 of 263 with a confidence of 95 %: 0.2553 to 0.3662 in Newcombe (1998), table I, method 3.
    found = direction(*right_in(81, 263))
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_bars_without_a_move_do_not_narrow_the_interval() -> None:
    assert direction(*right_in(7, 10, still=90)) == direction(*right_in(7, 10))


@pytest.mark.parametrize(
    ("right", "moves", "horizon", "counted", "trials"),
    [
        (70, 100, 1, 70, 100),
        (70, 100, 5, 14, 20),  # one in five
        (70, 100, 10, 7, 10),
        (60, 103, 25, 2, 4),  # 103 // 25 = 4, of which 60 / 103 are 2.3
        (7, 10, 11, 1, 1),  # never fewer than one
    ],
)
def test_a_longer_horizon_counts_fewer_moves_and_widens_the_interval(
    right: int, moves: int, horizon: int, counted: int, trials: int
) -> None:
    found = direction(*right_in(right, moves), horizon)
    assert (found.accuracy, found.moves) == (right / moves, moves)
    assert (found.low, found.high) == pytest.approx(wilson(counted, trials), abs=1e-9)


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
    assert (scores.direction.low, scores.direction.high) == pytest.approx(wilson(3, 4))


def test_the_horizon_reaches_the_interval_of_a_score() -> None:
    found = score(FORECAST, ACTUAL, LAST, horizon=2).direction
    assert (found.accuracy, found.moves) == (0.75, 4)
    assert (found.low, found.high) == pytest.approx(wilson(2, 2))  # 0.75 of 2 is 1.5: 2


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
    low, high = wilson(3, 4)
    assert (round(low, 3), round(high, 3)) == (0.301, 0.954)
    assert str(score(FORECAST, ACTUAL, LAST)).splitlines() == [
        "bars                4",
        "MSE                 2.25",
        "MSE of persistence  5.5",
        "skill               +59.1%",  # 13 of 22
        "MAE                 1.25",
        "R2                  0.3571",  # 5 of 14
        "direction accuracy  75.0% (30.1% to 95.4%)",
    ]
