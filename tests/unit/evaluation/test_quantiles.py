"""Quantiles around point forecasts, beside what is worked out from their definition."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from puffin.models.evaluation.baseline import Baseline
from puffin.models.evaluation.baselines import fit_each, persistence, ridge, training_mean
from puffin.models.evaluation.conformal import recent_deviation
from puffin.models.evaluation.pooled_baselines import PooledFit
from puffin.models.evaluation.quantiles import (
    persistence_quantiles,
    quantiles_around,
)
from puffin.models.evaluation.shifted import persistence_with_quantiles, with_quantiles
from puffin.models.features import build_series
from puffin.models.folds import Fold, Span
from puffin.models.losses import quantile_loss
from puffin.models.panel import Member, Part
from puffin.models.scaling import Scaler

LEVELS = (0.1, 0.5, 0.8)
BARS, HORIZON = 600, 2


@pytest.fixture
def part() -> Part:
    generator = np.random.default_rng(1)
    # Volatility is three times as high in the second half.
    noise = generator.normal(size=BARS) * np.repeat([0.01, 0.03], BARS // 2)
    closes = 100 * np.exp(np.cumsum(noise + 0.002))
    series = build_series({"close": closes}, ("return",), "return", HORIZON)
    dates = np.datetime64("2001-01-01") + np.arange(BARS)
    fold = Fold(Span(30, 400), Span(401, BARS))
    return Part(Member("A", dates, series, closes), fold, Scaler.fit(series, fold.train, 5))


def test_quantiles_are_those_of_the_scores_times_the_volatility_that_is_expected() -> None:
    scores, scale = np.arange(-3.0, 8.0), np.array([2.0, 0.5])
    found = quantiles_around(np.array([1.0, -1.0]), scale, scores, LEVELS)
    # Of eleven scores from -3 to 7 the quantiles at 0.1, 0.5 and 0.8 are -2, 2 and 5.
    np.testing.assert_allclose(found, [[1 - 4, 1 + 4, 1 + 10], [-1 - 1, -1 + 1, -1 + 2.5]])


def test_nothing_after_the_forecast_changes_its_quantiles(part: Part) -> None:
    series = part.member.series
    late = series.target.copy()
    late[500:] *= 10
    other = replace(part, member=replace(part.member, series=replace(series, target=late)))
    before, after = (persistence_quantiles(each, LEVELS) for each in (part, other))
    known = 500 + HORIZON - part.fold.valid.start
    np.testing.assert_array_equal(before[:known], after[:known])
    assert (before[known:] != after[known:]).any()


def test_persistence_is_its_own_median_and_has_its_errors_of_all_training_targets(
    part: Part,
) -> None:
    series = part.member.series
    found, persistence = persistence_quantiles(part, LEVELS), part.scored(series.persistence)
    np.testing.assert_array_equal(found[:, 1], persistence)
    deviation = recent_deviation(series.target, HORIZON)
    errors = (series.target - series.persistence)[30:400]
    scores = errors / deviation[30 - HORIZON : 400 - HORIZON]
    ahead = deviation[401 - HORIZON : BARS - HORIZON]
    expected = persistence + ahead * (np.quantile(scores, 0.8) - np.median(scores))
    np.testing.assert_allclose(found[:, 2], expected)


def test_the_first_scores_whose_deviation_is_not_known_are_left_out(part: Part) -> None:
    early = replace(part, fold=Fold(Span(HORIZON, 400), part.fold.valid))
    later = replace(part, fold=Fold(Span(3 * HORIZON, 400), part.fold.valid))
    found = persistence_quantiles(early, LEVELS)
    np.testing.assert_array_equal(found, persistence_quantiles(later, LEVELS))


def test_quantiles_hold_where_volatility_changes(part: Part) -> None:
    actual = part.scored(part.member.series.target)[:, None]
    scaled = (actual < persistence_quantiles(part, LEVELS)).mean(axis=0)
    plain = np.quantile(part.member.series.target[30:400], LEVELS)
    of_one_width = (actual < plain).mean(axis=0)
    # The errors of two bars overlap, so that 199 of them are about 100 draws.
    assert abs(scaled[2] - 0.8) < 0.1 < abs(of_one_width[2] - 0.8)


def mean(parts: Sequence[Part], lookback: int) -> Baseline:
    return fit_each(training_mean, parts, lookback)


def linear(parts: Sequence[Part], lookback: int) -> Baseline:
    return fit_each(ridge, parts, lookback)


def test_a_fitted_baseline_has_the_errors_of_the_last_fifth_that_it_was_not_fitted_to(
    part: Part,
) -> None:
    made = with_quantiles(mean, None, LEVELS, [part], 5)
    target = part.member.series.target
    deviation = recent_deviation(target, HORIZON)
    # 74 of 370 training targets are held out, and the label before the first of them overlaps it.
    held, first = target[326:400], target[30:325].mean()
    scores = (held - first) / deviation[326 - HORIZON : 400 - HORIZON]
    ahead = deviation[401 - HORIZON : BARS - HORIZON]
    expected = target[30:400].mean() + ahead[:, None] * np.quantile(scores, LEVELS)
    np.testing.assert_allclose(made.forecasts, expected)
    assert made.label == "training mean"


@pytest.mark.parametrize("scale", [None, linear])
def test_a_fitted_baseline_forecasts_from_the_past_alone(
    part: Part, scale: PooledFit | None
) -> None:
    series = part.member.series
    target, features = series.target.copy(), series.features.copy()
    target[500:], features[500:] = target[500:] * 10, features[500:] * 10
    other = replace(series, target=target, features=features)
    late = replace(part, member=replace(part.member, series=other))
    before, after = (
        with_quantiles(linear, scale, LEVELS, [each], 5).forecasts for each in (part, late)
    )
    known = 500 + HORIZON - part.fold.valid.start
    np.testing.assert_array_equal(before[:known], after[:known])
    assert (before[known:] != after[known:]).any()


def test_a_ridge_regression_sees_a_volatility_that_the_last_weeks_do_not_show() -> None:
    generator = np.random.default_rng(3)
    # Each bar says how volatile the next one is.
    ahead = generator.choice([0.005, 0.03], size=BARS)
    returns = np.append(0.0, (ahead * generator.normal(size=BARS))[:-1])
    closes = 100 * np.exp(np.cumsum(returns))
    series = build_series({"close": closes}, ("return",), "return", 1)
    series = replace(series, features=np.log(ahead)[:, None])
    dates = np.datetime64("2001-01-01") + np.arange(BARS)
    fold = Fold(Span(30, 400), Span(400, BARS))
    part = Part(Member("A", dates, series, closes), fold, Scaler.fit(series, fold.train, 5))
    actual, loss = part.scored(series.target)[:, None], quantile_loss(LEVELS)
    lately, regressed = (
        loss.per_bar(actual - with_quantiles(mean, scale, LEVELS, [part], 5).forecasts).mean()
        for scale in (None, linear)
    )
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    perfect = loss.per_bar(actual - ahead[399:-1, None] * normal).mean()
    assert perfect < regressed < (perfect + lately) / 2


def test_persistence_has_the_label_that_it_has_without_quantiles(part: Part) -> None:
    plain = fit_each(persistence, [part], 5)
    assert persistence_with_quantiles(LEVELS, [part], 5).label == plain.label
