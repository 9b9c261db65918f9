"""Volatility timing on the holdout: what forecasts of a volatility are worth to an investor."""

from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.volatility_timing import (
    Fee,
    Managed,
    equal_parts_managed,
    growth_rates,
    hold_weights,
    performance_fee,
    timing_weights,
)
from puffin.models.features import TARGETS
from puffin.models.panel import Part, by_part
from puffin.studies.dataset import Dataset
from puffin.studies.report.baselines import BaselineResult
from puffin.studies.report.trading import bars_per_year, no_returns

# Relative risk aversions, those of Fleming, Kirby and Ostdiek (2001).
AVERSIONS = (1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Timing:
    """Positions that are smaller the more volatility was forecast, and others to compare with.

    Attributes
    ----------
    winner : Managed, on the forecasts of the winner
    constant : Managed, with the mean weight of the winner on each symbol at all bars
    rival : Managed, on the forecasts of the best baseline of the search
    rival_label : str
    over_constant, over_rival : list of Fee, by risk aversion, that an investor would pay to hold
        the winner's position instead
    """

    winner: Managed
    constant: Managed
    rival: Managed
    rival_label: str
    over_constant: list[Fee]
    over_rival: list[Fee]


def time_volatility(holdout: Dataset, forecast: Floats, rival: BaselineResult) -> Timing | None:
    """Hold each symbol of the holdout with a weight that falls with its forecast volatility.

    None if the target is no volatility, or there are no returns in per cent.

    Parameters
    ----------
    holdout : Dataset
    forecast : array, (targets,), symbol after symbol, in the target's unit
    rival : BaselineResult
        The baseline that was best on the search data.
    """
    if not TARGETS[holdout.spec.data.target].is_volatility or no_returns(holdout):
        return None
    weights, others = (_weights(holdout, of) for of in (forecast, rival.forecasts))
    winner, constant, other = (
        _hold(holdout, each)
        for each in (weights, [np.full(len(w), w.mean()) for w in weights], others)
    )
    return Timing(
        winner=winner,
        constant=constant,
        rival=other,
        rival_label=rival.label,
        over_constant=_fees(holdout, winner, constant),
        over_rival=_fees(holdout, winner, other),
    )


def _weights(holdout: Dataset, forecast: Floats) -> list[Floats]:
    """Return the weights of each symbol, (targets,) each."""
    (parts,) = holdout.parts
    most = holdout.spec.backtest.max_weight
    with np.errstate(over="ignore"):  # a forecast that is far too large overflows: no position
        return [
            timing_weights(np.exp(ahead), _usual(part), most)
            for part, ahead in zip(parts, by_part(parts, forecast), strict=True)
        ]


def _usual(part: Part) -> float:
    """Return the root mean square of the volatility of a symbol in the search part."""
    train = part.fold.train
    return float(np.mean(np.exp(2 * part.member.series.target[train.start : train.stop])) ** 0.5)


def _hold(holdout: Dataset, weights: list[Floats]) -> Managed:
    """Hold an equal part in each symbol; the weight of a bar is that of the target at it."""
    (parts,) = holdout.parts
    years, cost = bars_per_year(holdout.dates), holdout.spec.backtest.cost_bps
    spans = [slice(*_traded(part, holdout)) for part in parts]
    held = [
        hold_weights(part.member.closes[span], of_part, cost, years)
        for part, span, of_part in zip(parts, spans, weights, strict=True)
    ]
    each = [part.member.dates[span] for part, span in zip(parts, spans, strict=True)]
    dates = np.unique(np.concatenate(each))
    places = [np.searchsorted(dates, of_part) for of_part in each]
    return equal_parts_managed(held, places, len(dates), years)


def _traded(part: Part, holdout: Dataset) -> tuple[int, int]:
    """Return the bars of a symbol from the close before its first weight to the last one.

    The volatility of the next bars is held over the first of them, that of one bar over that bar.
    """
    is_span = TARGETS[holdout.spec.data.target].is_span
    earlier = holdout.horizon - 1 if is_span else 0
    return part.fold.valid.start - 1 - earlier, part.fold.valid.stop - earlier


def _fees(holdout: Dataset, winner: Managed, other: Managed) -> list[Fee]:
    years = bars_per_year(holdout.dates)
    own, others = (growth_rates(each["equity"]) for each in (winner, other))
    return [performance_fee(own, others, aversion, years) for aversion in AVERSIONS]
