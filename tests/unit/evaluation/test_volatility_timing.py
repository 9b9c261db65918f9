"""Volatility timing equals an account of cash and shares; the fee makes utilities equal."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import growth_rates
from puffin.models.evaluation.volatility_timing import (
    equal_parts_managed,
    hold_weights,
    performance_fee,
    timing_weights,
)


def account(prices: Floats, weights: Floats, rate: float) -> tuple[list[float], float]:
    """Return the capital at each close and the traded value over it, of cash and shares."""
    cash, shares, traded = 10_000.0, 0.0, 0.0
    equity = [cash]
    for close, later, weight in zip(prices[:-1], prices[1:], weights, strict=True):
        worth = cash + shares * close
        wanted = weight * worth / close
        value = abs(wanted - shares) * close
        cash -= (wanted - shares) * close + rate * value
        shares = wanted
        traded += value / worth
        equity.append(cash + shares * later)
    return equity, traded


@pytest.mark.parametrize("seed", range(3))
def test_a_restored_weight_equals_an_account_of_cash_and_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, 61)))
    weights = rng.uniform(0, 2, 60)
    found = hold_weights(prices, weights, 25.0, 252.0)
    equity, traded = account(prices, weights, 0.0025)
    assert found["equity"].tolist() == pytest.approx(equity, rel=1e-12)
    assert found["turnover"] == pytest.approx(traded * 252 / 60)
    assert found["exposure"] == pytest.approx(weights.mean())
    returns = np.diff(equity) / equity[:-1]
    assert found["volatility"] == pytest.approx(returns.std(ddof=1) * math.sqrt(252))
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))


def test_two_bars_by_hand() -> None:
    # 5,000 of shares at 1 % costs 50; they rise by a tenth: 10,000 - 50 + 500 = 10,450. Half of it
    # is 5,225, less than the 5,500 that are held: 2.75 for the sale of 275. A fall by a fifth.
    found = hold_weights(np.array([10.0, 11.0, 8.8]), np.array([0.5, 0.5]), 100.0, 2.0)
    assert found["equity"].tolist() == pytest.approx([10_000, 10_450, 10_450 - 2.75 - 1_045])
    assert found["turnover"] == pytest.approx(0.5 + 275 / 10_450)


def test_debt_can_lose_all_capital_and_not_more() -> None:
    found = hold_weights(np.array([10.0, 4.0, 8.0, 16.0]), np.full(3, 2.0), 0.0, 252.0)
    assert found["equity"].tolist() == [10_000, 0, 0, 0]
    assert found["total_return"] == -1.0
    assert growth_rates(found["equity"]).tolist() == [-1, 0, 0]


def test_at_the_usual_volatility_the_weight_is_half_of_the_largest() -> None:
    forecast = np.array([0.01, 0.02, 0.03, 0.06, np.inf])
    expected = [2.0, 1.5, 1.0, 0.5, 0.0]
    assert timing_weights(forecast, 0.03, 2.0).tolist() == pytest.approx(expected)


def test_a_portfolio_has_the_mean_of_its_parts() -> None:
    prices = np.array([[10.0, 11.0, 12.0], [10.0, 8.0, 12.0]])
    parts = [hold_weights(p, np.array([1.0, 0.5]), 0.0, 252.0) for p in prices]
    found = equal_parts_managed(parts, [np.arange(3)] * 2, 3, 252.0)
    assert found["equity"] == pytest.approx((parts[0]["equity"] + parts[1]["equity"]) / 2)
    assert found["exposure"] == pytest.approx(0.75)
    assert found["turnover"] == pytest.approx((parts[0]["turnover"] + parts[1]["turnover"]) / 2)
    alone = equal_parts_managed(parts[:1], [np.arange(3)], 3, 252.0)
    assert alone["sharpe"] == pytest.approx(parts[0]["sharpe"])
    assert alone["turnover"] == pytest.approx(parts[0]["turnover"])


def utility(gross: Floats, aversion: float) -> float:
    return float(np.sum(gross - aversion / (2 * (1 + aversion)) * gross**2))


@pytest.mark.parametrize("aversion", [1.0, 10.0])
def test_after_the_fee_both_returns_have_one_utility(aversion: float) -> None:
    rng = np.random.default_rng(0)
    calm, wild = rng.normal(0.001, 0.01, 250), rng.normal(0.001, 0.02, 250)
    for own, other in ((calm, wild), (wild, calm)):
        expected = brentq(
            lambda fee, own=own, other=other: (
                utility(1 + own - fee, aversion) - utility(1 + other, aversion)
            ),
            -0.02,
            0.02,
            xtol=1e-14,
        )
        found = performance_fee(own, other, aversion, 252.0)
        assert found.value == pytest.approx(expected * 252 * 10_000, rel=1e-6)


def test_the_fee_of_a_riskless_gain_is_the_gain() -> None:
    other = np.random.default_rng(1).normal(0, 0.01, 50)
    found = performance_fee(other + 0.0001, other, 1.0, 252.0)
    assert found.value == pytest.approx(252.0)  # a basis point a bar
    assert performance_fee(other, other, 1.0, 252.0).value == 0.0


def test_the_error_of_a_fee_is_how_far_fees_of_many_samples_are_apart() -> None:
    rng = np.random.default_rng(2)
    drawn = [
        performance_fee(rng.normal(0, 0.01, 250), rng.normal(0, 0.01, 250), 10.0, 252.0)
        for _ in range(400)
    ]
    spread = np.std([fee.value for fee in drawn])
    assert np.mean([fee.error for fee in drawn]) == pytest.approx(spread, rel=0.1)
    assert math.isnan(performance_fee(np.ones(3), np.zeros(3), 1.0, 252.0).error) is False
    assert math.isnan(performance_fee(np.arange(3) / 9, np.zeros(3), 1.0, 252.0).error)


def test_a_volatility_that_is_known_is_worth_a_fee_if_returns_pay_for_no_risk() -> None:
    """Half of the time volatility is three times as large, and the mean return the same."""
    rng = np.random.default_rng(3)
    volatility = np.where(rng.random(2_000) < 0.5, 0.005, 0.015)
    prices = 100 * np.cumprod(np.append(1, 1 + 0.0005 + volatility * rng.standard_normal(2_000)))
    usual = float((volatility**2).mean() ** 0.5)
    timed = timing_weights(volatility, usual, 2.0)
    constant = np.full(2_000, timed.mean())
    own, other = (
        growth_rates(hold_weights(prices, w, 0.0, 252.0)["equity"]) for w in (timed, constant)
    )
    found = performance_fee(own, other, 10.0, 252.0)
    assert found.value > 2 * found.error > 0
