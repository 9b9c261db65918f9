"""Whether prediction intervals held: coverage over time and by volatility, and interval score."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.evaluation.conformal import recent_deviation
from puffin.models.evaluation.direction import wilson

# Parts of equal size into which bars are divided by the volatility before them.
PARTS = ("low", "middle", "high")


@dataclass(frozen=True)
class Share:
    """The share of the bars inside their intervals, with its 95 % confidence interval."""

    share: float
    low: float
    high: float

    def holds(self, level: float) -> bool:
        """Return whether the share may be `level`, and differs from it by chance alone."""
        return self.low <= level <= self.high


def share_inside(
    inside: NDArray[np.bool_], horizon: int = 1, dates: NDArray[np.datetime64] | None = None
) -> Share:
    """Return the share of bars (n,) that lie inside, with the interval of Wilson (1927).

    Errors over several bars overlap, and symbols move together: as for the direction accuracy, the
    interval counts one in `horizon` dates. By default each bar has its own date.
    """
    if not len(inside):
        return Share(math.nan, math.nan, math.nan)
    share = float(inside.mean())
    dated = len(inside) if dates is None else len(np.unique(dates))
    trials = max(dated // horizon, 1)
    return Share(share, *wilson(round(share * trials) / trials, trials))


def interval_score(low: Floats, high: Floats, actual: Floats, level: float) -> Floats:
    """Return the interval score of each bar, in the unit of the target; less is better.

    It is the width, and ``2 / (1 - level)`` times the distance of an actual value outside. Its mean
    is lowest if the ends are the quantiles that they should be.

    References
    ----------
    Gneiting and Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA
    102(477), section 6.2.
    """
    outside = np.maximum(low - actual, 0.0) + np.maximum(actual - high, 0.0)
    score: Floats = high - low + 2 / (1 - level) * outside
    return score


def recent_volatility(closes: Floats) -> Floats:
    """Return how far returns have deviated of late, as known at each bar, (bars,).

    If some closes are not positive, it is that of their changes.
    """
    values = np.log(closes) if (closes > 0).all() else closes
    return recent_deviation(np.append(np.nan, np.diff(values)))


def thirds(volatility: Floats) -> NDArray[np.int64]:
    """Return the third of each bar (n,), from 0, in ascending order of the volatility before it."""
    order = np.argsort(np.argsort(volatility, kind="stable"), kind="stable")
    third: NDArray[np.int64] = order * len(PARTS) // len(volatility)
    return third
