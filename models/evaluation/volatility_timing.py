"""What a forecast of volatility is worth: a position that is smaller the more it forecasts.

One asset and cash, or futures on the asset, so that neither cash nor debt has interest. The weight
of the asset in the capital is in proportion to one over the forecast volatility, and the strategy
is judged by the fee that an investor would pay for it.

References
----------
Fleming, Kirby and Ostdiek (2001), "The Economic Value of Volatility Timing", Journal of Finance
56(1).
Fleming, Kirby and Ostdiek (2003), "The economic value of volatility timing using realized
volatility", Journal of Financial Economics 67(3).
Harvey, Hoyle, Korgaonkar, Rattray, Sargaison and Van Hemert (2018), "The Impact of Volatility
Targeting", Journal of Portfolio Management 45(1), on this weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats, varies
from puffin.models.evaluation.backtest import Performance, growth_rates, performance
from puffin.models.evaluation.long_run_variance import FEWEST, long_run_variance
from puffin.models.evaluation.portfolio import Places, mean_equity

_BPS = 1e-4
_CAPITAL = 10_000.0


class Managed(Performance):
    """Performance of a position whose weight is set at each close.

    Attributes
    ----------
    volatility : float, standard deviation of the returns, annualised; NaN with fewer than two
    exposure : float, mean weight of the asset
    turnover : float, value of the trades per year, as a multiple of the capital
    """

    volatility: float
    exposure: float
    turnover: float


def timing_weights(forecast: Floats, usual: float, most: float) -> Floats:
    """Return the weights (bars,) that would keep the volatility of the capital constant.

    The weight is half of the largest one at the usual volatility, and the largest from half of
    the usual volatility down.

    Parameters
    ----------
    forecast : array, (bars,)
        Forecast volatility of each bar, or anything proportional to it, such as the range.
    usual : float
        Its root mean square in the past, in the same unit.
    most : float
        Largest weight; above 1 it is reached with debt.
    """
    return np.minimum(most / 2 * usual / forecast, most)


def hold_weights(prices: Floats, weights: Floats, cost_bps: float, bars_per_year: float) -> Managed:
    """Hold an asset with a weight that is restored at every close.

    Parameters
    ----------
    prices : array, (n + 1,), positive
    weights : array, (n,), at least 0
        Share of the capital that is invested at each close but the last.
    cost_bps : float
        Cost of each trade, in basis points of its value.
    bars_per_year : float
        To annualise figures.
    """
    returns = (prices[1:] / prices[:-1] - 1.0).tolist()
    cost, drifted, traded = cost_bps * _BPS, 0.0, 0.0
    equity = [_CAPITAL]
    for weight, gained in zip(weights.tolist(), returns, strict=True):
        if not equity[-1]:  # all capital is lost
            equity.append(0.0)
            continue
        trade = abs(weight - drifted)
        growth = max(1.0 - cost * trade + weight * gained, 0.0)
        traded += trade
        equity.append(equity[-1] * growth)
        drifted = weight * (1.0 + gained) / growth if growth else 0.0
    return managed(np.array(equity), float(weights.mean()), traded, bars_per_year)


def managed(equity: Floats, exposure: float, traded: float, bars_per_year: float) -> Managed:
    """Return the performance of a curve of capital (n + 1,)."""
    returns = growth_rates(equity)
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else float("nan")
    return Managed(
        **performance(equity, _CAPITAL, 0, bars_per_year),
        volatility=spread * bars_per_year**0.5,
        exposure=exposure,
        turnover=traded / (len(returns) / bars_per_year),
    )


def equal_parts_managed(
    parts: Sequence[Managed], places: Sequence[Places], bars: int, bars_per_year: float
) -> Managed:
    """Join positions in several assets to a portfolio with an equal part of the capital in each.

    Parameters as of `portfolio.equal_parts`.
    """
    equity = mean_equity(parts, places, bars)
    years = (bars - 1) / bars_per_year
    exposure, turnover = (
        float(np.mean([p[key] for p in parts])) for key in ("exposure", "turnover")
    )
    return managed(equity, exposure, turnover * years, bars_per_year)


@dataclass(frozen=True)
class Fee:
    """What an investor would pay, in basis points of the capital a year.

    Attributes
    ----------
    risk_aversion : float, relative
    value : float, below 0 if the investor would have to be paid; NaN if no pay would do
    error : float, its standard error; NaN if there are too few bars
    """

    risk_aversion: float
    value: float
    error: float


def performance_fee(
    returns: Floats, instead_of: Floats, risk_aversion: float, bars_per_year: float
) -> Fee:
    """Return the fee that makes an investor indifferent between two series of returns (n,).

    The fee ``d`` of each bar solves, with the gross returns R of the strategy and Q of the other::

        sum((R - d) - g / (2 (1 + g)) (R - d)²) = sum(Q - g / (2 (1 + g)) Q²)

    for a quadratic utility of relative risk aversion g. The standard error is that of the mean
    difference of the utilities, over the marginal utility; returns may depend on each other over
    time.

    References
    ----------
    Fleming, Kirby and Ostdiek (2001), section on the measurement of the value of timing.
    """
    half = risk_aversion / (2 * (1 + risk_aversion))
    gross, other = 1.0 + returns, 1.0 + instead_of
    gains = (gross - half * gross**2) - (other - half * other**2)
    marginal, gain = 1.0 - 2 * half * float(gross.mean()), float(gains.mean())
    # The smaller root of half d² + marginal d - gain = 0, without a difference of equal numbers.
    within = marginal**2 + 4 * half * gain
    fee = 2 * gain / (marginal + within**0.5) if within >= 0 else float("nan")
    error = float("nan")
    if len(gains) >= FEWEST:
        error = float((long_run_variance(gains[None])[0] / len(gains)) ** 0.5) / marginal
    if not varies(gains):
        error = 0.0
    unit = bars_per_year / _BPS
    return Fee(risk_aversion, fee * unit, error * unit)
