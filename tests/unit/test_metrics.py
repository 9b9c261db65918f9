"""Skill and direction, worked out by hand."""

import math

import numpy as np
import pytest

from models.metrics import direction, skill


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
def test_skill_is_the_share_of_the_persistence_loss_that_is_saved(
    loss: float, persistence: float, expected: float
) -> None:
    assert skill(loss, persistence) == expected


@pytest.mark.parametrize(
    ("loss", "persistence"), [(0.5, 0.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.nan)]
)
def test_skill_is_nan_where_persistence_is_never_wrong_or_a_loss_is_unknown(
    loss: float, persistence: float
) -> None:
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
def test_direction_accuracy_is_nan_if_no_bar_moved(values: list[float]) -> None:
    last = np.array(values)
    assert math.isnan(direction(last + 1, last, last).accuracy)
