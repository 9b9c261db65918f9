"""Whether a Sharpe ratio is more than the best of many trials without skill would get."""

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
        Returns.
    skewness, kurtosis : float
        Of the returns; 0 and 3 for the normal distribution.

    Returns
    -------
    float
        NaN where the returns take two values only, which leaves the ratio no spread.

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
    """Return the best Sharpe ratio to be expected of trials without skill; 0 for one trial.

    Parameters
    ----------
    variance : float
        Of the trials' Sharpe ratios around their mean.
    trials : int
        All that were tried, however alike.

    Notes
    -----
    Trials that are alike need no smaller number. Where each pair of M ratios correlates by rho,
    each is a part that all share, which no choice among them can gain by, and a part of its own of
    variance (1 - rho) sigma². The latter is what the variance between the trials estimates, so
    the maximum of M of them is counted with M. The effective number rho + (1 - rho) M of the
    paper's appendix counts the correlation a second time: of 40 trials without skill that correlate
    by 0.9, 8 % would pass a test at 5 %.

    References
    ----------
    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management
    40(5), the threshold SR0.
    """
    if trials <= 1:
        return 0.0
    high, higher = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * np.e))
    return float(variance**0.5 * ((1 - np.euler_gamma) * high + np.euler_gamma * higher))


@dataclass(frozen=True)
class DeflatedSharpe:
    """A Sharpe ratio, with the search that found it counted in.

    Attributes
    ----------
    probability : float, that the true ratio is above what the best of trials without skill gets;
        NaN where the returns do not vary, or those of fewer than two trials do
    sharpe : float, per bar
    threshold : float, per bar, what the best of trials without skill gets
    trials : int, those that were tried
    n_returns : int, returns
    """

    probability: float
    sharpe: float
    threshold: float
    trials: int
    n_returns: int


def deflated_sharpe(returns: Any, trial_returns: Any, trials: int) -> DeflatedSharpe:
    """Judge the Sharpe ratio of the trial that was chosen.

    Parameters
    ----------
    returns : array, list or pandas Series, (n,)
        What the chosen trial's positions earned per bar, on the bars it was chosen by.
    trial_returns : array, (n, trial)
        The same of every trial with the chosen one's budget. The variance of their ratios is taken:
        that of trials that were stopped early is often too small, since networks that have hardly
        learned yet take the same positions. Trials whose returns do not vary have no ratio.
    trials : int
        All that were tried, those that were stopped early too, however alike they are.

    Raises
    ------
    ValueError
        If there are fewer than 2 returns, a value is not finite, or `trials` is below 1.

    References
    ----------
    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio: Correcting for Selection Bias,
    Backtest Overfitting, and Non-Normality", Journal of Portfolio Management 40(5).
    """
    own = as_series("returns", returns)
    require_finite("returns", own)
    matrix = as_matrix("trial_returns", trial_returns, "bar", "trial")
    require_same_index(returns=returns, trial_returns=trial_returns)
    for name, value, least in (("returns", len(own), 2), ("trials", trials, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least} in number, but there are {value}")
    ratios = _sharpes(matrix[:, varies(matrix)])
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else float("nan")
    threshold = expected_max_sharpe(variance, trials)
    if not varies(own):
        return DeflatedSharpe(float("nan"), float("nan"), threshold, trials, len(own))
    sharpe = float(_sharpes(own))
    shape = float(skew(own)), float(kurtosis(own, fisher=False))
    probability = probabilistic_sharpe(sharpe, len(own), *shape, threshold)
    return DeflatedSharpe(probability, sharpe, threshold, trials, len(own))


def _sharpes(returns: Floats) -> Floats:
    return np.asarray(returns.mean(axis=0) / returns.std(axis=0, ddof=1))
