"""Prediction intervals from out-of-sample errors that scale with volatility and adapt over time.

An error is actual - forecast, of a bar that the forecasting network was not trained on. A score is
an error in units of how far the target deviated of late, as it was known when the forecast was
made. The interval of a bar is the range of the scores so far without their tails, times the
deviation when its own forecast is made. The share of the tails adapts: it falls after a miss and
rises after a hit. `benchmarks/coverage.py` compares this with other scales and ways to adapt.
"""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import ROUNDING, Floats
from puffin.models.errors import PuffinError

# Decays of the target's average, and of the deviations from it: those of RiskMetrics for a day and
# for a month. Faster deviations are noisier, and slower averages take a shift of the level for one.
_LEVEL_DECAY, _DEVIATION_DECAY = 0.94, 0.97
# Step of the adaptation, as in the experiments of Gibbs and Candès (2021). A larger step holds the
# level sooner, by intervals that are wider at one time and narrower at another than they should be.
STEP = 0.005
# A share of a count that is a whole number, such as 5 % of 20, can be off by rounding.
_RANK_TOLERANCE = 1e-9


class IntervalError(PuffinError):
    """The errors are too few for an interval."""


def recent_deviation(target: Floats, horizon: int = 1) -> Floats:
    """Return how far a target has deviated from its average of late, as known at each bar, (bars,).

    Both are exponentially weighted means: of the target, and of its distance from the mean that was
    known `horizon` bars before. It is 1 where the target has not moved yet.

    Parameters
    ----------
    target : array, (bars,)
        NaN in the first `horizon` bars, as in `puffin.models.features.Series`.
    horizon : int
        Bars ahead.

    References
    ----------
    J.P. Morgan and Reuters (1996), "RiskMetrics - Technical Document", 4th edition, section 5.3.
    """
    known, deviation = target[horizon:], np.zeros(len(target))
    if len(known) > horizon:
        distance = np.abs(known[horizon:] - _average(known, _LEVEL_DECAY)[:-horizon])
        deviation[2 * horizon :] = _average(distance, _DEVIATION_DECAY)
    # The mean of equal numbers can differ from them by rounding.
    smallest = ROUNDING * np.fmax.accumulate(np.abs(target))
    return np.where(deviation > smallest, deviation, 1.0)


def _average(values: Floats, decay: float) -> Floats:
    """Return the exponentially weighted mean of the values so far, (n,)."""
    # scipy's filter would take most of a second to import.
    sums = list(accumulate(values.tolist(), lambda total, value: decay * total + value))
    weights = (1 - decay ** np.arange(1, len(sums) + 1)) / (1 - decay)
    return np.asarray(np.array(sums) / weights)


def scores_of(errors: Floats, target: Floats, bars: NDArray[np.intp], horizon: int = 1) -> Floats:
    """Return the scores of errors (n,) of forecasts of a target at `bars` (n,).

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), "Distribution-Free Predictive Inference
    for Regression", JASA 113(523), section 5.2, with a scale that is known before.
    """
    scores: Floats = errors / recent_deviation(target, horizon)[bars - horizon]
    return scores


def residual_interval(residuals: Floats, level: float) -> tuple[float, float]:
    """Return the offsets from a forecast between which the actual lies with probability `level`.

    If residuals are exchangeable, the rank of the next one among n others is uniform, so it is
    below their k-th smallest with probability ``k / (n + 1)``. Each tail has the largest k for
    which that is at most ``(1 - level) / 2``. The two offsets can differ in size. Residuals of a
    changing market are not exchangeable, so only a holdout shows the real coverage.

    Parameters
    ----------
    residuals : array, (n,)
        actual - forecast, or scores, in any unit and order.
    level : float
        In (0, 1).

    Raises
    ------
    IntervalError
        If `level` is out of bounds, or there are too few residuals for it.

    References
    ----------
    Papadopoulos, Proedrou, Vovk and Gammerman (2002), "Inductive Confidence Machines for
    Regression", ECML; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), "Distribution-Free
    Predictive Inference for Regression", JASA 113(523), algorithm 2; with signed errors:
    Linusson, Johansson and Löfström (2014), "Signed-Error Conformal Regression", PAKDD.
    """
    require_enough(len(residuals), level)
    return without_tails(sorted(residuals.tolist()), 1 - level)


def require_enough(count: int, level: float) -> None:
    """Check that so many residuals have one in each tail.

    Raises
    ------
    IntervalError
        If they have not, or `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise IntervalError(f"level must be above 0 and below 1, but is {level}; 0.9 is usual")
    if count < (least := _least(level)):
        widest = math.floor(1000 * (1 - 2 / (count + 1))) / 1000
        fix = f"give a level of at most {widest:g}" if widest > 0 else "search with more bars"
        raise IntervalError(
            f"level {level:g} needs at least {least} out-of-sample residuals, to have one in each "
            f"tail of {(1 - level) / 2:.4g}, but there are {count}; {fix}"
        )


def _least(level: float) -> int:
    """Return the fewest residuals that have one in each tail."""
    return math.ceil(2 / (1 - level) - _RANK_TOLERANCE) - 1


def tail_rank(count: int, outside: float) -> int:
    """Return the rank, from either end of `count` residuals, at which a tail begins, from 1.

    Both tails together have a share of at most `outside`, but at least the outermost residual each.
    """
    rank = math.floor((count + 1) * outside / 2 + _RANK_TOLERANCE)
    return min(max(rank, 1), (count + 1) // 2)


def without_tails(ordered: Sequence[float], outside: float) -> tuple[float, float]:
    """Return the range of ascending residuals without tails: all numbers at 0, one at 1."""
    if outside <= 0:
        return -math.inf, math.inf
    if outside >= 1:
        return ordered[len(ordered) // 2], ordered[len(ordered) // 2]
    rank = tail_rank(len(ordered), outside)
    return ordered[rank - 1], ordered[-rank]


@dataclass(frozen=True, eq=False)
class Adapted:
    """The interval of each score, and of the next ones, from the scores known before it.

    Attributes
    ----------
    low, high : array, (n + horizon,)
        NaN as long as the scores are too few, infinite after too many misses. The last one knows
        all scores.
    outside : array, (n + horizon,)
        The share of both tails, adapted so far.
    """

    low: Floats
    high: Floats
    outside: Floats


def adapt(scores: Floats, level: float, horizon: int = 1) -> Adapted:
    """Return the intervals of scores (n,) in order of time, by adaptive conformal inference.

    With ``a = 1 - level``, the share of the tails becomes ``outside + STEP * (a - miss)`` when a
    score is known, `horizon` scores later. Whatever the scores, as long as none is equal to
    another, the share of misses of T intervals differs from a by at most
    ``(max(a, 1 - a) + horizon * STEP) / (T * STEP)``: at 0 no score misses, at 1 each does, and
    meanwhile `horizon` scores can be on their way.

    Raises
    ------
    IntervalError
        If `level` is not between 0 and 1, or the scores are too few for it.

    References
    ----------
    Gibbs and Candès (2021), "Adaptive Conformal Inference Under Distribution Shift", NeurIPS 34,
    section 2 and proposition 4.1.
    """
    require_enough(len(scores), level)
    least, outside = _least(level), 1 - level
    found = np.full((3, len(scores) + horizon), np.nan)
    ordered: list[float] = []
    for place in range(found.shape[1]):
        if (last := place - horizon) >= 0:
            score, (low, high, _) = float(scores[last]), found[:, last]
            insort(ordered, score)
            if not math.isnan(low):
                outside += STEP * (1 - level - (not low <= score <= high))
        if len(ordered) >= least:
            found[:, place] = *without_tails(ordered, outside), outside
    return Adapted(*found)
