"""The backtest against accounts kept by hand, and what its alignment can and cannot earn."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.evaluation.backtest import Trade, backtest

NAN = math.nan


def approx(value: Any) -> Any:
    return pytest.approx(value, rel=1e-12)


def same_trades(found: list[Trade], expected: list[Trade]) -> None:
    """Compare sides and bars exactly, prices and amounts but for rounding."""
    assert [trade[:2] for trade in found] == [trade[:2] for trade in expected]
    for own, wanted in zip(found, expected, strict=True):
        assert own[2:] == approx(wanted[2:])


# Accounts kept by hand


# The forecast of bar t + 1 over the price of bar t, minus 1, is 10 %, 0.4 %, -5 %, 3 %, 20 %, -1 %:
# buy at bar 0, hold at 1 (within 0.5 %), sell at 2, buy at 3, hold what is held at 4, sell at 5.
PRICES = [100.0, 110.0, 99.0, 120.0, 150.0, 135.0, 162.0]
FORECASTS = [NAN, 110.0, 110.44, 94.05, 123.6, 180.0, 133.65]


def test_an_account_of_seven_bars_without_costs() -> None:
    found = backtest(PRICES, FORECASTS, initial_capital=1000.0)
    same_trades(
        found["trades"],
        [
            ("BUY", 0, 100.0, 10.0),  # 1000 / 100 shares
            ("SELL", 2, 99.0, 990.0),  # 10 * 99
            ("BUY", 3, 120.0, 8.25),  # 990 / 120
            ("SELL", 5, 135.0, 1113.75),  # 8.25 * 135
        ],
    )
    # 10 shares at 100, 110, 99; cash; 8.25 shares at 120, 150, 135; cash.
    equity = [1000.0, 1100.0, 990.0, 990.0, 1237.5, 1113.75, 1113.75]
    assert list(found["equity"]) == approx(equity)
    assert found["final_capital"] == approx(1113.75)
    assert found["total_return"] == approx(0.11375)
    assert found["first_bar"] == 0
    # Held from 0 to 1, 1 to 2, 3 to 4 and 4 to 5: four of six.
    assert found["exposure"] == approx(4 / 6)
    # Four trades in 6 bars of 252 a year.
    assert found["turnover"] == approx(4 * 252 / 6)
    # From 1100 to 990 and from 1237.5 to 1113.75: a tenth both times.
    assert found["max_drawdown"] == approx(0.1)
    # Returns 0.1, -0.1, 0, 0.25, -0.1, 0: mean 0.15 / 6 = 0.025. Off it 0.075, -0.125, -0.025,
    # 0.225, -0.125, -0.025: squares (5.625 + 15.625 + 0.625 + 50.625 + 15.625 + 0.625) / 1000
    # = 0.08875, by 5 = 0.01775.
    assert found["sharpe"] == approx(0.025 / math.sqrt(0.01775) * math.sqrt(252))
    # Without costs nothing is lost to them, and (1 - c)^4 x 1.11375 = 1 at c = 1 - 1.11375^(-1/4).
    assert found["gross_return"] == approx(0.11375)
    assert found["break_even_bps"] == approx(10_000 * (1 - 1.11375**-0.25))


def test_bars_per_year_scale_the_annual_figures_and_nothing_else() -> None:
    daily = backtest(PRICES, FORECASTS)
    weekly = backtest(PRICES, FORECASTS, bars_per_year=52.0)
    assert weekly["turnover"] == approx(4 * 52 / 6)
    assert weekly["sharpe"] == approx(0.025 / math.sqrt(0.01775) * math.sqrt(52))
    assert weekly["buy_and_hold"]["sharpe"] == approx(
        daily["buy_and_hold"]["sharpe"] * math.sqrt(52 / 252)
    )
    for key in ("final_capital", "total_return", "max_drawdown", "exposure", "trades"):
        assert weekly[key] == daily[key]


def test_the_result_has_buy_and_hold_of_the_same_bars() -> None:
    hold = backtest(PRICES, FORECASTS, initial_capital=1000.0)["buy_and_hold"]
    # 10 shares all the time.
    assert list(hold["equity"]) == approx([1000.0, 1100.0, 990.0, 1200.0, 1500.0, 1350.0, 1620.0])
    assert (hold["final_capital"], hold["total_return"]) == approx((1620.0, 0.62))
    # From 1100 to 990 and from 1500 to 1350.
    assert hold["max_drawdown"] == approx(0.1)
    returns = np.array([0.1, -0.1, 7 / 33, 0.25, -0.1, 0.2])  # 990 to 1200 are 210 / 990
    ratio = returns.mean() / returns.std(ddof=1)
    assert hold["sharpe"] == approx(ratio * math.sqrt(252))
    assert hold["sharpe_error_independent"] == approx(math.sqrt((1 + ratio**2 / 2) / 6 * 252))


def test_an_account_of_five_bars_with_commission() -> None:
    # 1 % of each trade's value. Forecast: up at 0, down at 2, nothing at 1 and 3.
    found = backtest(
        [10.0, 12.0, 15.0, 20.0, 5.0],
        [NAN, 11.0, 12.0, 14.0, 20.0],
        initial_capital=1000.0,
        cost_bps=100.0,
    )
    same_trades(
        found["trades"],
        [
            ("BUY", 0, 10.0, 99.0),  # 990 are left to buy with
            ("SELL", 2, 15.0, 1470.15),  # 99 * 15 = 1485, less 14.85
        ],
    )
    # Each close before its trade: 1000, 99 * 12, 99 * 15, then cash.
    assert list(found["equity"]) == approx([1000.0, 1188.0, 1485.0, 1470.15, 1470.15])
    assert found["total_return"] == approx(0.47015)
    assert found["exposure"] == approx(2 / 4)
    assert found["turnover"] == approx(2 * 252 / 4)
    # The commission of the sale is the only loss.
    assert found["max_drawdown"] == approx(0.01)
    # 99 shares at 12, 15, 20, 5, and a quarter left of the peak.
    hold = found["buy_and_hold"]
    assert list(hold["equity"]) == approx([1000.0, 1188.0, 1485.0, 1980.0, 495.0])
    assert hold["max_drawdown"] == approx(0.75)


def test_an_account_with_commission_slippage_and_a_late_start() -> None:
    # 2 % commission, 5 % slippage, trading from bar 1: bar 2 is the first that was forecast.
    found = backtest(
        [30.0, 20.0, 40.0, 50.0, 25.0, 100.0],
        [NAN, NAN, 21.0, 30.0, 50.1, 25.3],
        initial_capital=10_500.0,
        cost_bps=200.0,
        slippage_bps=500.0,
    )
    # Forecast returns 5 %, -25 %, 0.2 %, 1.2 %: buy at 1, sell at 2, stay out at 3, buy at 4.
    same_trades(
        found["trades"],
        [
            ("BUY", 1, 21.0, 490.0),  # at 20 + 5 %, with 10500 - 2 % = 10290
            ("SELL", 2, 38.0, 18_247.6),  # at 40 - 5 %, 490 * 38 = 18620, less 2 %
            ("BUY", 4, 26.25, 18_247.6 * 0.98 / 26.25),
        ],
    )
    # The capital of the bars before the start, cash, 490 * 40, cash, cash; at the end what is open
    # is valued at the close, with no sale.
    assert list(found["equity"]) == approx(
        [10_500.0, 10_500.0, 19_600.0, 18_247.6, 18_247.6, 18_247.6 * 0.98 / 26.25 * 100]
    )
    assert found["final_capital"] == approx(68_124.373333333333)  # 681.2437333... shares
    assert found["first_bar"] == 1
    assert found["exposure"] == approx(2 / 4)
    assert found["turnover"] == approx(3 * 252 / 4)
    # 1 - 18247.6 / 19600
    assert found["max_drawdown"] == approx(0.069)
    # Buy and hold buys at the same bar and costs: 490 shares at 40, 50, 25, 100.
    hold = found["buy_and_hold"]
    assert list(hold["equity"]) == approx(
        [10_500.0, 10_500.0, 19_600.0, 24_500.0, 12_250.0, 49_000.0]
    )
    assert hold["max_drawdown"] == approx(0.5)


def test_at_the_break_even_cost_nothing_is_earned_or_lost() -> None:
    dear = backtest(PRICES, FORECASTS, cost_bps=40.0, slippage_bps=15.0)
    cost = dear["break_even_bps"]
    assert backtest(PRICES, FORECASTS, cost_bps=cost)["final_capital"] == approx(10_000.0)
    # What the costs of the backtest itself are does not matter.
    assert cost == backtest(PRICES, FORECASTS)["break_even_bps"]


def test_what_loses_without_costs_has_a_break_even_cost_of_0() -> None:
    falling = [100.0, 90.0, 80.0]
    assert backtest(falling, [NAN, 200.0, 200.0])["break_even_bps"] == 0.0
    assert math.isnan(backtest(falling, [NAN, 90.0, 80.0], 0.5)["break_even_bps"])


def test_an_account_that_sells_short_with_commission_and_slippage() -> None:
    # 1 % commission, 2 % slippage. Forecast: down at 0, up at 2, down at 3.
    found = backtest(
        [100.0, 80.0, 50.0, 60.0, 55.0],
        [NAN, 90.0, 80.0, 60.0, 50.0],
        initial_capital=1000.0,
        cost_bps=100.0,
        slippage_bps=200.0,
        short=True,
    )
    sold = 990 / 98  # shares, at 100 - 2 %, for 1000 less 1 %
    covered = 1980 - sold * 51 * 1.01  # 990 of deposit and as much from the sale, less the purchase
    bought = covered * 0.99 / 51
    left = bought * 58.8 * 0.99  # at 60 - 2 %
    short = left * 0.99 / 58.8
    same_trades(
        found["trades"],
        [
            ("SHORT", 0, 98.0, sold),
            ("COVER", 2, 51.0, covered),
            ("BUY", 2, 51.0, bought),
            ("SELL", 3, 58.8, left),
            ("SHORT", 3, 58.8, short),
        ],
    )
    end = 2 * left * 0.99 - short * 55
    equity = [1000.0, 1980 - sold * 80, 1980 - sold * 50, bought * 60, end]
    assert list(found["equity"]) == approx(equity)
    assert (found["exposure"], found["short"]) == (1.0, 3 / 4)


def test_a_price_that_doubles_takes_all_of_a_short_position_for_good() -> None:
    found = backtest(
        [10.0, 19.0, 20.0, 10.0, 5.0], [NAN, 9.0, 18.0, 30.0, 4.0], short=True, initial_capital=10.0
    )
    assert list(found["equity"]) == approx([10.0, 1.0, 0.0, 0.0, 0.0])
    same_trades(found["trades"], [("SHORT", 0, 10.0, 1.0), ("COVER", 2, 20.0, 0.0)])
    assert (found["total_return"], found["max_drawdown"], found["exposure"]) == (-1.0, 1.0, 0.5)


def test_an_open_position_is_valued_at_the_last_close_and_not_sold() -> None:
    found = backtest([10.0, 20.0, 30.0], [NAN, 11.0, 21.0], initial_capital=100.0, cost_bps=1000.0)
    same_trades(found["trades"], [("BUY", 0, 10.0, 9.0)])
    assert found["final_capital"] == approx(270.0)
    assert found["exposure"] == 1.0


def test_without_trades_capital_is_constant_and_sharpe_ratio_nan() -> None:
    found = backtest(PRICES, [NAN, *PRICES[:-1]], initial_capital=1000.0, cost_bps=50.0)
    assert found["trades"] == []
    assert list(found["equity"]) == [1000.0] * 7
    assert (found["final_capital"], found["total_return"]) == (1000.0, 0.0)
    assert (found["exposure"], found["turnover"], found["max_drawdown"]) == (0.0, 0.0, 0.0)
    assert math.isnan(found["sharpe"])
    assert math.isnan(found["sharpe_error"])
    assert math.isfinite(found["buy_and_hold"]["sharpe"])


def test_a_forecast_fall_without_a_position_sells_nothing() -> None:
    found = backtest([10.0, 5.0, 4.0, 6.0], [NAN, 5.0, 4.0, 6.0])
    assert [trade[:2] for trade in found["trades"]] == [("BUY", 2)]
    assert found["total_return"] == approx(0.5)


def test_a_forecast_at_the_threshold_does_not_trade() -> None:
    # A rise of a quarter, of a half, and a fall of a quarter, all exact in binary.
    prices, ahead = [4.0, 4.0, 8.0, 8.0], [NAN, 5.0, 6.0, 6.0]
    exactly = backtest(prices, ahead, threshold=0.25)["trades"]
    assert [trade[:2] for trade in exactly] == [("BUY", 1)]
    less = backtest(prices, ahead, threshold=0.24999)["trades"]
    assert [trade[:2] for trade in less] == [("BUY", 0), ("SELL", 2)]


def test_default_threshold_and_capital_are_the_published_ones() -> None:
    found = backtest([100.0, 100.0, 100.0], [NAN, 100.49, 100.51])
    same_trades(found["trades"], [("BUY", 1, 100.0, 100.0)])


def test_a_forecast_of_bar_0_is_ignored() -> None:
    prices, ahead = [10.0, 12.0, 9.0], [99.0, 12.0, 9.0]
    found = backtest(prices, ahead)
    assert found["first_bar"] == 0
    assert found["trades"] == backtest(prices, [NAN, *ahead[1:]])["trades"]
    late = backtest(prices, [99.0, NAN, 9.0])
    assert (late["first_bar"], late["trades"]) == (1, [])


def test_the_result_has_the_published_keys_and_trades_are_tuples() -> None:
    found = backtest(PRICES, FORECASTS)
    assert {"final_capital", "total_return", "trades"} <= found.keys()
    for trade in found["trades"]:
        assert isinstance(trade, tuple)
        assert [type(value) for value in trade] == [str, int, float, float]
    side, bar, price, shares = found["trades"][0]
    assert (side, bar, price, shares) == ("BUY", 0, PRICES[0], 10_000.0 / PRICES[0])
    side, bar, price, received = found["trades"][1]
    assert (side, bar, price) == ("SELL", 2, PRICES[2])
    assert received == approx(shares * PRICES[2])


def test_lists_and_series_are_traded_as_arrays_are() -> None:
    days = pd.bdate_range("2024-01-01", periods=len(PRICES))
    expected = backtest(np.array(PRICES), np.array(FORECASTS))
    found = backtest(pd.Series(PRICES, days), pd.Series(FORECASTS, days))
    assert found["trades"] == expected["trades"] == backtest(PRICES, FORECASTS)["trades"]
    assert type(found["equity"]) is np.ndarray


# What the original's alignment got wrong


def walk(seed: int, bars: int = 60) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, bars)))


def original_signals(prices: np.ndarray, forecasts: np.ndarray) -> list[float]:
    """Return the signal of the original at bar t: the forecast of bar t over its price."""
    return list(forecasts[1:] / prices[1:] - 1)


def test_a_forecast_of_no_change_of_a_price_never_trades() -> None:
    prices = walk(0)
    persistence = np.append(NAN, prices[:-1])
    assert backtest(prices, persistence)["trades"] == []
    # The original's signal of the same forecast is the last move, turned round.
    moves = prices[1:] / prices[:-1] - 1
    signals = original_signals(prices, persistence)
    assert [s > 0 for s in signals] == [m < 0 for m in moves]
    assert max(abs(s) for s in signals) > 0.005


def test_perfect_forecasts_earn_exactly_the_moves_of_their_positions() -> None:
    prices = [100.0, 110.0, 99.0, 99.2, 120.0, 119.9, 90.0]
    found = backtest(prices, [NAN, *prices[1:]], initial_capital=1.0)
    # 10 % up: in. 10 % down: out. 0.2 % up: still out. 21 % up: in. 0.1 % down: still in. Out.
    assert [trade[:2] for trade in found["trades"]] == [
        ("BUY", 0),
        ("SELL", 1),
        ("BUY", 3),
        ("SELL", 5),
    ]
    assert found["final_capital"] == approx(110 / 100 * 119.9 / 99.2)


@pytest.mark.parametrize("seed", range(3))
def test_perfect_forecasts_without_threshold_earn_every_rise_and_no_fall(seed: int) -> None:
    prices = walk(seed)
    found = backtest(prices, prices, threshold=0.0)
    moves = prices[1:] / prices[:-1]
    assert found["total_return"] == approx(np.prod(moves[moves > 1]) - 1)
    assert found["exposure"] == approx(np.mean(moves > 1))
    # A fall from a peak is never held.
    assert found["max_drawdown"] == 0.0


@pytest.mark.parametrize("bar", [0, 1, 20, 50])
def test_later_bars_change_no_earlier_capital_or_trade(bar: int) -> None:
    prices, ahead = walk(1), np.append(NAN, walk(1)[:-1] * walk(2)[1:] / walk(2)[:-1])
    other_prices, other_ahead = prices.copy(), ahead.copy()
    # The forecast of bar t + 1 is known at bar t, so it stays; that of t + 2 is not.
    other_prices[bar + 1 :] *= np.linspace(2, 3, 59 - bar)
    other_ahead[bar + 2 :] *= 0.5
    kwargs = {"cost_bps": 10.0, "slippage_bps": 5.0}
    one, two = backtest(prices, ahead, **kwargs), backtest(other_prices, other_ahead, **kwargs)
    assert one["trades"] != two["trades"]
    assert one["final_capital"] != two["final_capital"]
    known = [[trade for trade in run["trades"] if trade[1] <= bar] for run in (one, two)]
    assert known[0] == known[1]
    assert np.array_equal(one["equity"][: bar + 1], two["equity"][: bar + 1])
    holds = [run["buy_and_hold"]["equity"][: bar + 1] for run in (one, two)]
    assert np.array_equal(*holds)


# Bad input


@pytest.mark.parametrize(
    ("prices", "forecasts", "said"),
    [
        ([1, 2, 3], [NAN, 2], "prices and forecasts must be of one length, but have 3 and 2"),
        ([1, 0, 3], [NAN, 2, 3], "prices must be positive, but the one of bar 1 is 0.0"),
        ([1, 2, -3], [NAN, 2, 3], "prices must be positive, but the one of bar 2 is -3.0"),
        ([1, NAN, 3], [NAN, 2, 3], "prices must be finite"),
        ([1, math.inf, 3], [NAN, 2, 3], "prices must be finite"),
        ([1, 2, 3, 4], [NAN, 2, NAN, 4], "at bar 1, but the one of bar 2 is nan"),
        ([1, 2, 3, 4], [NAN, NAN, 3, math.inf], "at bar 2, but the one of bar 3 is inf"),
        ([1, 2, 3], [NAN, NAN, NAN], "forecasts must have a value after bar 0 that is not NaN"),
        ([1, 2, 3], [1, NAN, NAN], "forecasts must have a value after bar 0 that is not NaN"),
        ([1], [1], "forecasts must have a value after bar 0 that is not NaN"),
        ([], [], "forecasts must have a value after bar 0 that is not NaN"),
        ([[1, 2, 3]], [1, 2, 3], "prices must have one dimension, but has shape (1, 3)"),
        ([1, 2, 3], [[1], [2], [3]], "forecasts must have one dimension, but has shape (3, 1)"),
        (["a", "b"], [1, 2], "prices must hold numbers only"),
    ],
)
def test_invalid_prices_and_forecasts_are_refused(
    prices: list[Any], forecasts: list[Any], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        backtest(prices, forecasts)


@pytest.mark.parametrize(
    ("parameter", "value", "rule"),
    [
        ("threshold", -1e-9, "at least 0"),
        ("threshold", NAN, "at least 0"),
        ("initial_capital", 0.0, "above 0 and finite"),
        ("initial_capital", -1.0, "above 0 and finite"),
        ("cost_bps", -1.0, "at least 0 and below 10000"),
        ("cost_bps", 10_000.0, "at least 0 and below 10000"),
        ("slippage_bps", -1.0, "at least 0 and below 10000"),
        ("slippage_bps", 10_000.0, "at least 0 and below 10000"),
        ("slippage_bps", NAN, "at least 0 and below 10000"),
        ("bars_per_year", 0.0, "above 0 and finite"),
        ("bars_per_year", NAN, "above 0 and finite"),
        ("bars_per_year", math.inf, "above 0 and finite"),
        ("initial_capital", math.inf, "above 0 and finite"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused_with_the_bound(
    parameter: str, value: float, rule: str
) -> None:
    with pytest.raises(ValueError, match=f"{parameter} must be {rule}, but is {value!r}"):
        backtest(PRICES, FORECASTS, **{parameter: value})


@pytest.mark.parametrize("parameter", ["threshold", "cost_bps", "slippage_bps"])
def test_the_lowest_value_of_a_parameter_is_accepted(parameter: str) -> None:
    assert backtest(PRICES, FORECASTS, **{parameter: 0.0})["trades"]
