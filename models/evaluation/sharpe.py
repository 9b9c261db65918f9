"""Sharpe ratios: how sure one is, and whether it exceeds the best of many trials without skill."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kurtosis, norm, skew

from puffin.models.arrays import (
    Floats,
    as_matrix,
    as_series,
    require_finite,
    require_same_index,
    varies,
)
from puffin.models.evaluation.long_run_variance import FEWEST, long_run_variance


@dataclass(frozen=True)
class SharpeErrors:
    """Standard errors of a Sharpe ratio per bar.

    Attributes
    ----------
    independent : float, if returns are independent and normal
    dependent : float, if they depend on each other over time, with any distribution; NaN if there
        are too few
    """

    independent: float
    dependent: float


def sharpe_errors(returns: Floats) -> SharpeErrors:
    """Return the standard errors of the Sharpe ratio of returns (n,) that vary.

    Of n independent normal returns it is ``sqrt((1 + ratio² / 2) / n)``. Otherwise the ratio is a
    function of the mean and the variance, so that its error at each bar, to first order, is::

        (return - mean) / deviation - ratio / 2 * ((return - mean)² / variance - 1)

    whose mean has the standard error of the long-run variance. The paper takes that of Newey and
    West, here it is the equal-weighted cosine estimate. An annual ratio, and with it its errors, is
    that per bar times the root of the bars per year.

    References
    ----------
    Lo (2002), "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), the standard
    errors for independent and for stationary returns.
    """
    count, ratio = len(returns), float(_sharpes(returns))
    independent = ((1 + ratio**2 / 2) / count) ** 0.5
    if count < FEWEST:
        return SharpeErrors(independent, float("nan"))
    scaled = (returns - returns.mean()) / returns.std()
    errors = scaled - ratio / 2 * (scaled**2 - 1)
    return SharpeErrors(independent, float((long_run_variance(errors[None])[0] / count) ** 0.5))


def probabilistic_sharpe(
    sharpe: float,
    count: int,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark.

    Parameters
    ----------
    sharpe, benchmark : float
        Mean over standard deviation of the returns per bar, not annualised.
    count : int
        Number of returns.
    skewness, kurtosis : float
        Of the returns; 0 and 3 for a normal distribution.

    Returns
    -------
    float
        NaN if the variance of the estimate is not positive, as for returns of only two values.

    References
    ----------
    Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2),
    PSR.
    """
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not variance > 0:
        return float("nan")
    return float(norm.cdf((sharpe - benchmark) * ((count - 1) / variance) ** 0.5))


def expected_max_sharpe(variance: float, trials: int) -> float:
    """Return the expected highest Sharpe ratio of trials without skill; 0 for one trial.

    Parameters
    ----------
    variance : float
        Of the Sharpe ratios of the trials.
    trials : int
        Number of all trials, similar ones included.

    Notes
    -----
    Correlated trials need no smaller number. If each pair of M ratios has correlation rho, each
    ratio is the sum of a common part, from which no choice among them can profit, and an individual
    part of variance (1 - rho) sigma². The variance between trials estimates the latter, so the
    maximum is that of M ratios. The effective number rho + (1 - rho) M of the paper's appendix
    would count the correlation twice: of 40 trials without skill with correlation 0.9, 8 % would
    pass a test at 5 %.

    References
    ----------
    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management
    40(5), the threshold SR0.
    """
    if trials <= 1:
        return 0.0
    # SR0 = sigma ((1 - gamma) z(1 - 1 / N) + gamma z(1 - 1 / (N e))), with z the normal quantile.
    high, higher = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * np.e))
    return float(variance**0.5 * ((1 - np.euler_gamma) * high + np.euler_gamma * higher))


@dataclass(frozen=True)
class DeflatedSharpe:
    """A Sharpe ratio, corrected for the search that found it.

    Attributes
    ----------
    probability : float, that the true ratio is above `threshold`; NaN if the returns do not vary,
        or those of fewer than two trials do
    sharpe, error : float, per bar, with its standard error as of `SharpeErrors.dependent`
    threshold : float, per bar, expected ratio of the best of trials without skill
    trials : int, number of trials
    n_returns : int, number of returns
    """

    probability: float
    sharpe: float
    error: float
    threshold: float
    trials: int
    n_returns: int


def deflated_sharpe(returns: Any, trial_returns: Any, trials: int) -> DeflatedSharpe:
    """Compute the deflated Sharpe ratio of the trial that was chosen.

    Parameters
    ----------
    returns : array, list or pandas Series, (n,)
        Returns of the chosen trial's positions per bar, on the bars that chose it.
    trial_returns : array, (n, trial)
        The same for every trial that trained for the same budget, to estimate the variance of their
        ratios: with trials that were stopped early it is often too small, because networks that
        have hardly learned take the same positions. Trials whose returns do not vary are left out.
    trials : int
        Number of all trials, also those that were stopped early, similar ones included.

    Raises
    ------
    ValueError
        If there are fewer than 2 returns, a value is not finite, or `trials` is below 1.

    References
    ----------
    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio: Correcting for Selection Bias,
    Backtest Overfitting, and Non-Normality", Journal of Portfolio Management 40(5).
    """
    chosen = as_series("returns", returns)
    require_finite("returns", chosen)
    matrix = as_matrix("trial_returns", trial_returns, "bar", "trial")
    require_same_index(returns=returns, trial_returns=trial_returns)
    for name, value, least in (("returns", len(chosen), 2), ("trials", trials, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least} in number, but there are {value}")
    ratios = _sharpes(matrix[:, varies(matrix)])
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else float("nan")
    threshold = expected_max_sharpe(variance, trials)
    if not varies(chosen):
        nan = float("nan")
        return DeflatedSharpe(nan, nan, nan, threshold, trials, len(chosen))
    sharpe = float(_sharpes(chosen))
    shape = float(skew(chosen)), float(kurtosis(chosen, fisher=False))
    probability = probabilistic_sharpe(sharpe, len(chosen), *shape, threshold)
    error = sharpe_errors(chosen).dependent
    return DeflatedSharpe(probability, sharpe, error, threshold, trials, len(chosen))


def _sharpes(returns: Floats) -> Floats:
    """Return the Sharpe ratio per bar of returns (n, ...), along the first axis."""
    return np.asarray(returns.mean(axis=0) / returns.std(axis=0, ddof=1))
