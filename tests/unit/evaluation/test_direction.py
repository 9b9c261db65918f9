"""Directions: shares and tests by hand, and how often chance passes if moves depend on each other.

`benchmarks/directions.py` has the sizes of the test and the coverage of the interval at length.
"""

import math
import re

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, t

from puffin.models.arrays import Floats
from puffin.models.evaluation.direction import direction, pesaran_timmermann

ZERO = np.zeros(100)


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


def hits(right: list[bool], still: int = 0) -> tuple[Floats, Floats, Floats]:
    """Return forecast, actual and persistence: moves up, then `still` bars without move."""
    moves = len(right)
    forecast = np.append(np.where(right, 1.0, -1.0), np.ones(still))
    actual = np.append(np.ones(moves), np.zeros(still))
    return forecast, actual, np.zeros(moves + still)


def wilson(share: float, trials: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """Solve ``(p - share)² = z² p (1 - p) / trials`` for p, as a quadratic (Wilson 1927)."""
    roots = np.roots([1 + z**2 / trials, -(2 * share + z**2 / trials), share**2])
    return min(roots), max(roots)


def test_the_interval_is_that_of_wilson_with_the_variance_over_time_by_hand() -> None:
    # Ten moves have the cosine of one half wave alone, as int(0.4 x 10^(2/3)) = 1.
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0])
    wave = np.cos(np.pi * (np.arange(10) + 0.5) / 10)
    long_run = 2 / 10 * (right @ wave) ** 2
    effective = 0.7 * 0.3 / (long_run / 10)
    assert effective == pytest.approx(2.274, abs=1e-3)
    found = direction(*hits(list(right)))
    assert (found.accuracy, found.moves) == (pytest.approx(0.7), 10)
    expected = wilson(0.7, effective, t.ppf(0.975, 1))
    assert (found.low, found.high) == pytest.approx(expected)


def test_there_are_never_more_trials_than_moves() -> None:
    right = [True, True, False, True]  # nearly as many hits in the first half as in the second
    found = direction(*hits(right))
    assert (found.low, found.high) == pytest.approx(wilson(0.75, 4, t.ppf(0.975, 1)))


@pytest.mark.parametrize(
    ("right", "horizon", "share", "trials"),
    [
        ([True], 1, 1.0, 1),
        ([True, True, False], 1, 2 / 3, 3),  # too few for a variance over time
        ([True] * 100, 1, 1.0, 100),
        ([False] * 100, 5, 0.0, 20),  # one in five
        ([True] * 7, 11, 1.0, 1),  # never fewer than one
    ],
)
def test_hits_without_a_variance_count_as_independent(
    right: list[bool], horizon: int, share: float, trials: int
) -> None:
    found = direction(*hits(right), horizon)
    assert found.accuracy == pytest.approx(share)
    assert (found.low, found.high) == pytest.approx(wilson(share, trials), abs=1e-9)


def test_bars_without_a_move_do_not_narrow_the_interval() -> None:
    right = [True, False, True, True, False]
    assert direction(*hits(right, still=90)) == direction(*hits(right))


def test_moves_of_one_date_are_one_observation() -> None:
    right = np.random.default_rng(0).random(60) < 0.6
    days = np.arange("2020-01-01", "2020-03-01", dtype="M8[D]")
    once = direction(*hits(list(right)), dates=days)
    # Four symbols that move alike, one behind the other.
    alike = direction(*hits(list(np.tile(right, 4))), dates=np.tile(days, 4))
    assert alike.moves == 4 * once.moves
    assert (alike.low, alike.high) == pytest.approx((once.low, once.high))


def moves(rng: np.random.Generator, count: int, memory: float, horizon: int = 1) -> Floats:
    """Return sums over `horizon` bars of a first-order autoregression."""
    noise = rng.standard_normal(count + horizon + 99)
    series = lfilter([1.0], [1.0, -memory], noise)[100:]
    return np.convolve(series, np.ones(horizon), "valid")


DEPENDENT = [(0.0, 1), (0.0, 5), (0.5, 1)]


@pytest.mark.parametrize(("memory", "horizon"), DEPENDENT)
def test_the_interval_covers_the_accuracy_of_chance_in_at_least_95_of_100(
    memory: float, horizon: int
) -> None:
    rng, runs, zero = np.random.default_rng(horizon), 400, np.zeros(250)
    found = [
        direction(moves(rng, 250, 0.9), moves(rng, 250, memory, horizon), zero) for _ in range(runs)
    ]
    covered = sum(each.low <= 0.5 <= each.high for each in found)
    assert binom.ppf(0.001, runs, 0.94) <= covered <= binom.ppf(0.999, runs, 0.985)


# Pesaran-Timmermann


def shuffled(up_up: int, up_down: int, down_up: int, down_down: int) -> tuple[Floats, Floats]:
    """Return forecasts and moves in random order, from the counts of (forecast, move)."""
    counts = (up_up, up_down, down_up, down_down)
    order = np.random.default_rng(0).permutation(sum(counts))
    forecast, actual = np.repeat([[1, 1, -1, -1], [2, -2, 2, -2]], counts, axis=1).astype(float)
    return forecast[order], actual[order]


def test_pesaran_timmermann_on_a_table_by_hand() -> None:
    # 100 moves, 60 up; 50 forecast up; 35 ups and 25 downs are hit: 0.60.
    # By chance 0.6 * 0.5 + 0.4 * 0.5 = 0.50.
    forecast, actual = shuffled(35, 15, 25, 25)
    found = pesaran_timmermann(forecast, actual, ZERO)
    assert (found.accuracy, found.by_chance) == (0.60, pytest.approx(0.50))
    assert (found.up_share, found.forecast_up_share, found.moves) == (0.60, 0.50, 100)
    # The covariance is half of 0.60 - 0.50; eight cosines, as 0.4 x 100^(2/3) = 8.6.
    products = ((actual > 0) - 0.6) * ((forecast > 0) - 0.5)
    waves = np.cos(np.pi * np.outer(np.arange(1, 9), np.arange(100) + 0.5) / 100)
    error = math.sqrt(2 / 100 * np.mean((waves @ products) ** 2) / 100)
    assert found.degrees == 8
    assert found.statistic == pytest.approx(0.05 / error)
    assert found.p_better == pytest.approx(t.sf(0.05 / error, 8))


@pytest.mark.parametrize(
    ("counts", "up_share", "accuracy"),
    [
        ((6, 4, 0, 0), 0.6, 0.6),  # "always up"
        ((0, 0, 6, 4), 0.6, 0.4),  # "always down"
        ((7, 0, 3, 0), 1.0, 0.7),  # it only rose
        ((0, 7, 0, 3), 0.0, 0.3),  # it only fell
        ((1, 0, 0, 0), 1.0, 1.0),
        ((1, 0, 1, 1), 2 / 3, 2 / 3),  # fewer than four moves
    ],
)
def test_one_direction_has_no_statistic_but_a_base_rate(
    counts: tuple[int, int, int, int], up_share: float, accuracy: float
) -> None:
    found = pesaran_timmermann(*shuffled(*counts), np.zeros(sum(counts)))
    assert not found.is_defined
    assert math.isnan(found.p_better)
    assert (found.up_share, found.accuracy) == (up_share, accuracy)


def test_bars_without_a_move_are_left_out_of_the_direction_test() -> None:
    forecast, actual, last = [11, 10, 12, 10], [12, 9, 10, 11], [10, 10, 10, 10]
    found = pesaran_timmermann(forecast, actual, last)
    assert (found.moves, found.accuracy) == (3, pytest.approx(2 / 3))
    assert found.forecast_up_share == pytest.approx(1 / 3)
    assert pesaran_timmermann([1.0], [2.0], [2.0]).moves == 0
    assert not pesaran_timmermann([1.0], [2.0], [2.0]).is_defined


def test_a_constant_forecast_of_each_symbol_is_no_skill() -> None:
    rng = np.random.default_rng(1)
    rising, falling = rng.standard_normal(100) + 0.5, rng.standard_normal(100) - 0.5
    actual, forecast = np.append(rising, falling), np.repeat([1.0, -1.0], 100)
    names, zero = np.repeat(["up", "down"], 100), np.zeros(200)
    assert not pesaran_timmermann(forecast, actual, zero, series=names).is_defined
    assert pesaran_timmermann(forecast, actual, zero).p_better < 0.001


def test_symbols_that_move_alike_are_one_observation_of_a_date() -> None:
    rng = np.random.default_rng(2)
    forecast, actual, days = rng.standard_normal(80), rng.standard_normal(80), np.arange(80)
    once = pesaran_timmermann(forecast, actual, np.zeros(80), days)
    alike = pesaran_timmermann(
        np.tile(forecast, 5),
        np.tile(actual, 5),
        np.zeros(400),
        np.tile(days, 5),
        np.repeat(list("abcde"), 80),
    )
    assert alike.p_better == pytest.approx(once.p_better)
    assert alike.moves == 5 * once.moves


@pytest.mark.parametrize(("memory", "horizon"), DEPENDENT)
def test_independent_forecasts_seldom_pass_if_moves_depend_on_each_other(
    memory: float, horizon: int
) -> None:
    rng, runs, zero = np.random.default_rng(7), 400, np.zeros(250)
    passed = sum(
        pesaran_timmermann(moves(rng, 250, 0.9), moves(rng, 250, memory, horizon), zero).p_better
        < 0.05
        for _ in range(runs)
    )
    assert binom.ppf(0.001, runs, 0.04) <= passed <= binom.ppf(0.999, runs, 0.065)


def test_a_constant_forecast_of_a_mean_reverting_series_passes() -> None:
    """Why there is no such test of a range: half of it returns within a bar."""
    rng = np.random.default_rng(6)
    passed = 0
    for _ in range(50):
        series = lfilter([1.0], [1.0, -0.5], rng.standard_normal(300))
        passed += pesaran_timmermann(np.zeros(250), series[50:], series[49:-1]).p_better < 0.05
    assert passed >= 48


def test_series_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("{'forecast': 2, 'actual': 2, 'last': 1}")):
        pesaran_timmermann([1.0, 2.0], [1.0, 2.0], [1.0])
