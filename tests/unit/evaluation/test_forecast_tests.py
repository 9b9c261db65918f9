"""Tests of one forecaster against another: published figures, other derivations, and luck."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, norm, ttest_1samp

from puffin.models.arrays import Floats
from puffin.models.evaluation.forecast_tests import (
    clark_west,
    holm,
)
from puffin.models.evaluation.long_run import long_run_test

# One-step errors of R's ets and auto.arima on WWWusage[81:100], the example of forecast::dm.test.
# Errors and p-values of R as the tests of JuliaStats/HypothesisTests.jl give them.
ETS = np.array(
    [
        [0.002241270, -0.000661906, -1.200002613, -4.000218178, 3.799373533],
        [3.401005111, -1.199692125, -0.800490048, -1.200048999, 3.399847229],
        [7.000708948, 2.200989241, -4.800165569, -1.201043375, 3.400167556],
        [3.000709085, 0.400267950, -6.800169207, -2.401259050, 1.200112198],
    ]
).ravel()
ARIMA = np.array(
    [
        [0.1209998, 8.0622269, -0.9189429, -1.7952436, 5.3431277],
        [2.0459823, -0.6073261, 0.5516816, -0.7633238, 4.1229472],
        [5.8785333, 1.2828331, -3.4854233, 1.1971370, 3.1709314],
        [2.3408457, 0.4962286, -5.9841362, 0.1537114, 0.4207951],
    ]
).ravel()


def bounds(trials: int, share: float = 0.05) -> tuple[int, int]:
    """Return the interval of 99.9 % of binomial counts."""
    low, high = binom.interval(0.999, trials, share)
    return int(low), int(high)


def moving_sums(rng: np.random.Generator, count: int, horizon: int) -> Floats:
    """Return noise that is correlated over ``horizon - 1`` bars, as overlapping labels are."""
    return np.convolve(rng.standard_normal(count + horizon - 1), np.ones(horizon), "valid")


def hac_t(values: Floats, horizon: int) -> float:
    """Return the t statistic of the mean; products of scores count up to a lag of horizon - 1."""
    errors = values - values.mean()
    apart = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    return float(values.sum() / np.sqrt(errors @ (apart < horizon) @ errors))


# Clark-West

# Errors of the smaller and the larger model, and p-values, as the tests of
# JuliaStats/HypothesisTests.jl have them.
SMALL = np.array(
    [
        [9.78432, 12.73500, 8.67224, 2.62740, 5.60947],
        [7.57809, 4.53774, 2.51084, 0.49290, 3.48394],
        [9.46152, 9.41220, 2.36289, 0.34495, 3.33599],
        [5.31357, 4.28219, -3.74471, -5.73575, -3.71781],
    ]
).ravel()
LARGE = np.array(
    [
        [2.82053, 4.39754, -1.78647, -4.30662, 3.69526],
        [3.37259, -1.09002, -0.50984, -0.78973, 3.89077],
        [7.52849, 2.82373, -3.95838, -0.13606, 4.54444],
        [4.18216, 1.67993, -5.38077, -0.85686, 2.70479],
    ]
).ravel()


@pytest.mark.parametrize(
    ("horizon", "better", "two_sided"), [(1, 0.0001, 0.0002), (3, 0.0079, 0.0157)]
)
def test_clark_west_gives_the_p_values_of_hypothesistests(
    horizon: int, better: float, two_sided: float
) -> None:
    found = clark_west(-LARGE, -SMALL, np.zeros(20), horizon)
    assert found.p_better == pytest.approx(better, abs=5e-5)
    assert found.p_two_sided == pytest.approx(two_sided, abs=5e-5)


@pytest.mark.parametrize("horizon", [1, 4])
def test_clark_west_is_the_t_statistic_of_the_adjusted_differential(horizon: int) -> None:
    rng = np.random.default_rng(0)
    truth = moving_sums(rng, 60, horizon)
    own, small = 0.3 * truth + rng.standard_normal(60), rng.standard_normal(60)
    found = clark_west(own, small, truth, horizon)
    # Clark and West's other form of it: twice the smaller model's error times the difference.
    adjusted = 2 * (truth - small) * (own - small)
    assert found.mean == pytest.approx(adjusted.mean())
    assert found.statistic == pytest.approx(hac_t(adjusted, horizon), rel=1e-12)
    assert found.p_better == pytest.approx(norm.sf(found.statistic), rel=1e-12)


def test_clark_west_corrects_for_the_noise_a_larger_model_fits() -> None:
    """No skill: the truth is noise, the model forecasts the mean of the 30 bars before."""
    rng = np.random.default_rng(2)
    naive, adjusted = 0, 0
    for _ in range(1000):
        series = rng.standard_normal(150)
        means = np.convolve(series, np.ones(30) / 30, "valid")[:-1]
        truth, zero = series[30:], np.zeros(120)
        naive += long_run_test(truth**2 - (truth - means) ** 2).p_better < 0.05
        adjusted += clark_west(means, zero, truth).p_better < 0.05
    # By squared errors alone it loses nearly always, which is what Clark and West set right.
    assert naive <= 10
    assert 20 <= adjusted <= bounds(1000)[1]


def test_a_model_equal_to_its_baseline_has_no_statistic() -> None:
    assert not clark_west(ETS, ETS, ARIMA).is_defined


TWO = [1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: clark_west([1.0], TWO, TWO), "forecast and baseline and actual must have one"),
        (lambda: clark_west([1.0, math.inf], TWO, TWO), "forecast must be finite"),
        (lambda: clark_west(TWO, TWO, TWO, 2), "but is 2 with 2 adjusted loss differentials"),
    ],
)
def test_series_of_different_length_or_index_are_refused(
    call: Callable[[], object], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


def test_holm_multiplies_the_lowest_p_values_and_keeps_their_order() -> None:
    # Worked by hand: 4 x 0.01, 3 x 0.015 and 2 x 0.03 rise; 0.04 may not be below the one before.
    assert holm([0.03, 0.01, 0.04, 0.015]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.045])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_holm_leaves_out_p_values_that_are_not_defined() -> None:
    assert holm([0.03, math.nan, 0.01]).tolist() == pytest.approx(
        [0.03, math.nan, 0.02], nan_ok=True
    )


def test_holm_holds_its_level_for_dependent_tests() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.standard_normal((2000, 1)), rng.standard_normal((2000, 10))
    p_values = norm.sf(0.7**0.5 * shared + 0.3**0.5 * own)
    false = sum((holm(row) < 0.05).any() for row in p_values)
    assert false <= bounds(2000)[1]


def test_the_mean_by_date_of_dependent_series_holds_the_level_their_bars_do_not() -> None:
    rng, runs = np.random.default_rng(1), 400
    common = rng.standard_normal((runs, 100, 1))
    differentials = 0.7 * common + 0.7 * rng.standard_normal((runs, 100, 20))
    low, high = bounds(runs)
    by_date = sum(long_run_test(each.mean(axis=1)).p_better < 0.05 for each in differentials)
    assert low <= by_date <= high
    flat = differentials.reshape(runs, -1)
    as_one = np.count_nonzero(ttest_1samp(flat, 0, axis=1, alternative="greater").pvalue < 0.05)
    assert as_one > 2 * high
