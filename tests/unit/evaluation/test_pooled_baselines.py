"""One simple model for all symbols of a basket, against scikit-learn on their stacked windows."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import LeftOutError, TooShortError
from puffin.models.evaluation.baselines import (
    ALPHAS,
    autoregression,
    fit_each,
    flat_windows,
    ridge,
    ridge_windows,
)
from puffin.models.evaluation.pooled_baselines import (
    POOLED,
    autoregression_of_all,
    ridge_of_all,
    ridge_of_each,
)
from puffin.models.features import TARGETS, Series, build_series
from puffin.models.folds import Fold, Span
from puffin.models.panel import Member, Part, by_part, calendar, parts
from tests import rivals

LOOKBACK, BARS = 5, 200
FOLD = Fold(Span(20, 150), Span(152, 200))


def member(symbol: str, seed: int, target: str = "range", horizon: int = 1) -> Member:
    """Return random bars whose range follows the one before, on consecutive days."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, BARS)))
    size = np.zeros(BARS)
    for bar in range(1, BARS):
        size[bar] = 0.7 * size[bar - 1] + 0.3 * rng.standard_normal()
    reach = 0.01 * np.exp(size + seed)
    columns = {"close": close, "high": close * np.exp(reach), "low": close / np.exp(reach)}
    days = np.datetime64("2020-01-01", "us") + np.arange(BARS) * np.timedelta64(1, "D")
    return Member(symbol, days, build_series(columns, ["return", "range"], target, horizon), close)


def fold_of(members: Sequence[Member], fold: Fold = FOLD) -> tuple[Part, ...]:
    return parts(members, calendar(members), fold, LOOKBACK)


def three(target: str = "range", horizon: int = 1) -> list[Member]:
    return [member(symbol, seed, target, horizon) for seed, symbol in enumerate("ABC")]


def standardised(part: Part, span: Span) -> tuple[Floats, Floats]:
    """Return windows and targets of a symbol, in units of its training part."""
    target = part.member.series.target[span.start : span.stop]
    windows = flat_windows(part.member.series, part.scaler, 22, span)
    return windows, part.scaler.scale_target(target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("name", POOLED)
def test_every_pooled_baseline_forecasts_every_target_of_every_symbol(
    name: str, target: str, horizon: int
) -> None:
    members = three(target, horizon)
    if not rivals.forecasts(name, target):
        with pytest.raises(LeftOutError, match="a range or a volatility alone"):
            POOLED[name](fold_of(members), LOOKBACK)
        return
    found = POOLED[name](fold_of(members), LOOKBACK).forecasts
    assert found.shape == (3 * 48,)
    assert np.isfinite(found).all()
    # In another order each symbol has the same forecasts.
    other = fold_of(members[::-1])
    again = by_part(other, POOLED[name](other, LOOKBACK).forecasts)
    assert np.concatenate(again[::-1]) == pytest.approx(found, rel=1e-8)


@pytest.mark.parametrize("name", POOLED)
def test_a_label_that_another_symbol_does_not_know_yet_is_refused(name: str) -> None:
    first, *others = fold_of(three())
    late = replace(first, fold=Fold(Span(20, 160), Span(170, 200)))
    with pytest.raises(ValueError, match=re.escape("of all symbols, of 2020-06-08")):
        POOLED[name]([late, *others], LOOKBACK)


def test_the_ridge_of_one_symbol_is_the_ridge_of_that_symbol() -> None:
    (part,) = fold_of([member("A", 0)])
    alone = ridge(part.member.series, LOOKBACK, part.fold.train, part.fold.valid)
    pooled = ridge_of_all([part], LOOKBACK)
    assert pooled.label == alone.label.replace("ridge", "ridge of all symbols")
    assert pooled.forecasts == pytest.approx(alone.forecasts, rel=1e-8)


def test_a_ridge_of_each_symbol_is_that_of_each() -> None:
    found = fold_of(three())
    alone = fit_each(ridge, found, LOOKBACK)
    fast = ridge_of_each(found, LOOKBACK)
    assert fast.label == "ridge of each symbol"
    assert fast.forecasts == pytest.approx(alone.forecasts, rel=1e-8)


def test_the_autoregression_of_one_symbol_is_that_of_that_symbol() -> None:
    (part,) = fold_of([member("A", 0)])
    alone = autoregression(part.member.series, LOOKBACK, part.fold.train, part.fold.valid)
    pooled = autoregression_of_all([part], LOOKBACK)
    assert pooled.label == f"{alone.label} of all symbols"
    assert pooled.forecasts == pytest.approx(alone.forecasts, rel=1e-8)


@pytest.mark.parametrize("horizon", [1, 4])
def test_the_ridge_of_all_is_that_of_their_stacked_windows(horizon: int) -> None:
    members = three(horizon=horizon)
    # A symbol that begins late and has every other day only.
    kept = slice(61, None, 2)
    last = members[2]
    thin = Series(
        last.series.features[kept], last.series.target[kept], last.series.persistence[kept], 0, 1
    )
    if horizon == 1:
        members[2] = Member("C", last.dates[kept], thin, last.closes[kept])
    found = fold_of(members, Fold(Span(20, 180), Span(184, 200)))
    assert len(found) == 3
    spans = [ridge_windows(part.member.series, LOOKBACK, part.fold.train)[1] for part in found]
    train = [standardised(part, span) for part, span in zip(found, spans, strict=True)]
    columns, target = (np.concatenate(each) for each in zip(*train, strict=True))
    bars = [np.arange(span.start, span.stop) for span in spans]
    dates = np.concatenate([p.member.dates[b] for p, b in zip(found, bars, strict=True)])
    origins = np.concatenate(
        [p.member.dates[b - p.member.series.horizon] for p, b in zip(found, bars, strict=True)]
    )
    days = np.unique(dates)
    size = len(days) // 6
    starts = [len(days) - k * size for k in (5, 4, 3, 2, 1)]
    folds = [
        (
            np.flatnonzero(dates < days[start]),
            np.flatnonzero(
                (dates >= days[start])
                & (dates <= days[start + size - 1])
                & (origins >= days[start - 1])
            ),
        )
        for start in starts
    ]
    model = RidgeCV(ALPHAS, cv=folds, scoring="neg_mean_squared_error").fit(columns, target)
    pooled = ridge_of_all(found, LOOKBACK)
    assert pooled.label == f"ridge of all symbols, alpha {model.alpha_:g}"
    refitted = Ridge(model.alpha_).fit(columns, target)
    for part, forecasts in zip(found, by_part(found, pooled.forecasts), strict=True):
        scaled = refitted.predict(standardised(part, part.fold.valid)[0])
        assert forecasts == pytest.approx(part.scaler.unscale_target(scaled), rel=1e-8)


def test_too_few_dates_for_the_folds_are_refused() -> None:
    found = fold_of(three(horizon=12), Fold(Span(20, 75), Span(100, 200)))
    with pytest.raises(TooShortError, match="there are too few dates"):
        ridge_of_all(found, LOOKBACK)
