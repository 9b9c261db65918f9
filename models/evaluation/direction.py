"""Directions of moves: how often they were forecast, and whether by chance."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import ROUNDING, Floats, of_one_length
from puffin.models.evaluation.long_run_variance import (
    FEWEST,
    degrees_of_freedom,
    long_run_variance,
)

# Coverage of the confidence intervals.
CONFIDENCE = 0.95
_UPPER = (1 + CONFIDENCE) / 2
_NORMAL = NormalDist().inv_cdf(_UPPER)


@dataclass(frozen=True)
class Direction:
    """Direction accuracy: how often the sign of a move was forecast.

    Attributes
    ----------
    accuracy : float, share of the moves whose sign was right; NaN without a move
    low, high : float, its 95 % confidence interval
    moves : int, bars that moved
    """

    accuracy: float
    low: float
    high: float
    moves: int


def direction(
    forecast: Floats,
    actual: Floats,
    persistence: Floats,
    horizon: int = 1,
    dates: NDArray[np.datetime64] | None = None,
) -> Direction:
    """Compute the share of moves away from `persistence` whose sign was forecast.

    The interval is that of Wilson for as many independent trials as have the variance of the
    share, but no more than there are moves. The variance allows for hits that depend on each other
    over time, because moves overlap or the market drifts, and between series on one date; the
    quantile is that of its Student's t.

    Parameters
    ----------
    forecast, actual, persistence : array, (n,), in one unit
        `persistence` is 0 for a return, the last price or range otherwise. Bars that did not move
        are left out.
    horizon : int
        Bars ahead. If all hits are equal, or there are fewer than four dates, their variance is
        unknown, and one in `horizon` dates counts as a trial.
    dates : array, (n,), optional
        By default each move has its own date, in order of time.

    References
    ----------
    Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22(158).
    Franco, Little, Louis and Slud (2019), "Comparative Study of Confidence Intervals for
    Proportions in Complex Sample Surveys", Journal of Survey Statistics and Methodology 7(3), on
    Wilson's interval with the effective number of trials.
    """
    hits, moved = hits_of(forecast, actual, persistence), actual != persistence
    moves = len(hits)
    if not moves:
        return Direction(float("nan"), float("nan"), float("nan"), 0)
    accuracy = float(np.mean(hits))
    surplus = np.asarray(hits - accuracy, np.float64)
    surplus = _sum_by_date(surplus, None if dates is None else dates[moved])
    trials = max(len(surplus) // horizon, 1)
    if _is_constant(surplus):
        return Direction(accuracy, *wilson(round(accuracy * trials) / trials, trials), moves)
    # Imported here, because commands that manage studies do not need it.
    from scipy.special import stdtrit

    variance = len(surplus) * float(long_run_variance(surplus[None])[0]) / moves**2
    effective = min(accuracy * (1 - accuracy) / variance, moves) if variance > 0 else moves
    t = float(stdtrit(degrees_of_freedom(len(surplus)), _UPPER))
    return Direction(accuracy, *wilson(accuracy, effective, t), moves)


def hits_of(forecast: Floats, actual: Floats, persistence: Floats) -> NDArray[np.bool_]:
    """Return of each move, (moves,), whether its sign was forecast."""
    moved = actual != persistence
    return np.asarray(
        np.sign(forecast - persistence)[moved] == np.sign(actual - persistence)[moved]
    )


def _sum_by_date(values: Floats, dates: Any) -> Floats:
    """Return the sum of values (n,) on each date, in order of time."""
    if dates is None:
        return values
    _, places = np.unique(dates, return_inverse=True)
    return np.asarray(np.bincount(places, weights=values))


def _is_constant(values: Floats) -> bool:
    """Return whether values (n,), sums of shares, have no variance, or too few to tell."""
    return len(values) < FEWEST or bool(np.ptp(values) <= ROUNDING)


def wilson(share: float, trials: float, z: float = _NORMAL) -> tuple[float, float]:
    """Return the 95 % interval of Wilson of a share; `z` is the quantile of its distribution."""
    weight = z * z / trials
    middle = share + weight / 2
    reach = z * math.sqrt((share * (1 - share) + weight / 4) / trials)
    low, high = (middle - reach) / (1 + weight), (middle + reach) / (1 + weight)
    return (low if share > 0 else 0.0), (high if share < 1 else 1.0)


@dataclass(frozen=True)
class DirectionTest:
    """A test of whether the forecast and the actual direction are independent.

    Attributes
    ----------
    accuracy : float, share of the moves whose direction was forecast
    by_chance : float, expected accuracy of independent forecasts with the same share of ups, of
        each series
    up_share : float, share of the moves that went up: the accuracy of forecasting "up" always
    forecast_up_share : float, share of the moves that were forecast to go up
    statistic, p_better : float, one-sided; NaN if of each series all moves or all forecasts have
        one direction, or there are fewer than four dates with a move
    degrees : int, degrees of freedom of Student's t
    moves : int, bars that moved
    """

    accuracy: float
    by_chance: float
    up_share: float
    forecast_up_share: float
    statistic: float
    p_better: float
    degrees: int
    moves: int

    @property
    def is_defined(self) -> bool:
        """Whether forecasts as well as moves have both directions."""
        return bool(np.isfinite(self.statistic))


def pesaran_timmermann(
    forecast: Any, actual: Any, persistence: Any, dates: Any = None, series: Any = None
) -> DirectionTest:
    """Test whether the direction of moves was forecast better than by chance.

    Bars that did not move are left out. A forecast of no move counts as a forecast of no rise. Use
    the test only if `persistence` does not predict the direction of the move: a mean-reverting
    series rises after low values, so nearly every forecast passes, even a constant.

    Parameters
    ----------
    forecast, actual, persistence : array, list or pandas Series, (n,), in one unit
        `persistence` is the persistence forecast: 0 for a return.
    dates : array, (n,), optional
        By default each move has its own date, in order of time.
    series : array, (n,), optional
        Names of the series that are forecast. By default there is one.

    Raises
    ------
    ValueError
        If the lengths differ or a value is not finite.

    Notes
    -----
    The test of Pesaran and Timmermann (1992) is one of the covariance between two indicators, that
    of a rise and that of a forecast rise: ``2 covariance = accuracy - by_chance``. Its variance
    holds for independent moves; here the products of which the covariance is the mean are summed
    by date, and their variance is the long-run variance of these sums. So moves may overlap, both
    indicators may depend on their past, and the series on each other. Forecasts that are
    independent of the moves pass in about 5 % of cases, which ``benchmarks/directions.py`` shows.

    The tests of Pesaran and Timmermann (2009) are for the same null hypothesis, but regress both
    indicators on the past of both. This leaves nothing to test of a forecast that is a function of
    the last move, and less power over horizons above one.

    References
    ----------
    Pesaran and Timmermann (1992), "A Simple Nonparametric Test of Predictive Performance", Journal
    of Business & Economic Statistics 10(4), statistic S_n.
    Pesaran and Timmermann (2009), "Testing Dependence Among Serially Correlated Multicategory
    Variables", Journal of the American Statistical Association 104(485).
    """
    forecasts, actuals, last = of_one_length(forecast=forecast, actual=actual, last=persistence)
    moved = actuals != last
    moves = int(moved.sum())
    if not moves:
        nan = float("nan")
        return DirectionTest(nan, nan, nan, nan, nan, nan, 0, 0)
    up, predicted_up = (actuals > last)[moved], (forecasts > last)[moved]
    names = np.zeros(len(actuals)) if series is None else np.asarray(series)
    products = _centred(up, names[moved]) * _centred(predicted_up, names[moved])
    accuracy = float((up == predicted_up).mean())
    by_date = _sum_by_date(products, None if dates is None else np.asarray(dates)[moved])
    degrees = degrees_of_freedom(len(by_date))
    statistic = _t_statistic(by_date)
    # Imported here, because commands that manage studies do not need it.
    from scipy.special import stdtr

    return DirectionTest(
        accuracy=accuracy,
        by_chance=accuracy - 2 * float(products.mean()),
        up_share=float(up.mean()),
        forecast_up_share=float(predicted_up.mean()),
        statistic=statistic,
        p_better=float(stdtr(degrees, -statistic)),
        degrees=degrees,
        moves=moves,
    )


def _centred(flags: NDArray[np.bool_], names: NDArray[Any]) -> Floats:
    """Return indicators (n,) less their share in the series of each."""
    _, places, counts = np.unique(names, return_inverse=True, return_counts=True)
    return np.asarray(flags - (np.bincount(places, weights=flags) / counts)[places])


def _t_statistic(values: Floats) -> float:
    """Return the mean of values (n,) over its standard error; NaN if there is nothing to test."""
    if _is_constant(values):
        return float("nan")
    return float(values.mean() / (long_run_variance(values[None])[0] / len(values)) ** 0.5)
