"""Backtest of trading on forecasts: long, flat or short, by a threshold, with costs."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from puffin.models.arrays import ROUNDING, Floats, as_series, require_finite, require_same_index
from puffin.models.evaluation.sharpe import SharpeErrors, sharpe_errors

_BPS = 1e-4
# Of an interval between 0 and 1, down to rounding.
_HALVINGS = 60

Trade = tuple[str, int, float, float]


class Performance(TypedDict):
    """Performance of an investment from its first bar to its last.

    Attributes
    ----------
    final_capital : float, at the last close
    total_return : float, ``final_capital / initial_capital - 1``
    sharpe : float, annualised: mean over standard deviation of the returns per bar (Sharpe 1994,
        "The Sharpe Ratio", Journal of Portfolio Management 21(1)), with no interest on cash; NaN
        if all returns are equal, or there is only one
    sharpe_error, sharpe_error_independent : float, standard errors of that ratio, also annualised:
        of returns that depend on each other over time, and of independent normal ones; NaN if the
        ratio is, and the first also with fewer than four returns
    max_drawdown : float, largest loss from an earlier peak, as a share of the peak
    equity : array, (n,), capital at each close, before its trade
    """

    final_capital: float
    total_return: float
    sharpe: float
    sharpe_error: float
    sharpe_error_independent: float
    max_drawdown: float
    equity: Floats


class Backtest(Performance):
    """Performance of the strategy, with its trades.

    Attributes
    ----------
    trades : list of (side, bar, price, amount)
        ``("BUY", bar, price, shares bought)`` and ``("SELL", bar, price, capital received)``, at
        prices with slippage; ``("SHORT", bar, price, shares sold)`` and ``("COVER", bar, price,
        capital left)``.
    exposure : float, share of the bars with a position
    short : float, share of the bars with a short one
    turnover : float, trades per year
    first_bar : int, bar at whose close the strategy can trade first
    gross_return : float, total return without costs
    break_even_bps : float, cost of each trade, in basis points of its value, at which the strategy
        would earn nothing; 0 if it would not earn without costs, NaN without a trade
    buy_and_hold : Performance, of buying at that bar, at the same costs
    """

    trades: list[Trade]
    exposure: float
    short: float
    turnover: float
    first_bar: int
    gross_return: float
    break_even_bps: float
    buy_and_hold: Performance


def backtest(  # noqa: PLR0913  # one for each rule of trading
    prices: Any,
    forecasts: Any,
    threshold: float = 0.005,
    initial_capital: float = 10_000.0,
    *,
    cost_bps: float = 0.0,
    slippage_bps: float = 0.0,
    bars_per_year: float = 252.0,
    short: bool = False,
) -> Backtest:
    """Trade on one-step forecasts with all capital: long or flat, or long or short.

    At the close of bar t the forecast of bar ``t + 1`` is compared with the price of bar t. A
    forecast rise above `threshold` buys, a forecast fall below ``-threshold`` sells, and anything
    between keeps the position. The trade is filled at that close, so it earns the move to bar
    ``t + 1`` and no earlier one. A position that is open at the end is valued, not sold.

    Parameters
    ----------
    prices : array, list or pandas Series, (n,)
    forecasts : array, list or pandas Series, (n,), in the unit of the prices
        Element t forecasts ``prices[t]`` from bars before t, as returned by
        `historical_forecasts` and `walk_forward.evaluate`. The strategy starts at the bar before
        the first forecast that is not NaN. Forecasts of bars that trained the model overstate the
        result.
    threshold : float
        Smallest forecast return that triggers a trade.
    initial_capital : float
    cost_bps : float
        Commission of each trade, in basis points of its value.
    slippage_bps : float
        Difference between the close and the price of a trade, in basis points of the close.
    bars_per_year : float
        To annualise figures; 252 for daily bars.
    short : bool
        Whether a forecast fall sells shares of the value of the capital short, instead of staying
        out. They are borrowed for nothing. At a close of twice their price the capital is lost,
        and trading ends.

    Raises
    ------
    ValueError
        If the lengths or indexes differ, an index is not in order of time, a price is not positive,
        no bar is forecast, a bar after the first forecast is not, or a parameter is out of bounds.
    """
    close, ahead = _checked(prices, forecasts)
    _check_bounds(threshold, initial_capital, cost_bps, slippage_bps, bars_per_year)
    first = int(np.flatnonzero(np.isfinite(ahead))[0]) - 1
    expected = ahead[first + 1 :] / close[first:-1] - 1.0
    position = _positions(expected, threshold, -1.0 if short else 0.0)
    cost, slip = cost_bps * _BPS, slippage_bps * _BPS
    equity = _equity(close[first:], position, initial_capital, cost, slip)
    position = np.where(equity[:-1] > 0, position, 0.0)
    trades = _trades(close, position, equity, first, cost, slip)
    gross = float(_equity(close[first:], position, 1.0, 0.0, 0.0)[-1])
    hold = _equity(close[first:], np.ones_like(position), initial_capital, cost, slip)
    return Backtest(
        **performance(equity, initial_capital, first, bars_per_year),
        trades=trades,
        exposure=float(np.abs(position).mean()),
        short=float((position < 0).mean()),
        turnover=len(trades) / (len(position) / bars_per_year),
        first_bar=first,
        gross_return=gross - 1.0,
        break_even_bps=break_even_bps([gross], [len(trades)]),
        buy_and_hold=performance(hold, initial_capital, first, bars_per_year),
    )


def _checked(prices: Any, forecasts: Any) -> tuple[Floats, Floats]:
    close, ahead = as_series("prices", prices), as_series("forecasts", forecasts)
    require_same_index(prices=prices, forecasts=forecasts)
    require_finite("prices", close)
    if not (close > 0).all():
        at = int(np.argmin(close > 0))
        raise ValueError(f"prices must be positive, but the one of bar {at} is {close[at]}")
    if len(close) != len(ahead):
        raise ValueError(
            f"prices and forecasts must be of one length, but have {len(close)} and {len(ahead)}: "
            "forecasts[t] is the forecast of prices[t]"
        )
    known = np.flatnonzero(np.isfinite(ahead[1:])) + 1
    if not len(known):
        raise ValueError("forecasts must have a value after bar 0 that is not NaN, but have none")
    after = known[0] + np.flatnonzero(~np.isfinite(ahead[known[0] :]))
    if len(after):
        raise ValueError(
            f"forecasts must be finite after the first one, at bar {known[0]}, but the one of bar "
            f"{after[0]} is {ahead[after[0]]}"
        )
    return close, np.where(np.arange(len(ahead)) < known[0], np.nan, ahead)


def _check_bounds(
    threshold: float, capital: float, cost_bps: float, slippage_bps: float, bars_per_year: float
) -> None:
    rules = [
        ("threshold", threshold, threshold >= 0, "at least 0"),
        ("initial_capital", capital, 0 < capital < np.inf, "above 0 and finite"),
        ("cost_bps", cost_bps, 0 <= cost_bps < 1 / _BPS, "at least 0 and below 10000"),
        ("slippage_bps", slippage_bps, 0 <= slippage_bps < 1 / _BPS, "at least 0 and below 10000"),
        ("bars_per_year", bars_per_year, 0 < bars_per_year < np.inf, "above 0 and finite"),
    ]
    for name, value, holds, rule in rules:
        if not holds:
            raise ValueError(f"{name} must be {rule}, but is {value!r}")


def _positions(expected: Floats, threshold: float, below: float) -> Floats:
    """Return 1 (long), 0 (flat) or -1 (short) for each bar, from the return expected after it.

    Parameters
    ----------
    expected : array, (bars,)
    threshold : float
    below : float
        Position after a fall below the threshold.
    """
    signal = np.where(expected > threshold, 1.0, np.where(expected < -threshold, below, np.nan))
    # Between the thresholds the last signal counts; before the first signal the position is flat.
    last_signal = np.maximum.accumulate(np.where(np.isnan(signal), -1, np.arange(len(signal))))
    return np.where(last_signal < 0, 0.0, signal[np.maximum(last_signal, 0)])


def _equity(close: Floats, position: Floats, capital: float, cost: float, slip: float) -> Floats:
    """Return the capital at each close (n,), before its trades, from positions (n - 1,).

    A long position holds shares for all capital, so that its value moves as the price does. A short
    one has sold shares of that value at a price ``p``: with the capital as a deposit it is worth
    ``2 - price / p`` of it, and nothing from a price of ``2 p`` on.
    """
    before = np.append(0.0, position[:-1])
    sold = _sold_at(close, position, slip)
    sold_before = np.append(sold[:1], sold[:-1])
    worth = np.maximum(2.0 - close[:-1] / sold_before, 0.0)
    owed = np.maximum(2.0 - close[:-1] * (1.0 + slip) * (1.0 + cost) / sold_before, 0.0)
    left = _share(owed, worth)
    out = np.where(before > 0, (1.0 - cost) * (1.0 - slip), np.where(before < 0, left, 1.0))
    buying, selling = (1.0 - cost) / (1.0 + slip), (1.0 - cost) * (2.0 - 1.0 / (1.0 - slip))
    into = np.where(position > 0, buying, np.where(position < 0, selling, 1.0))
    trading = np.where(position != before, out * into, 1.0)
    now, then = (np.maximum(2.0 - price / sold, 0.0) for price in (close[:-1], close[1:]))
    falling = np.where(position < 0, _share(then, now), 1.0)
    growth = np.where(position > 0, close[1:] / close[:-1], falling)
    return capital * np.cumprod(np.append(1.0, trading * growth))


def _sold_at(close: Floats, position: Floats, slip: float) -> Floats:
    """Return the price (n - 1,) at which the shares of a short position were sold."""
    entered = np.append(True, position[1:] != position[:-1])
    return close[:-1][np.maximum.accumulate(np.where(entered, np.arange(len(position)), 0))] * (
        1.0 - slip
    )


def growth_rates(equity: Floats) -> Floats:
    """Return the return of each bar, (n - 1,), from the capital (n,); 0 once all of it is lost."""
    return _share(np.diff(equity), equity[:-1])


def _share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _trades(
    close: Floats, position: Floats, equity: Floats, first: int, cost: float, slip: float
) -> list[Trade]:
    sold = _sold_at(close[first:], position, slip)
    before = np.append(0.0, position[:-1])
    trades: list[Trade] = []
    for i in np.flatnonzero(position != before):
        bar, capital = first + int(i), float(equity[i])
        above, below = float(close[bar]) * (1.0 + slip), float(close[bar]) * (1.0 - slip)
        if before[i] > 0:
            capital *= (1.0 - cost) * (1.0 - slip)
            trades.append(("SELL", bar, below, capital))
        elif before[i] < 0:
            worth = 2.0 - float(close[bar]) / sold[i - 1]
            left = max(2.0 - above * (1.0 + cost) / sold[i - 1], 0.0)
            capital *= left / worth if worth > 0 else 0.0
            trades.append(("COVER", bar, above, float(capital)))
        if position[i] > 0:
            trades.append(("BUY", bar, above, capital * (1.0 - cost) / above))
        elif position[i] < 0:
            trades.append(("SHORT", bar, below, capital * (1.0 - cost) / below))
    return trades


def break_even_bps(growth: Sequence[float], trades: Sequence[int]) -> float:
    """Return the cost of each trade, in basis points, at which parts earn nothing together.

    Parameters
    ----------
    growth : sequence of float
        What each part makes of 1 without costs; all of them begin with the same capital.
    trades : sequence of int
        Number of trades of each part.
    """
    if not any(trades):
        return float("nan")
    gross, count = np.asarray(growth), np.asarray(trades)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        cost = (low + high) / 2
        low, high = (cost, high) if (gross * (1 - cost) ** count).mean() > 1 else (low, cost)
    return low / _BPS


def performance(equity: Floats, capital: float, first: int, bars_per_year: float) -> Performance:
    """Return the performance of a curve of capital, (bars from the first on,)."""
    returns = growth_rates(equity)
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    varies = spread > ROUNDING * np.abs(returns).max()
    errors = sharpe_errors(returns) if varies else SharpeErrors(np.nan, np.nan)
    return Performance(
        final_capital=float(equity[-1]),
        total_return=float(equity[-1] / capital - 1.0),
        sharpe=float(returns.mean() / spread * np.sqrt(bars_per_year)) if varies else np.nan,
        sharpe_error=float(errors.dependent * np.sqrt(bars_per_year)),
        sharpe_error_independent=float(errors.independent * np.sqrt(bars_per_year)),
        max_drawdown=float((1.0 - equity / np.maximum.accumulate(equity)).max()),
        equity=np.concatenate([np.full(first, capital), equity]),
    )
