"""Volatility timing: what forecasts of a volatility are worth to an investor."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import growth_rates
from puffin.models.evaluation.volatility_timing import (
    Fee,
    Managed,
    equal_parts_managed,
    hold_weights,
    performance_fee,
    timing_weights,
)
from puffin.models.features import TARGETS
from puffin.models.panel import Dates, Part, by_part
from puffin.studies.dataset import Dataset
from puffin.studies.report.trading import bars_per_year, no_returns
from puffin.studies.sections import BacktestSection

# Relative risk aversions, those of Fleming, Kirby and Ostdiek (2001).
AVERSIONS = (1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Sized:
    """One symbol with the weights that forecasts of its volatility give, in order of time.

    Attributes
    ----------
    symbol : str
    bars, closes : array, (n + 1,), dates and closes from the one at which the first weight is set
    weights, rival_weights : array, (n,), of the winner and of the best baseline of the search
    """

    symbol: str
    bars: Dates
    closes: Floats
    weights: Floats
    rival_weights: Floats


@dataclass(frozen=True, eq=False)
class Timing:
    """Positions that are smaller the more volatility was forecast, and others to compare with.

    Attributes
    ----------
    dates : DatetimeIndex, (bars,)
    winner : Managed, on the forecasts of the winner
    constant : Managed, with the mean weight of the winner on each symbol at all bars
    rival : Managed, on the forecasts of the best baseline of the search
    rival_label : str
    over_constant, over_rival : list of Fee, by risk aversion, that an investor would pay to hold
        the winner's position instead
    """

    dates: pd.DatetimeIndex
    winner: Managed
    constant: Managed
    rival: Managed
    rival_label: str
    over_constant: list[Fee]
    over_rival: list[Fee]

    def to_json(self) -> dict[str, Any]:
        """Return all figures."""
        values = asdict(self)
        del values["dates"]
        return values


def sized(holdout: Dataset, forecast: Floats, rival: Floats) -> list[Sized]:
    """Return each symbol with its weights; none if there is no volatility, or no returns.

    Parameters
    ----------
    holdout : Dataset
    forecast, rival : array, (targets,), symbol after symbol, in the target's unit
        Of the winner, and of the baseline that was best on the search data.
    """
    target, most = TARGETS[holdout.spec.data.target], holdout.spec.backtest.max_weight
    if not target.is_volatility or no_returns(holdout):
        return []
    # The volatility of the next bars is held over the first of them, that of one bar over that bar.
    earlier = holdout.horizon - 1 if target.is_span else 0
    (parts,) = holdout.parts
    found = []
    for part, own, other in zip(
        parts, by_part(parts, forecast), by_part(parts, rival), strict=True
    ):
        valid, member, usual = part.fold.valid, part.member, _usual(part)
        bars = slice(valid.start - 1 - earlier, valid.stop - earlier)
        with np.errstate(over="ignore"):  # a forecast that is far too large: no position
            weights, others = (timing_weights(np.exp(f), usual, most) for f in (own, other))
        found.append(Sized(member.symbol, member.dates[bars], member.closes[bars], weights, others))
    return found


def _usual(part: Part) -> float:
    """Return the root mean square of the volatility of a symbol in the search part."""
    train = part.fold.train
    return float(np.mean(np.exp(2 * part.member.series.target[train.start : train.stop])) ** 0.5)


def joined(parts: Sequence[Sized]) -> Sized:
    """Join a symbol's periods; between two that do not touch the last weight is held."""
    bars, closes = [parts[0].bars], [parts[0].closes]
    weights, rival_weights = [parts[0].weights], [parts[0].rival_weights]
    for before, part in pairwise(parts):
        touches = before.bars[-1] == part.bars[0]
        bars.append(part.bars[1:] if touches else part.bars)
        closes.append(part.closes[1:] if touches else part.closes)
        for kept, last, new in (
            (weights, before.weights[-1:], part.weights),
            (rival_weights, before.rival_weights[-1:], part.rival_weights),
        ):
            kept.extend([new] if touches else [last, new])
    return Sized(
        symbol=parts[0].symbol,
        bars=np.concatenate(bars),
        closes=np.concatenate(closes),
        weights=np.concatenate(weights),
        rival_weights=np.concatenate(rival_weights),
    )


def time_volatility(
    found: Sequence[Sized], years: float, rules: BacktestSection, rival_label: str
) -> Timing | None:
    """Hold an equal part of the capital in each symbol, by its weights; None without symbols.

    Parameters
    ----------
    found : sequence of Sized
    years : float
        Bars per year.
    rules : BacktestSection
    rival_label : str
        Name of the baseline.
    """
    if not found:
        return None
    weights = (
        [each.weights for each in found],
        [np.full_like(each.weights, each.weights.mean()) for each in found],
        [each.rival_weights for each in found],
    )
    winner, constant, rival = (_hold(found, each, years, rules.cost_bps) for each in weights)
    return Timing(
        dates=_dates(found),
        winner=winner,
        constant=constant,
        rival=rival,
        rival_label=rival_label,
        over_constant=_fees(winner, constant, years),
        over_rival=_fees(winner, rival, years),
    )


def time_holdout(
    holdout: Dataset, forecast: Floats, rival: Floats, rival_label: str
) -> Timing | None:
    """Time the volatility of each symbol of the holdout; parameters as of `sized`."""
    found = sized(holdout, forecast, rival)
    return time_volatility(found, bars_per_year(holdout.dates), holdout.spec.backtest, rival_label)


def _hold(
    found: Sequence[Sized], weights: Sequence[Floats], years: float, cost_bps: float
) -> Managed:
    held = [
        hold_weights(each.closes, of_symbol, cost_bps, years)
        for each, of_symbol in zip(found, weights, strict=True)
    ]
    dates = _dates(found)
    places = [np.searchsorted(dates, each.bars) for each in found]
    return equal_parts_managed(held, places, len(dates), years)


def _dates(found: Sequence[Sized]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.unique(np.concatenate([each.bars for each in found])))


def _fees(winner: Managed, other: Managed, years: float) -> list[Fee]:
    own, others = (growth_rates(each["equity"]) for each in (winner, other))
    return [performance_fee(own, others, aversion, years) for aversion in AVERSIONS]
