"""Models of volatility, against designs that are written out bar by bar."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import Fit, LeftOutError, MissingPackageError, TooShortError
from puffin.models.evaluation.baselines import BASELINES
from puffin.models.evaluation.pooled_baselines import (
    POOLED,
    PooledFit,
    ewma_of_all,
    har_of_all,
    lhar_of_all,
)
from puffin.models.evaluation.volatility_baselines import ewma, garch, har, lhar
from puffin.models.evaluation.volatility_inputs import DECAYS, log_conditional_deviation
from puffin.models.features import TARGETS, Series, build_series
from puffin.models.folds import Fold, Span
from puffin.models.panel import Member, Part, by_part, calendar, parts

BARS, LOOKBACK = 400, 5
TRAIN, SCORE = Span(40, 300), Span(310, 400)
Design = Callable[[Floats, Floats, int], list[float]]


def columns(seed: int = 0, bars: int = BARS) -> dict[str, Floats]:
    """Return bars whose volatility is persistent, and higher after a fall."""
    rng = np.random.default_rng(seed)
    size, returns = np.zeros(bars), np.zeros(bars)
    for bar in range(1, bars):
        fall = min(returns[bar - 1], 0.0)
        size[bar] = 0.9 * size[bar - 1] - 5 * fall + 0.2 * rng.standard_normal()
        returns[bar] = 0.01 * np.exp(size[bar]) * rng.standard_normal()
    close = 100 * np.exp(np.cumsum(returns))
    reach = 0.01 * np.exp(size + 0.5 * rng.standard_normal(bars))
    return {"close": close, "high": close * np.exp(reach), "low": close / np.exp(reach)}


def series_of(target: str, horizon: int, seed: int = 0) -> Series:
    return build_series(columns(seed), ["return", "range"], target, horizon)


def har_row(target: Floats, _returns: Floats, last: int) -> list[float]:
    """Return what is known at bar `last`."""
    return [1.0, *(float(np.mean(target[last - bars + 1 : last + 1])) for bars in (1, 5, 22))]


def lhar_row(target: Floats, returns: Floats, last: int) -> list[float]:
    return [*har_row(target, returns, last), min(returns[last], 0.0), abs(returns[last])]


@pytest.mark.parametrize(("target", "horizon"), [("range", 1), ("range", 3), ("volatility", 4)])
@pytest.mark.parametrize(("fit", "row"), [(har, har_row), (lhar, lhar_row)])
def test_a_regression_on_averages_solves_its_written_out_design(
    fit: Fit, row: Design, target: str, horizon: int
) -> None:
    series = series_of(target, horizon)
    close = columns()["close"]
    returns = np.append(np.nan, np.log(close[1:] / close[:-1]))
    design = {t: row(series.target, returns, t - horizon) for t in range(40, 400)}
    rows = np.array([design[t] for t in range(40, 300)])
    weights = np.linalg.solve(rows.T @ rows, rows.T @ series.target[40:300])
    expected = [design[t] @ weights for t in range(310, 400)]
    assert fit(series, LOOKBACK, TRAIN, SCORE).forecasts == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_decay_of_an_exponential_average_is_the_best_of_the_training_part(
    horizon: int,
) -> None:
    series = series_of("range", horizon)
    target = pd.Series(series.target[horizon:], np.arange(horizon, BARS))
    errors, forecasts = [], []
    for decay in DECAYS:
        # pandas calls the share of the newest value alpha; the first average is the first value.
        level = target.ewm(alpha=1 - decay, adjust=False).mean()
        known = level.reindex(np.arange(40, BARS) - horizon).to_numpy()
        slope, constant = np.polyfit(known[:260], series.target[40:300], 1)
        errors.append(np.mean((series.target[40:300] - constant - slope * known[:260]) ** 2))
        forecasts.append(constant + slope * known[270:])
    best = int(np.argmin(errors))
    assert 0 < best < len(DECAYS) - 1, "these ranges tell the decays apart"
    found = ewma(series, LOOKBACK, TRAIN, SCORE)
    assert found.label == f"EWMA, decay {DECAYS[best]:.2f}"
    assert found.forecasts == pytest.approx(forecasts[best], rel=1e-8)


def test_regressions_on_averages_find_the_persistence_of_a_volatility() -> None:
    series = series_of("range", 1)
    actual = series.target[310:400]
    errors = {
        name: np.mean((actual - BASELINES[name](series, LOOKBACK, TRAIN, SCORE).forecasts) ** 2)
        for name in ("persistence", "mean", "har", "lhar", "ewma")
    }
    assert max(errors[name] for name in ("har", "lhar", "ewma")) < errors["persistence"]
    assert errors["persistence"] < errors["mean"]
    assert errors["lhar"] < errors["har"], "a fall raises the volatility of the next bar"


# GARCH


def test_a_garch_recovers_the_volatility_of_a_simulated_one() -> None:
    pytest.importorskip("arch", reason="of the extra garch")
    rng = np.random.default_rng(0)
    variance, returns = np.ones(3001), np.full(3001, np.nan)
    for bar in range(3000):
        returns[bar + 1] = np.sqrt(variance[bar]) * rng.standard_normal()
        variance[bar + 1] = 0.05 + 0.1 * returns[bar + 1] ** 2 + 0.85 * variance[bar]
    found = log_conditional_deviation(0.01 * returns, Span(1, 2000))
    # In units of the returns' deviation; variance[t] is known at t, and of the bar after.
    unit = np.log(np.std(returns[1:2000]))
    assert found[200:] + unit == pytest.approx(np.log(variance[200:]) / 2, abs=0.15)


def test_the_regression_on_a_garch_is_that_on_the_log_of_its_deviation() -> None:
    pytest.importorskip("arch", reason="of the extra garch")
    series = series_of("range", 2)
    known = log_conditional_deviation(series.returns, TRAIN)[38:398]
    slope, constant = np.polyfit(known[:260], series.target[40:300], 1)
    found = garch(series, LOOKBACK, TRAIN, SCORE)
    assert found.forecasts == pytest.approx(constant + slope * known[270:])
    assert slope > 0.3


def test_without_the_package_arch_there_is_no_garch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.univariate", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'puffin-tuner\[garch\]'"):
        garch(series_of("range", 1), LOOKBACK, TRAIN, SCORE)


# What is left out


def test_a_range_and_a_volatility_have_models_of_volatility_and_other_targets_none() -> None:
    assert {name for name, target in TARGETS.items() if target.is_volatility} == {
        "range",
        "volatility",
    }
    assert series_of("price", 1).returns is None


@pytest.mark.parametrize("fit", [lhar, garch])
def test_prices_without_positive_closes_have_no_leverage(fit: Fit) -> None:
    bars = columns()
    bars["close"] = np.append(0.0, bars["close"][1:])
    series = build_series(bars, ["range"], "range")
    assert series.returns is None
    assert len(har(series, LOOKBACK, TRAIN, SCORE).forecasts) == 90
    with pytest.raises(LeftOutError, match="a close is missing, zero or negative"):
        fit(series, LOOKBACK, TRAIN, SCORE)


def test_closes_that_never_change_have_no_garch() -> None:
    series = build_series(columns() | {"close": np.full(BARS, 5.0)}, ["range"], "range")
    with pytest.raises(LeftOutError, match="the closes never change"):
        garch(series, LOOKBACK, TRAIN, SCORE)


@pytest.mark.parametrize(("fit", "needed"), [(har, 40), (lhar, 60), (ewma, 20)])
def test_a_regression_needs_ten_targets_for_each_coefficient(fit: Fit, needed: int) -> None:
    series = series_of("range", 1)
    assert len(fit(series, LOOKBACK, Span(40, 40 + needed), SCORE).forecasts) == 90
    with pytest.raises(TooShortError, match=f"needs {needed} training targets"):
        fit(series, LOOKBACK, Span(40, 39 + needed), SCORE)


# Of all symbols


def found_parts(horizon: int = 1) -> tuple[Part, ...]:
    """Return a fold of three symbols, of which one began late and has every other day."""
    days = np.datetime64("2020-01-01", "us") + np.arange(BARS) * np.timedelta64(1, "D")
    members = []
    for seed, symbol in enumerate("ABC"):
        kept = slice(41, None, 2) if symbol == "C" else slice(None)
        bars = {name: values[kept] for name, values in columns(seed).items()}
        series = build_series(bars, ["return", "range"], "range", horizon)
        members.append(Member(symbol, days[kept], series, bars["close"]))
    return parts(members, calendar(members), Fold(Span(40, 300), Span(320, 400)), LOOKBACK)


def standardised(part: Part) -> tuple[Floats, Floats]:
    """Return the target and the returns of a symbol in units of its training part."""
    series, train = part.member.series, part.fold.train
    learned = series.target[train.start : train.stop]
    returns = np.append(np.nan, np.diff(np.log(part.member.closes)))
    unit = np.std(returns[train.start : train.stop])
    return (series.target - learned.mean()) / learned.std(), returns / unit


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize(("fit", "row"), [(har_of_all, har_row), (lhar_of_all, lhar_row)])
def test_one_regression_of_all_symbols_solves_their_stacked_designs(
    fit: PooledFit, row: Design, horizon: int
) -> None:
    found = found_parts(horizon)
    stacked: list[list[float]] = []
    targets: list[float] = []
    for part in found:
        target, returns = standardised(part)
        # The average of 22 targets is known from the bar at which 22 targets are.
        first = max(part.fold.train.start, 2 * horizon + 21)
        for t in range(first, part.fold.train.stop):
            stacked.append(row(target, returns, t - horizon))
            targets.append(target[t])
    weights = np.linalg.lstsq(np.array(stacked), np.array(targets))[0]
    forecasts = by_part(found, fit(found, LOOKBACK).forecasts)
    for part, of_symbol in zip(found, forecasts, strict=True):
        target, returns = standardised(part)
        valid = range(part.fold.valid.start, part.fold.valid.stop)
        ahead = np.array([row(target, returns, t - horizon) for t in valid]) @ weights
        train = part.member.series.target[part.fold.train.start : part.fold.train.stop]
        assert of_symbol == pytest.approx(ahead * train.std() + train.mean(), rel=1e-7)


@pytest.mark.parametrize("name", ["har", "lhar", "ewma"])
def test_the_regression_of_all_symbols_is_that_of_the_symbol_if_there_is_one(name: str) -> None:
    part = found_parts()[0]
    alone = BASELINES[name](part.member.series, LOOKBACK, part.fold.train, part.fold.valid)
    pooled = POOLED[f"{name}_of_all"]([part], LOOKBACK)
    assert pooled.label.replace(" of all symbols", "") == alone.label
    assert pooled.forecasts == pytest.approx(alone.forecasts, rel=1e-8)


@pytest.mark.parametrize("horizon", [1, 3])
def test_all_symbols_share_the_decay_that_fits_all_best(horizon: int) -> None:
    found = found_parts(horizon)
    errors = []
    for decay in DECAYS:
        known, actual = [], []
        for part in found:
            target, train = pd.Series(standardised(part)[0]), part.fold.train
            level = target.ewm(alpha=1 - decay, adjust=False).mean().to_numpy()
            rows = np.arange(max(train.start, 2 * horizon), train.stop)
            known.append(level[rows - horizon])
            actual.append(target.to_numpy()[rows])
        inputs, targets = np.concatenate(known), np.concatenate(actual)
        slope, constant = np.polyfit(inputs, targets, 1)
        errors.append(np.mean((targets - constant - slope * inputs) ** 2))
    best = DECAYS[int(np.argmin(errors))]
    assert ewma_of_all(found, LOOKBACK).label == f"EWMA of all symbols, decay {best:.2f}"


def test_a_symbol_with_few_targets_of_its_own_learns_from_the_others() -> None:
    found = found_parts()
    thin = replace(found[2], fold=replace(found[2].fold, train=Span(40, 60)))
    with pytest.raises(TooShortError):
        har_of_all([thin], LOOKBACK)
    assert np.isfinite(har_of_all([*found[:2], thin], LOOKBACK).forecasts).all()
