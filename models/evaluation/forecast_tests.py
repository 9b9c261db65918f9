"""Statistical tests of whether one forecaster is better than another, or only by chance.

A *loss differential* is the loss of the baseline minus the loss of the model at one bar: positive
if the model was better. Losses of forecasts `horizon` bars ahead are correlated over
``horizon - 1`` bars, because their labels overlap.

Several series that are forecast at once move together, so that their losses on one date are one
observation: average the loss differentials over the series by date, and test that one series. This
is the test of the pooled average of Qu, Timmermann and Zhu (2024), "Comparing forecasting
performance with panel data", International Journal of Forecasting 40(3), first circulated by
Timmermann and Zhu in 2019; it allows for any dependence between series on a date. Akgun, Pirotte,
Urga and Yang (2024), "Equal predictive ability tests based on panel data with applications to OECD
and IMF forecasts", in the same journal 40(1), compare it with tests that assume less dependence.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from puffin.models.arrays import Floats, as_series, of_one_length, require_finite, varies

# Significance level of every test, and the power at which a skill counts as detectable.
LEVEL, POWER = 0.05, 0.80


class TestedMean:
    """What every test of a mean loss differential has."""

    statistic: float
    p_better: float

    @property
    def is_defined(self) -> bool:
        """Whether the loss differentials differ, so that there is something to test."""
        return bool(np.isfinite(self.statistic))

    @property
    def p_worse(self) -> float:
        """One-sided p-value of a mean below 0."""
        return 1.0 - self.p_better


@dataclass(frozen=True)
class MeanTest(TestedMean):
    """A test of whether the mean loss differential is above 0.

    Attributes
    ----------
    mean : float, the mean loss differential, in units of the loss
    statistic : float, NaN if all loss differentials are equal, so that nothing can be tested
    p_better : float, one-sided p-value of a mean above 0
    p_two_sided : float, two-sided p-value of a mean other than 0
    lags : int, autocovariances in the variance: ``horizon - 1``, or 0 if the variance would not be
        positive with them
    count : int, bars
    """

    mean: float
    statistic: float
    p_better: float
    p_two_sided: float
    lags: int
    count: int


def clark_west(forecast: Any, baseline: Any, actual: Any, horizon: int = 1) -> MeanTest:
    """Test whether a model is better than a baseline that is a special case of it.

    If the baseline is true, the larger model fits parameters to noise, so its squared errors are
    too large in expectation. The test adds ``(baseline - forecast)²`` to the loss differential of
    the squared errors, and compares the mean with the normal distribution. The long-run
    variance is that of a rectangular window of ``horizon - 1`` lags; if it is not positive, that of
    no lags. Do not use the test with a baseline that is not nested in the model: the adjustment
    favours the model.

    Parameters
    ----------
    forecast, baseline, actual : array, list or pandas Series, (n,), in one unit
        In order of time.
    horizon : int
        Bars ahead.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or `horizon` is not at least 1 and below n.

    References
    ----------
    Clark and West (2007), "Approximately normal tests for equal predictive accuracy in nested
    models", Journal of Econometrics 138(1), MSPE-adjusted.
    """
    return clark_west_mean(adjusted_differentials(forecast, baseline, actual), horizon)


def adjusted_differentials(forecast: Any, baseline: Any, actual: Any) -> Floats:
    """Return the loss differentials of `clark_west`, (n,); parameters as there."""
    f, b, a = of_one_length(forecast=forecast, baseline=baseline, actual=actual)
    return np.asarray((a - b) ** 2 - (a - f) ** 2 + (b - f) ** 2)


def clark_west_mean(adjusted: Any, horizon: int = 1) -> MeanTest:
    """Test whether the mean of adjusted loss differentials is above 0, as `clark_west` does.

    Of several series forecast at once, average them by date first: see `adjusted_differentials`.
    """
    values = _checked_differentials("adjusted loss differentials", adjusted, horizon)
    error, lags = _standard_error(values, horizon)
    statistic = float(values.mean()) / error
    return MeanTest(
        mean=float(values.mean()),
        statistic=statistic,
        p_better=float(norm.sf(statistic)),
        p_two_sided=float(2 * norm.sf(abs(statistic))),
        lags=lags,
        count=len(values),
    )


def holm(p_values: Any) -> Floats:
    """Adjust p-values (n,) for their number, so that a level bounds the chance of any false one.

    The tests may depend on each other in any way. An undefined p-value stays NaN and does not
    count.

    References
    ----------
    Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2).
    """
    values = np.asarray(p_values, np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    ascending = known[np.argsort(values[known])]
    steps = values[ascending] * np.arange(len(known), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _standard_error(values: Floats, horizon: int) -> tuple[float, int]:
    """Return the standard error of the mean of values (n,), NaN if all are equal, and its lags."""
    if not varies(values):
        return float("nan"), horizon - 1
    for lags in (horizon - 1, 0):
        variance = _long_run_variance(values, lags)
        if variance > 0:
            break
    return float(np.sqrt(variance / len(values))), lags


def _long_run_variance(values: Floats, lags: int) -> float:
    centred, count = values - values.mean(), len(values)
    covariances = [centred[k:] @ centred[: count - k] / count for k in range(lags + 1)]
    return float(2 * sum(covariances) - covariances[0])


def _checked_differentials(name: str, loss_differentials: Any, horizon: int) -> Floats:
    values = as_series(name, loss_differentials)
    require_finite(name, values)
    if not 1 <= horizon < len(values):
        raise ValueError(
            f"horizon must be at least 1 and below the number of bars, but is {horizon} "
            f"with {len(values)} {name}"
        )
    return values
