"""Tests of a mean whose observations depend on each other for a length that the data decide.

Loss differentials of overlapping labels are correlated up to the horizon. Those one bar ahead are
too, a little, and over years the worth of a forecast drifts, with the market and with the age of a
network. The variance here allows for both.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from puffin.models.arrays import Floats, as_series, require_finite, varies
from puffin.models.evaluation.forecast_tests import LEVEL, POWER, TestedMean
from puffin.models.evaluation.long_run_variance import (
    FEWEST,
    degrees_of_freedom,
    long_run_variance,
)

# Paths of white noise that give the distribution of a fluctuation test, and their seed.
_PATHS, _CHUNK, _SEED = 2_000, 100, 0


@dataclass(frozen=True)
class LongRunTest(TestedMean):
    """A test of whether the mean loss differential is above 0.

    Attributes
    ----------
    mean : float, the mean loss differential, in units of the loss
    error : float, standard error of the mean
    statistic : float, NaN if all loss differentials are equal, or there are fewer than four, so
        that nothing can be tested
    p_better : float, one-sided p-value of a mean above 0
    p_two_sided : float, two-sided p-value of a mean other than 0
    degrees : int, degrees of freedom of Student's t
    count : int, bars
    """

    mean: float
    error: float
    statistic: float
    p_better: float
    p_two_sided: float
    degrees: int
    count: int

    @property
    def detectable(self) -> float:
        """Mean that is significant at 5 %, one-sided, in four of five samples of this length."""
        multiple = t.ppf(1 - LEVEL, self.degrees) + t.ppf(POWER, self.degrees)
        return float(multiple * self.error)

    @property
    def highest(self) -> float:
        """One-sided upper bound of the mean, with a confidence of 95 %."""
        return float(self.mean + t.ppf(1 - LEVEL, self.degrees) * self.error)


def long_run_test(loss_differentials: Any) -> LongRunTest:
    """Test whether a model forecasts better than a baseline, if losses depend on each other.

    The statistic of Diebold and Mariano with the equal-weighted cosine estimate of the long-run
    variance: the mean of the squared projections onto the ``0.4 n^(2/3)`` slowest cosines, which is
    compared with Student's t with as many degrees of freedom. Overlapping labels are faster than
    these cosines, so that there is one test for every horizon. Of equal forecasts whose loss
    differentials are first-order autoregressions of 0.5, 5 % are called better at 5 % from 30 bars
    on; of 0.8, 7 % at 126 bars and 6 % at 756. Differentials with long memory break the level;
    benchmarks/outcomes.py measures by how much, and that those of good forecasts have none.

    Parameters
    ----------
    loss_differentials : array, list or pandas Series, (n,), in units of the loss
        The baseline's loss minus the model's, in order of time.

    Raises
    ------
    ValueError
        If a loss differential is not finite, or there is none.

    References
    ----------
    Diebold and Mariano (1995), "Comparing Predictive Accuracy", Journal of Business & Economic
    Statistics 13(3).
    Lazarus, Lewis, Stock and Watson (2018), "HAR Inference: Recommendations for Practice", Journal
    of Business & Economic Statistics 36(4), the EWC test.
    """
    values = _checked(loss_differentials)
    count, degrees = len(values), degrees_of_freedom(len(values))
    error = float("nan")
    if count >= FEWEST and varies(values):
        # Of few bars it can be 0 although they differ, so that nothing can be tested.
        error = float((long_run_variance(values[None])[0] / count) ** 0.5) or float("nan")
    mean = float(values.mean())
    statistic = mean / error
    return LongRunTest(
        mean=mean,
        error=error,
        statistic=statistic,
        p_better=float(t.sf(statistic, degrees)),
        p_two_sided=float(2 * t.sf(abs(statistic), degrees)),
        degrees=degrees,
        count=count,
    )


@dataclass(frozen=True, eq=False)
class Fluctuation:
    """The mean loss differential of every window, and whether it differed from 0 in any.

    Attributes
    ----------
    window : int, bars of a window
    statistics : array, (n - window + 1,), of the windows in order of time: above 0 where the model
        was better, NaN if all loss differentials are equal
    critical : float, size that the largest statistic exceeds by chance in 5 % of series
    p : float, how often chance gives a larger one somewhere; NaN if nothing can be tested
    """

    window: int
    statistics: Floats
    critical: float
    p: float

    @property
    def was_better(self) -> bool:
        """Whether the model was significantly better in a window."""
        return bool(self.statistics.max() > self.critical)

    @property
    def was_worse(self) -> bool:
        """Whether the model was significantly worse in a window."""
        return bool(self.statistics.min() < -self.critical)


def fluctuation(loss_differentials: Any, window: int) -> Fluctuation:
    """Test whether two forecasts are equally good at all times, against a difference at any time.

    The statistic of a window is its sum of loss differentials, divided by the root of the window's
    length times the long-run variance of the whole series. The variance is that of `long_run_test`
    without the cosines that are slower than two windows. The largest statistic is compared with
    that of as many windows on white noise, which also has the estimation error of the variance; for
    long series this is the limit of which the paper's Table I lists quantiles. The level holds for
    loss differentials that depend on each other moderately: of first-order autoregressions of 0.5
    it is exceeded in 5 %, but of 0.8 in 13 % of series of 240 bars, and in 7 % of 756.

    Parameters
    ----------
    loss_differentials : array, list or pandas Series, (n,), in units of the loss
        In order of time.
    window : int
        Bars of a window.

    Raises
    ------
    ValueError
        If a loss differential is not finite, there are fewer than four, or `window` is not between
        1 and n.

    References
    ----------
    Giacomini and Rossi (2010), "Forecast Comparisons in Unstable Environments", Journal of Applied
    Econometrics 25(4), the fluctuation test.
    """
    values = _checked(loss_differentials, FEWEST)
    if not 1 <= window <= len(values):
        raise ValueError(
            f"window must be between 1 and the number of bars, but is {window} with "
            f"{len(values)} loss differentials"
        )
    largest = _largest_by_chance(len(values), window)
    critical = float(np.quantile(largest, 1 - LEVEL))
    if not varies(values):
        nothing = np.full(len(values) - window + 1, np.nan)
        return Fluctuation(window, nothing, critical, float("nan"))
    statistics = _in_windows(values[None], window)[0]
    # The series counts as one of the paths, so that no p-value is 0.
    p = (1 + (largest >= np.abs(statistics).max()).sum()) / (1 + _PATHS)
    return Fluctuation(window, statistics, critical, float(p))


def _largest_by_chance(count: int, window: int) -> Floats:
    """Return the largest statistic of each path of white noise, (paths,)."""
    rng = np.random.default_rng(_SEED)
    # A few paths at once, so that a long series takes little memory.
    chunks = (rng.standard_normal((_CHUNK, count)) for _ in range(_PATHS // _CHUNK))
    return np.concatenate([np.abs(_in_windows(paths, window)).max(axis=1) for paths in chunks])


def _in_windows(values: Floats, window: int) -> Floats:
    """Return the statistics (series, n - window + 1) of the windows of series (series, n)."""
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    # What is slower than two windows is what the test looks for, and would hide itself.
    slower = 2 * values.shape[1] // window
    spread = (window * long_run_variance(values, slower)) ** 0.5
    return np.asarray((sums[:, window:] - sums[:, :-window]) / spread[:, None])


def _checked(loss_differentials: Any, fewest: int = 1) -> Floats:
    values = as_series("loss_differentials", loss_differentials)
    require_finite("loss_differentials", values)
    if len(values) < fewest:
        raise ValueError(
            f"there must be at least {fewest} loss differentials, but there are {len(values)}"
        )
    return values
