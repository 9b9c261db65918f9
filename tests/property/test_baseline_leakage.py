"""No baseline's forecast depends on a bar after it was made."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import puffin.models.evaluation.baselines as module
import puffin.models.evaluation.volatility_baselines as of_volatility
from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import Baseline
from puffin.models.evaluation.baselines import BASELINES
from puffin.models.evaluation.pooled_baselines import POOLED
from puffin.models.features import TARGETS, Bars, Series, build_series
from puffin.models.folds import Fold, Span
from puffin.models.panel import Member, by_part, calendar, parts
from tests import rivals

FEATURES = ["return", "range", "price"]
BARS, LOOKBACK = 130, 5
seeds = st.integers(0, 2**32 - 1)


def prices(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    # Calm and wild by turns, so that volatility can be forecast.
    size = np.where(np.arange(BARS) // 15 % 2, 0.03, 0.006)
    close = 100 * np.exp(np.cumsum(size * rng.standard_normal(BARS)))
    reach = np.exp(rng.exponential(0.01, (2, BARS)))
    return {"close": close, "high": close * reach[0], "low": close / reach[1]}


def changed(columns: Bars, bars: slice, seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    out = {name: values.copy() for name, values in columns.items()}
    for values in out.values():
        values[bars] *= np.exp(rng.normal(0.1, 0.3, len(values[bars])))
    return out


def forecasts(name: str, columns: Bars, target: str, horizon: int, score: Span) -> Floats:
    series = build_series(columns, FEATURES, target, horizon)
    train = Span(LOOKBACK + horizon, score.start - horizon + 1)
    return BASELINES[name](series, LOOKBACK, train, score).forecasts


# Every baseline with every target that it forecasts.
PAIRS = [(n, t) for n in rivals.FITTED for t in sorted(TARGETS) if rivals.forecasts(n, t)]


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    horizon=st.integers(1, 4),
    start=st.integers(95, 110),  # a regression of six inputs needs 60 targets
    ahead=st.integers(0, 15),
    seed=seeds,
)
def test_a_later_bar_changes_no_baseline_forecast(
    pair: tuple[str, str], horizon: int, start: int, ahead: int, seed: int
) -> None:
    (name, target), (t, score) = pair, (start + ahead, Span(start, BARS))
    before = prices(seed)
    after = changed(before, slice(t - horizon + 1, None), seed)
    one, other = (forecasts(name, c, target, horizon, score) for c in (before, after))
    assert np.array_equal(one[: ahead + 1], other[: ahead + 1])


LEARNED = sorted(set(rivals.FITTED) - {"persistence", "drift", "mean"})


@settings(max_examples=16, deadline=None)
@given(name=st.sampled_from(LEARNED), horizon=st.integers(1, 4), seed=seeds)
def test_the_last_known_bar_changes_the_baseline_forecast(
    name: str, horizon: int, seed: int
) -> None:
    score = Span(100, BARS)
    before = prices(seed)
    after = changed(before, slice(110 - horizon, 111 - horizon), seed)
    one, other = (forecasts(name, c, "range", horizon, score) for c in (before, after))
    assert np.array_equal(one[:10], other[:10])
    assert one[10] != other[10]


def leaks(name: str, horizon: int = 2) -> bool:
    before, score = prices(0), Span(100, BARS)
    after = changed(before, slice(101, None), 0)
    one, other = (forecasts(name, c, "range", horizon, score) for c in (before, after))
    return not np.array_equal(one[: horizon + 1], other[: horizon + 1])


def pooled_forecasts(name: str, basket: list[Bars], horizon: int) -> list[Floats]:
    """Return the forecasts of each symbol; the second has every other day only."""
    days = np.datetime64("2020-01-01", "us") + np.arange(BARS) * np.timedelta64(1, "D")
    members = []
    for symbol, columns in enumerate(basket):
        kept = slice(symbol % 2, None, 1 + symbol % 2)
        bars = {key: values[kept] for key, values in columns.items()}
        series = build_series(bars, FEATURES, "range", horizon)
        members.append(Member(str(symbol), days[kept], series, bars["close"]))
    fold = Fold(Span(LOOKBACK + horizon, 116 - horizon), Span(116, BARS))
    found = parts(members, calendar(members), fold, LOOKBACK)
    return by_part(found, POOLED[name](found, LOOKBACK).forecasts)


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(POOLED)),
    horizon=st.integers(1, 2),
    altered=st.sampled_from([0, 1]),
    day=st.integers(116, 127).filter(lambda day: day % 2 == 1),
    seed=seeds,
)
def test_a_later_bar_of_a_symbol_changes_no_pooled_forecast_of_any(
    name: str, horizon: int, altered: int, day: int, seed: int
) -> None:
    before = [prices(seed + symbol) for symbol in range(2)]
    after = list(before)
    after[altered] = changed(before[altered], slice(day + 1, None), seed)
    dates = [np.arange(BARS), np.arange(1, BARS, 2)]
    for ones, others, bars in zip(
        pooled_forecasts(name, before, horizon),
        pooled_forecasts(name, after, horizon),
        dates,
        strict=True,
    ):
        # The forecasts that are made at the close of this day or earlier.
        made = bars[-len(ones) - horizon :][: len(ones)]
        assert np.array_equal(ones[made <= day], others[made <= day])
        assert len(ones)


# The checker itself


def test_honest_baselines_do_not_leak() -> None:
    assert not any(leaks(name) for name in rivals.FITTED)


def test_lags_that_are_not_known_yet_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.known_lags

    def late(series: Series, times: NDArray[np.int64], order: int) -> Floats:
        return honest(series, np.minimum(times + 1, BARS - 1), order)

    monkeypatch.setattr(module, "known_lags", late)
    assert leaks("ar")


def test_windows_that_end_a_bar_late_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.flat_windows
    monkeypatch.setattr(
        module,
        "flat_windows",
        lambda series, scaler, lookback, span: honest(
            series, scaler, lookback, Span(span.start + 1, span.stop + 1)
        ),
    )
    assert leaks("ridge")


@pytest.mark.parametrize("name", sorted(rivals.OF_VOLATILITY & set(rivals.FITTED)))
def test_averages_that_are_a_bar_ahead_are_detected(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = of_volatility._regress

    def late(inputs: Floats, series: Series, train: Span, score: Span) -> tuple[Floats, float]:
        return honest(np.append(inputs[1:], inputs[-1:], axis=0), series, train, score)

    monkeypatch.setattr(of_volatility, "_regress", late)
    assert leaks(name)


def test_a_mean_of_the_whole_series_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(series: Series, _lookback: int, _train: Span, score: Span) -> Baseline:
        return Baseline("mean", np.full(len(score), np.nanmean(series.target)))

    monkeypatch.setitem(BASELINES, "mean", whole)
    assert leaks("mean")
