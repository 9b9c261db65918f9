"""No baseline's forecast depends on a bar after it was made."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import puffin.models.evaluation.baselines as module
from puffin.models.arrays import Floats
from puffin.models.evaluation.baselines import BASELINES, Baseline
from puffin.models.features import TARGETS, Bars, Series, build_series
from puffin.models.folds import Span

FEATURES = ["return", "range", "price"]
BARS, LOOKBACK = 130, 5
seeds = st.integers(0, 2**32 - 1)


def prices(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, BARS)))
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


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(BASELINES)),
    target=st.sampled_from(sorted(TARGETS)),
    horizon=st.integers(1, 4),
    start=st.integers(90, 110),
    ahead=st.integers(0, 15),
    seed=seeds,
)
def test_a_later_bar_changes_no_baseline_forecast(
    name: str, target: str, horizon: int, start: int, ahead: int, seed: int
) -> None:
    t, score = start + ahead, Span(start, BARS)
    before = prices(seed)
    after = changed(before, slice(t - horizon + 1, None), seed)
    one, other = (forecasts(name, c, target, horizon, score) for c in (before, after))
    assert np.array_equal(one[: ahead + 1], other[: ahead + 1])


@settings(max_examples=8, deadline=None)
@given(name=st.sampled_from(["ar", "ridge"]), horizon=st.integers(1, 4), seed=seeds)
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


# The checker itself


def test_honest_baselines_do_not_leak() -> None:
    assert not any(leaks(name) for name in BASELINES)


def test_lags_that_are_not_known_yet_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module._lags

    def late(series: Series, times: NDArray[np.int64], order: int) -> Floats:
        return honest(series, np.minimum(times + 1, BARS - 1), order)

    monkeypatch.setattr(module, "_lags", late)
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


def test_a_mean_of_the_whole_series_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(series: Series, _lookback: int, _train: Span, score: Span) -> Baseline:
        return Baseline("mean", np.full(len(score), np.nanmean(series.target)))

    monkeypatch.setitem(BASELINES, "mean", whole)
    assert leaks("mean")
