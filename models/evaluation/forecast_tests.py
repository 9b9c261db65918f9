"""Whether one forecaster is better than another, or was lucky on these bars.

A *loss differential* is the loss of the baseline minus the loss of the model at one bar: positive
if the model was better. Losses of forecasts `horizon` bars ahead are correlated over
``horizon - 1`` bars, because so many of their labels overlap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

from puffin.models.arrays import Floats, as_series, require_finite, require_same_index, varies

# Significance of every test, and the power that the detectable skill is stated for.
LEVEL, POWER = 0.05, 0.80


@dataclass(frozen=True)
class MeanTest:
    """A test of whether the mean loss differential is above 0.

    Attributes
    ----------
    mean : float, the mean loss differential, in units of the loss
    statistic : float, NaN if all loss differentials are equal: then nothing can be tested
    p_better : float, one-sided p-value of a mean above 0
    p_two_sided : float, two-sided p-value of a mean other than 0
    lags : int, autocovariances that the variance counts; 0 where those of ``horizon - 1`` lags
        gave no positive variance
    count : int, bars
    """

    mean: float
    statistic: float
    p_better: float
    p_two_sided: float
    lags: int
    count: int

    @property
    def is_defined(self) -> bool:
        """Whether the loss differentials differ, so that there is something to test."""
        return bool(np.isfinite(self.statistic))

    @property
    def p_worse(self) -> float:
        """One-sided: how often luck alone has such a loss or a larger one."""
        return 1.0 - self.p_better


def diebold_mariano(loss_differentials: Any, horizon: int = 1) -> MeanTest:
    """Test whether a model forecasts better than a baseline.

    With the small-sample correction of Harvey, Leybourne and Newbold, and their Student t with
    ``n - 1`` degrees of freedom. The long-run variance is that of a rectangular window of
    ``horizon - 1`` lags, which need not be positive. Where it is not, the whole test is done as if
    `horizon` were 1, the way R's ``forecast::dm.test`` does it; `lags` tells.

    Parameters
    ----------
    loss_differentials : array, list or pandas Series, (n,), in units of the loss
        The baseline's loss less the model's, in order of time.
    horizon : int
        Bars ahead.

    Raises
    ------
    ValueError
        If a loss differential is not finite, or `horizon` is not at least 1 and below n.

    References
    ----------
    Diebold and Mariano (1995), "Comparing Predictive Accuracy", Journal of Business & Economic
    Statistics 13(3), statistic S1.
    Harvey, Leybourne and Newbold (1997), "Testing the equality of prediction mean squared errors",
    International Journal of Forecasting 13(2), statistic S1*.
    """
    values = _checked_differentials("loss_differentials", loss_differentials, horizon)
    error, lags = _corrected_error(values, horizon)
    statistic, count = float(values.mean()) / error, len(values)
    return MeanTest(
        mean=float(values.mean()),
        statistic=statistic,
        p_better=float(t.sf(statistic, count - 1)),
        p_two_sided=float(2 * t.sf(abs(statistic), count - 1)),
        lags=lags,
        count=count,
    )


def clark_west(forecast: Any, baseline: Any, actual: Any, horizon: int = 1) -> MeanTest:
    """Test whether a model is better than a baseline that is a special case of it.

    Of any other baseline the test says nothing: its adjustment favours the model.

    Where the truth is the baseline, the larger model pays for the parameters that it fits to
    noise, and squared errors alone make it look worse than it is. So the loss differential is
    that of the squared errors plus ``(baseline - forecast)²``, and is tested as the mean of a
    series, by the normal distribution. The variance is that of `diebold_mariano`, without its
    correction.

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
    own, small, truth = _of_one_length(forecast=forecast, baseline=baseline, actual=actual)
    adjusted = (truth - small) ** 2 - (truth - own) ** 2 + (small - own) ** 2
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


def detectable_skill(loss_differentials: Any, baseline_losses: Any, horizon: int = 1) -> float:
    """Return the true skill that `diebold_mariano` finds with a power of 80 %.

    A model whose true skill ``1 - loss / baseline loss`` is this large is called better, at 5 %
    one-sided, on four of five stretches of so many bars; a smaller true skill is missed more
    often than that. It is no least skill that can be shown: two thirds of it are found half of the
    time, and the *observed* skill that is just significant is about two thirds of it::

        (t(0.95) + t(0.80)) * standard error of the mean / mean loss of the baseline

    with Student t of ``n - 1`` degrees of freedom and the standard error that the test uses. It
    holds for forecasts that depart from the baseline as much as these do: bolder ones need more.

    Parameters
    ----------
    loss_differentials, baseline_losses : array, list or pandas Series, (n,), in units of the loss
        In order of time.
    horizon : int
        Bars ahead.

    Returns
    -------
    float
        NaN where all loss differentials are alike, or the baseline is never wrong.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or `horizon` is not at least 1 and below n.

    References
    ----------
    Bloom (1995), "Minimum Detectable Effects: A Simple Way to Report the Statistical Power of
    Experimental Designs", Evaluation Review 19(5).
    """
    values, losses = _of_one_length(
        loss_differentials=loss_differentials, baseline_losses=baseline_losses
    )
    error, _ = _corrected_error(
        _checked_differentials("loss_differentials", values, horizon), horizon
    )
    if not losses.mean() > 0:
        return float("nan")
    multiple = t.ppf(1 - LEVEL, len(values) - 1) + t.ppf(POWER, len(values) - 1)
    return float(multiple * error / losses.mean())


@dataclass(frozen=True)
class DirectionTest:
    """A test of whether the forecast direction and the actual one have to do with each other.

    Attributes
    ----------
    accuracy : float, share of the moves whose direction was forecast
    by_chance : float, the share that the same numbers of ups and downs get without skill
    up_share : float, share of the moves that went up: what "always up" gets
    forecast_up_share : float, share of the moves that were forecast to go up
    statistic, p_better : float, one-sided; NaN where all moves or all forecasts go one way
    moves : int, bars that moved
    """

    accuracy: float
    by_chance: float
    up_share: float
    forecast_up_share: float
    statistic: float
    p_better: float
    moves: int

    @property
    def is_defined(self) -> bool:
        """Whether both forecasts and moves go up as well as down."""
        return bool(np.isfinite(self.statistic))


def pesaran_timmermann(
    forecast: Any, actual: Any, persistence: Any, horizon: int = 1
) -> DirectionTest:
    """Test whether the direction of moves was forecast better than by chance.

    Bars that did not move are left out. A forecast of no move at all counts as one of no rise. Only
    for moves whose direction `persistence` says nothing of: a series that comes back to its mean
    rises after low values, which any constant forecasts, so that nearly everything passes.

    Parameters
    ----------
    forecast, actual, persistence : array, list or pandas Series, (n,), in one unit
        `persistence` is the persistence forecast: 0 for a return.
    horizon : int
        Bars ahead. Moves that overlap are no independent trials, so one in `horizon` is counted.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or `horizon` is below 1.

    Notes
    -----
    With ``x`` and ``y`` the shares that went up and were forecast to, the two variances of the
    paper differ by ``4 x (1 - x) y (1 - y) (n - 1) / n²``, which is used here.

    References
    ----------
    Pesaran and Timmermann (1992), "A Simple Nonparametric Test of Predictive Performance", Journal
    of Business & Economic Statistics 10(4), statistic S_n.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, but is {horizon}")
    own, truth, before = _of_one_length(forecast=forecast, actual=actual, last=persistence)
    moved = truth != before
    moves = int(moved.sum())
    if not moves:
        nan = float("nan")
        return DirectionTest(nan, nan, nan, nan, nan, nan, 0)
    up, said_up = (truth > before)[moved], (own > before)[moved]
    x, y, accuracy = float(up.mean()), float(said_up.mean()), float((up == said_up).mean())
    by_chance = x * y + (1 - x) * (1 - y)
    trials = moves // horizon
    spread = 4 * x * (1 - x) * y * (1 - y) * (trials - 1)
    statistic = (accuracy - by_chance) * trials / spread**0.5 if spread > 0 else float("nan")
    return DirectionTest(accuracy, by_chance, x, y, statistic, float(norm.sf(statistic)), moves)


def _corrected_error(loss_differentials: Floats, horizon: int) -> tuple[float, int]:
    """Return the corrected standard error of the mean, and the lags that it counts."""
    error, lags = _standard_error(loss_differentials, horizon)
    count, ahead = len(loss_differentials), lags + 1
    # (n + 1 - 2h + h(h - 1) / n) / n of the paper, in factors.
    return error / ((count - ahead) * (count - ahead + 1)) ** 0.5 * count, lags


def _standard_error(values: Floats, horizon: int) -> tuple[float, int]:
    """Give the standard error of the mean of values (n,), NaN if all are alike, and its lags."""
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


def _of_one_length(**named: Any) -> list[Floats]:
    """Read series of finite numbers as arrays (n,).

    Raises
    ------
    ValueError
        If one has no such numbers or is not in order of time, or the lengths or indexes differ.
    """
    arrays = {name: as_series(name, values) for name, values in named.items()}
    require_same_index(**named)
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{' and '.join(named)} must have one length, but have {lengths}")
    for name, values in arrays.items():
        require_finite(name, values)
    return list(arrays.values())


def _checked_differentials(name: str, loss_differentials: Any, horizon: int) -> Floats:
    values = as_series(name, loss_differentials)
    require_finite(name, values)
    if not 1 <= horizon < len(values):
        raise ValueError(
            f"horizon must be at least 1 and below the number of bars, but is {horizon} "
            f"with {len(values)} {name}"
        )
    return values
