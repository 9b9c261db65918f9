"""Tests of a mean under dependence, against another derivation, published quantiles, and luck."""

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import lfilter
from scipy.stats import binom, t, ttest_1samp

from puffin.models.arrays import Floats
from puffin.models.evaluation.long_run import fluctuation, long_run_test
from puffin.models.evaluation.long_run_variance import FEWEST


def drifting(rng: np.random.Generator, series: int, count: int) -> Floats:
    """Return first-order autoregressions of 0.5, (series, count), past their start."""
    noise = rng.standard_normal((series, count + 50))
    return np.asarray(lfilter([1.0], [1.0, -0.5], noise, axis=1)[:, 50:])


def test_the_statistic_is_that_of_an_orthonormal_cosine_transform() -> None:
    values = np.random.default_rng(0).standard_normal(125) + 0.1
    found = long_run_test(values)
    assert found.degrees == 10  # 0.4 x 125^(2/3) = 10
    projections = dct(values, norm="ortho")[1:11]
    statistic = values.sum() / np.sqrt(125 * np.mean(projections**2))
    assert found.statistic == pytest.approx(statistic)
    assert found.error == pytest.approx(values.mean() / statistic)
    assert found.p_better == pytest.approx(t.sf(statistic, 10))
    assert found.p_two_sided == pytest.approx(2 * t.sf(abs(statistic), 10))
    assert found.p_worse == pytest.approx(t.cdf(statistic, 10))
    assert found.detectable == pytest.approx(
        found.error * (t.ppf(0.95, 10) + t.ppf(0.80, 10)), rel=1e-6
    )


@pytest.mark.parametrize("count", [30, 126])
def test_equal_forecasts_seldom_win_when_losses_depend_on_each_other(count: int) -> None:
    """A test that takes the losses for independent wins three times too often."""
    series = drifting(np.random.default_rng(count), 1_000, count)
    won = sum(long_run_test(values).p_better < 0.05 for values in series)
    assert won <= binom.ppf(0.999, len(series), 0.06)
    naive = np.count_nonzero(ttest_1samp(series, 0, axis=1, alternative="greater").pvalue < 0.05)
    assert naive > 2 * won


def test_a_lead_of_the_detectable_size_is_found_in_four_of_five_series() -> None:
    series = drifting(np.random.default_rng(3), 1_000, 400)
    true_error = 2.0 / 400**0.5  # the long-run variance of this autoregression is 4
    degrees = 21
    lead = true_error * (t.ppf(0.95, degrees) + t.ppf(0.80, degrees))
    found = sum(long_run_test(values + lead).p_better < 0.05 for values in series)
    assert binom.ppf(0.001, len(series), 0.77) <= found <= binom.ppf(0.999, len(series), 0.83)


@pytest.mark.parametrize(("window", "in_the_paper"), [(150, 3.393), (450, 3.012)])
def test_critical_values_are_those_of_the_paper(window: int, in_the_paper: float) -> None:
    """Table I of Giacomini and Rossi (2010), plus a little for the unknown variance."""
    noise = np.random.default_rng(5).standard_normal(1_500)
    assert 1 < fluctuation(noise, window).critical / in_the_paper < 1.08


def test_windows_are_sums_over_the_root_of_the_long_run_variance() -> None:
    values = np.random.default_rng(6).standard_normal(60)
    found = fluctuation(values, 20)
    variance = np.mean(dct(values, norm="ortho")[7:13] ** 2)  # six cosines are slower
    expected = [values[i : i + 20].sum() for i in range(41)] / np.sqrt(20 * variance)
    assert found.statistics == pytest.approx(expected)


def test_equal_forecasts_seldom_fluctuate() -> None:
    series = drifting(np.random.default_rng(7), 100, 240)
    found = sum(fluctuation(values, 80).p <= 0.05 for values in series)
    assert found <= binom.ppf(0.999, len(series), 0.06)


def test_a_lead_that_turns_is_found_although_its_mean_is_0() -> None:
    noise = np.random.default_rng(8).standard_normal(600)
    turned = noise + np.repeat([0.5, -0.5], 300)
    assert long_run_test(turned).p_two_sided > 0.05
    found = fluctuation(turned, 200)
    assert found.was_better
    assert found.was_worse
    assert found.p < 0.05
    assert np.argmax(found.statistics) < 200 < np.argmin(found.statistics)


def test_equal_differentials_cannot_be_tested() -> None:
    found = long_run_test(np.full(20, 0.5))
    assert not found.is_defined
    assert np.isnan(found.p_better)
    assert np.isnan(found.detectable)
    flat = fluctuation(np.full(20, 0.5), 5)
    assert np.isnan(flat.p)
    assert not flat.was_better
    assert not flat.was_worse


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_too_few_differentials_cannot_be_tested(count: int) -> None:
    found = long_run_test(np.arange(count))
    assert found.mean == (count - 1) / 2
    assert not found.is_defined
    assert np.isnan([found.p_better, found.p_worse, found.detectable]).all()
    assert long_run_test(np.arange(FEWEST)).is_defined


def test_better_and_worse_are_two_sides() -> None:
    values = np.random.default_rng(2).standard_normal(50) + 0.1
    one, other = long_run_test(values), long_run_test(-values)
    assert other.statistic == pytest.approx(-one.statistic)
    assert other.p_better == pytest.approx(one.p_worse)
    assert other.p_two_sided == pytest.approx(one.p_two_sided)


@pytest.mark.parametrize("horizon", [1, 5])
def test_overlapping_labels_need_no_lags(horizon: int) -> None:
    rng = np.random.default_rng(horizon)
    noise = rng.standard_normal((1_000, 250 + horizon - 1))
    sums = np.lib.stride_tricks.sliding_window_view(noise, horizon, axis=1).sum(axis=2)
    won = sum(long_run_test(values).p_better < 0.05 for values in sums)
    assert binom.ppf(0.001, 1_000, 0.05) <= won <= binom.ppf(0.999, 1_000, 0.06)


@pytest.mark.parametrize(
    ("values", "window", "match"),
    [
        ([1.0] * (FEWEST - 1), 1, "at least 4 loss differentials, but there are 3"),
        ([1.0, 2.0, 3.0, np.nan], 1, "loss_differentials must be finite"),
        ([1.0, 2.0, 3.0, 5.0], 5, "window must be between 1 and the number of bars, but is 5"),
    ],
)
def test_values_that_cannot_be_tested_are_refused(
    values: list[float], window: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        fluctuation(values, window)
