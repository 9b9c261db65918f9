"""A portfolio of equal parts: the capital is divided once, and each part trades one asset."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import (
    Backtest,
    Performance,
    Trade,
    break_even_bps,
    performance,
)

Places = NDArray[np.int64]


def equal_parts(
    parts: Sequence[Backtest], places: Sequence[Places], bars: int, bars_per_year: float
) -> Backtest:
    """Join the backtests of assets to that of a portfolio with an equal part in each.

    No capital moves between the parts, so that every trade is one of a part and its cost is known.
    A part keeps its value on bars on which its asset has no price. A portfolio of one asset is the
    backtest of that asset.

    Parameters
    ----------
    parts : sequence of Backtest
        All of them begin at their first bar, with the same capital.
    places : sequence of array, (bars of the asset,), ascending
        The bars of the portfolio at which each asset has its bars.
    bars : int
        Bars of the portfolio.
    bars_per_year : float
        To annualise figures.
    """
    trades = [_trades(part, at, len(parts)) for part, at in zip(parts, places, strict=True)]
    ordered = sorted((trade for made in trades for trade in made), key=lambda trade: trade[1])
    return Backtest(
        **_joined(parts, places, bars, bars_per_year),
        trades=ordered,
        exposure=float(np.mean([part["exposure"] for part in parts])),
        short=float(np.mean([part["short"] for part in parts])),
        turnover=len(ordered) / ((bars - 1) / bars_per_year),
        first_bar=0,
        gross_return=float(np.mean([part["gross_return"] for part in parts])),
        break_even_bps=break_even_bps(
            [1.0 + part["gross_return"] for part in parts], [len(part["trades"]) for part in parts]
        ),
        buy_and_hold=_joined([p["buy_and_hold"] for p in parts], places, bars, bars_per_year),
    )


def _joined(
    parts: Sequence[Performance], places: Sequence[Places], bars: int, bars_per_year: float
) -> Performance:
    capital = float(parts[0]["equity"][0])
    return performance(mean_equity(parts, places, bars), capital, 0, bars_per_year)


def mean_equity(parts: Sequence[Performance], places: Sequence[Places], bars: int) -> Floats:
    """Return the mean capital of parts at each bar of a portfolio."""
    values = [_on(at, part["equity"], bars) for part, at in zip(parts, places, strict=True)]
    return np.asarray(np.mean(values, axis=0))


def _on(places: Places, equity: Floats, bars: int) -> Floats:
    """Return the value of a part at each bar of the portfolio, before its first bar the capital."""
    known = np.searchsorted(places, np.arange(bars), side="right") - 1
    return equity[np.maximum(known, 0)]


def _trades(part: Backtest, places: Places, parts: int) -> list[Trade]:
    """Return the trades of a part by the bars of the portfolio, each as large as its part is."""
    return [
        (side, int(places[bar]), price, amount / parts)
        for side, bar, price, amount in part["trades"]
    ]
