"""The backtest equals an account that is kept bar by bar with cash and shares."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puffin.models.evaluation.backtest import Trade, backtest

many = settings(max_examples=150, deadline=None)


@dataclass(frozen=True)
class Case:
    """Prices, forecasts and settings of one backtest."""

    prices: np.ndarray
    forecasts: np.ndarray
    blank: int
    threshold: float
    capital: float
    cost_bps: float
    slippage_bps: float
    short: bool = False

    def run(self) -> Any:
        return backtest(
            self.prices,
            self.forecasts,
            self.threshold,
            self.capital,
            cost_bps=self.cost_bps,
            slippage_bps=self.slippage_bps,
            short=self.short,
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw random walks, and forecasts of varying accuracy after a prefix without any."""
    bars = draw(st.integers(2, 80))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([0.02, 0.02, 0.4]))  # with 0.4 a short position loses all
    prices = 50 * np.exp(np.cumsum(random.normal(0, size, bars)))
    forecasts = prices * np.exp(random.normal(0, draw(st.sampled_from([0.001, 0.02])), bars))
    blank = draw(st.integers(0, bars - 1))
    forecasts[:blank] = np.nan
    return Case(
        prices,
        forecasts,
        blank,
        threshold=draw(st.sampled_from([0.0, 0.002, 0.005, 0.03])),
        capital=draw(st.sampled_from([1.0, 10_000.0])),
        cost_bps=draw(st.sampled_from([0.0, 5.0, 300.0])),
        slippage_bps=draw(st.sampled_from([0.0, 2.0, 200.0])),
        short=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Account:
    """Result of an account."""

    equity: list[float]
    trades: list[Trade]
    held: int


def keep_account(case: Case) -> Account:
    """Step from close to close: value the position, read the next forecast, trade."""
    cost, slip = case.cost_bps / 10_000, case.slippage_bps / 10_000
    cash, shares = case.capital, 0.0
    equity: list[float] = []
    trades: list[Trade] = []
    held = 0
    for bar, price in enumerate(case.prices):
        worth = max(cash + shares * price, 0.0)
        equity.append(worth)
        if bar + 1 == len(case.prices) or math.isnan(case.forecasts[bar + 1]):
            continue
        if worth == 0:  # the broker closes what is left of a short position
            if shares:
                trades.append(("COVER", bar, price * (1 + slip), 0.0))
            cash = shares = 0.0
            continue
        expected = case.forecasts[bar + 1] / price - 1
        rise, fall = expected > case.threshold, expected < -case.threshold
        high, low = price * (1 + slip), price * (1 - slip)
        if shares > 0 and fall:
            cash, shares = shares * low * (1 - cost), 0.0
            trades.append(("SELL", bar, low, cash))
        elif shares < 0 and rise:
            cash, shares = max(cash + shares * high * (1 + cost), 0.0), 0.0
            trades.append(("COVER", bar, high, cash))
        if shares == 0 and rise:
            shares, cash = cash * (1 - cost) / high, 0.0
            trades.append(("BUY", bar, high, shares))
        elif shares == 0 and fall and case.short:
            after = cash * (1 - cost)  # the commission is that of a value of the capital
            shares, cash = -after / low, 2 * after
            trades.append(("SHORT", bar, low, -shares))
        held += shares != 0
    return Account(equity, trades, held)


def near(value: Any) -> Any:
    """Return a value to compare with: rounding grows where a short position loses nearly all."""
    return pytest.approx(value, rel=1e-6, abs=1e-9)


@many
@given(cases())
def test_the_backtest_equals_an_account_kept_bar_by_bar(case: Case) -> None:
    found, account = case.run(), keep_account(case)
    assert list(found["equity"]) == near(account.equity)
    assert [t[:2] for t in found["trades"]] == [t[:2] for t in account.trades]
    for own, wanted in zip(found["trades"], account.trades, strict=True):
        assert own[2:] == near(wanted[2:])
    first = max(case.blank, 1) - 1
    could_hold = len(case.prices) - 1 - first
    assert found["first_bar"] == first
    assert found["exposure"] == pytest.approx(account.held / could_hold)
    assert found["turnover"] == pytest.approx(len(account.trades) * 252 / could_hold)
    assert found["final_capital"] == near(account.equity[-1])
    assert found["total_return"] == near(account.equity[-1] / case.capital - 1)


@many
@given(cases())
def test_drawdown_and_sharpe_ratio_equal_a_loop_over_the_curve(case: Case) -> None:
    found = case.run()
    curve = [float(value) for value in found["equity"][found["first_bar"] :]]
    peak, worst = curve[0], 0.0
    for value in curve:
        peak = max(peak, value)
        worst = max(worst, (peak - value) / peak)
    assert found["max_drawdown"] == pytest.approx(worst, abs=1e-12)
    if len(set(curve)) == 1 or len(curve) == 2:
        assert math.isnan(found["sharpe"])
        return
    returns = [after / before - 1 for before, after in itertools.pairwise(curve)]
    mean = sum(returns) / len(returns)
    variance = sum((r - mean) ** 2 for r in returns) / (len(returns) - 1)
    expected = mean / math.sqrt(variance) * math.sqrt(252)
    assert found["sharpe"] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@many
@given(cases())
def test_buy_and_hold_equals_the_strategy_with_every_forecast_a_rise(case: Case) -> None:
    hold = case.run()["buy_and_hold"]
    rising = case.prices.copy()
    rising[1:] = case.prices[:-1] * 2
    rising[: case.blank] = np.nan
    told = Case(**(vars(case) | {"forecasts": rising})).run()
    for key in ("final_capital", "total_return", "sharpe", "max_drawdown"):
        assert hold[key] == pytest.approx(told[key], nan_ok=True)
    assert hold["equity"] == pytest.approx(told["equity"])
    assert told["exposure"] == 1.0


@many
@given(cases(), st.data())
def test_nothing_after_a_bar_reaches_positions_or_capital_up_to_it(
    case: Case, data: st.DataObject
) -> None:
    last = len(case.prices) - 1
    bar = data.draw(st.integers(max(case.blank, 1) - 1, last))
    later = np.arange(last + 1)
    other = Case(
        **(
            vars(case)
            | {
                "prices": np.where(later > bar, case.prices * 3, case.prices),
                # At a bar the forecast of the next one is known.
                "forecasts": np.where(later > bar + 1, case.forecasts / 2, case.forecasts),
            }
        )
    )
    one, two = case.run(), other.run()
    assert np.array_equal(one["equity"][: bar + 1], two["equity"][: bar + 1])
    assert [t for t in one["trades"] if t[1] <= bar] == [t for t in two["trades"] if t[1] <= bar]


@many
@given(cases())
def test_a_forecast_of_no_change_never_trades(case: Case) -> None:
    persistence = np.append(np.nan, case.prices[:-1])
    persistence[: case.blank] = np.nan
    found = Case(**(vars(case) | {"forecasts": persistence})).run()
    assert found["trades"] == []
    assert set(found["equity"]) == {case.capital}
