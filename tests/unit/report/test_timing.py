"""Weights of volatility timing: which bar each is held over, and how periods are joined."""

import numpy as np
import pandas as pd
import pytest

from puffin.models.arrays import Floats
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.report.timing import Sized, joined, sized, time_volatility
from puffin.studies.report.trading import why_no_backtest
from puffin.studies.sections import BacktestSection
from puffin.studies.spec import parse_spec

DAYS = pd.bdate_range("2020-01-01", periods=150)


def holdout(target: str, horizon: int = 1, shift: float = 0.0) -> Dataset:
    """Return a holdout of 20 bars of a random walk."""
    spec = parse_spec(
        {
            "name": "timed",
            "data": {
                "symbol": "NONE",
                "features": ["change"],
                "target": target,
                "horizon": horizon,
            },
            "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 20},
            "space": {"hidden_dim": 4, "lookback": [2, 3]},
        },
        "timed",
    )
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(150))) - shift
    spread = 1 + 0.01 * rng.random(150)
    columns = {"close": close, "high": 200 * spread, "low": np.full(150, 200.0)}
    search, sealed = cut_holdout({"NONE": pd.DataFrame(columns, DAYS)}, spec)
    return Dataset.for_holdout(spec, search, sealed)


def falling(count: int) -> Floats:
    """Return forecasts, in logarithms, that tell the weights of the bars apart."""
    return np.linspace(-6.0, -3.0, count)


@pytest.mark.parametrize(
    ("target", "horizon", "first"),
    # The holdout's 20 scored bars are the last of 150. What is forecast of several bars at once is
    # held over the first of them.
    [("range", 1, 130), ("range", 5, 130), ("volatility", 1, 130), ("volatility", 5, 126)],
)
def test_a_weight_is_held_over_the_first_bar_that_its_forecast_is_of(
    target: str, horizon: int, first: int
) -> None:
    opened = holdout(target, horizon)
    (found,) = sized(opened, falling(20), falling(20))
    assert (len(found.weights), len(found.closes)) == (20, 21)
    assert list(found.bars) == list(DAYS.to_numpy()[first - 1 : first + 20])
    closes = opened.members[0].closes
    assert found.closes.tolist() == closes[first - 1 : first + 20].tolist()
    # The forecast of the first scored bar is made `horizon` bars before it, at the latest at the
    # close at which its weight is set.
    assert 130 - horizon <= first - 1
    assert np.all(np.diff(found.weights) <= 0)


def test_the_usual_volatility_is_that_of_the_search_part() -> None:
    opened = holdout("range")
    target = opened.members[0].series.target
    train = opened.parts[0][0].fold.train
    assert train.stop <= 130
    usual = np.sqrt(np.mean(np.exp(2 * target[train.start : train.stop])))
    (found,) = sized(opened, np.full(20, np.log(usual)), np.full(20, np.log(2 * usual)))
    assert found.weights == pytest.approx(np.full(20, 0.5))
    assert found.rival_weights == pytest.approx(np.full(20, 0.25))


def test_there_is_no_timing_of_a_return_or_without_positive_closes() -> None:
    returns = holdout("change")
    assert sized(returns, falling(20), falling(20)) == []
    negative = holdout("range", shift=200.0)
    assert sized(negative, falling(20), falling(20)) == []
    assert why_no_backtest(negative) == (
        "a range cannot be bought, and a close is zero or negative, so there are no returns in per "
        "cent"
    )
    assert time_volatility([], 252.0, BacktestSection(), "none") is None


def period(days: slice, weight: float) -> Sized:
    dates, count = DAYS.to_numpy()[days], len(DAYS[days])
    closes = np.arange(100.0, 250.0)[days]
    return Sized("A", dates, closes, np.full(count - 1, weight), np.full(count - 1, weight / 2))


def test_periods_that_touch_are_joined_and_in_a_gap_the_last_weight_is_held() -> None:
    found = joined([period(slice(0, 4), 0.1), period(slice(3, 6), 0.2), period(slice(10, 12), 0.3)])
    days = [*range(6), 10, 11]
    assert list(found.bars) == list(DAYS.to_numpy()[days])
    assert found.closes.tolist() == [100.0 + day for day in days]
    assert found.weights.tolist() == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3]
    assert found.rival_weights.tolist() == [0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.15]
    assert len(found.weights) == len(found.closes) - 1


def test_symbols_have_equal_parts_and_a_rival_of_equal_forecasts_is_worth_nothing() -> None:
    parts = [period(slice(0, 30), 0.5), period(slice(0, 30), 1.0)]
    found = time_volatility(parts, 252.0, BacktestSection(), "rival")
    assert found is not None
    assert found.winner["exposure"] == 0.75
    assert found.rival["exposure"] == 0.375
    assert found.winner["equity"] == pytest.approx(found.constant["equity"])
    assert [fee.value for fee in found.over_constant] == pytest.approx([0.0, 0.0])
