"""Whether a Sharpe ratio is more than the best of many trials without skill would get."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import kurtosis, norm, skew
from sklearn.metrics import silhouette_score

from models.arrays import (
    Floats,
    as_matrix,
    as_series,
    require_finite,
    require_same_index,
    varies,
)

Ints = NDArray[np.int64]

# Kaufman and Rousseeuw (1990): no substantial structure below it.
_STRUCTURE = 0.25
# Trials that correlate more than this are more alike than not.
_ALIKE = 0.5
# Numbers of clusters that are tried.
_CUTS = 50


def probabilistic_sharpe(
    sharpe: float,
    count: int,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
) -> float:
    """Give the probability that the true Sharpe ratio is above a benchmark.

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


def expected_max_sharpe(variance: float, trials: float) -> float:
    """Give the best Sharpe ratio to be expected of trials without skill; 0 for one trial.

    Parameters
    ----------
    variance : float
        Of the trials' Sharpe ratios.
    trials : float
        Independent trials.

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
        NaN where the returns do not vary
    sharpe : float, per bar
    threshold : float, per bar, what the best of trials without skill gets
    trials : int, effectively independent ones
    count : int, returns
    """

    probability: float
    sharpe: float
    threshold: float
    trials: int
    count: int


def deflated_sharpe(returns: Any, trial_returns: Any, trials: int) -> DeflatedSharpe:
    """Judge the Sharpe ratio of the trial that was chosen.

    Parameters
    ----------
    returns : array, list or pandas Series, (n,)
        What the chosen trial's positions earned per bar, on the bars it was chosen by.
    trial_returns : array, (n, trial)
        The same of every trial; the variance of their ratios is taken. Trials whose returns do not
        vary have none.
    trials : int
        Effectively independent ones: `effective_trials`.

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
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else 0.0
    threshold = expected_max_sharpe(variance, trials)
    if not varies(own):
        return DeflatedSharpe(float("nan"), float("nan"), threshold, trials, len(own))
    sharpe = float(_sharpes(own))
    shape = float(skew(own)), float(kurtosis(own, fisher=False))
    probability = probabilistic_sharpe(sharpe, len(own), *shape, threshold)
    return DeflatedSharpe(probability, sharpe, threshold, trials, len(own))


def _sharpes(returns: Floats) -> Floats:
    return np.asarray(returns.mean(axis=0) / returns.std(axis=0, ddof=1))


@dataclass(frozen=True, eq=False)
class Clusters:
    """Trials put together by what they earned.

    Attributes
    ----------
    count : int, clusters: effectively independent trials
    labels : array, (trial,), the cluster of each, from 1; 0 where the returns do not vary
    silhouette : float, of the clusters; NaN where none but all in one or each alone were possible
    """

    count: int
    labels: Ints
    silhouette: float


def effective_trials(returns: Any) -> Clusters:
    """Count the trials that were independent, by clustering the correlation of their returns.

    Trials are put together by average linkage of the distance ``sqrt((1 - correlation) / 2)``, and
    the tree is cut where the mean silhouette is highest, over 2 to ``trials - 1`` clusters (50
    numbers of them at most). Where that stays below 0.25 there are no clusters: trials whose mean
    correlation is above 0.5 count as one, others each for itself.

    Parameters
    ----------
    returns : array, (bar, trial)
        What the positions of each trial earned. Trials whose returns do not vary are not counted.

    Raises
    ------
    ValueError
        If there are fewer than 2 bars, or a value is not finite.

    References
    ----------
    Lopez de Prado and Lewis (2019), "Detection of false investment strategies using unsupervised
    learning methods", Quantitative Finance 19(9): the distance, and the silhouette as the judge.
    Theirs is k-means with many restarts, which needs a seed.
    Kaufman and Rousseeuw (1990), "Finding Groups in Data", chapter 2: what a silhouette says.
    """
    matrix = as_matrix("returns", returns, "bar", "trial")
    if len(matrix) < 2:
        raise ValueError("returns must hold at least 2 bars, but hold 1")
    moving = varies(matrix)
    labels = np.zeros(matrix.shape[1], dtype=np.int64)
    trials = int(moving.sum())
    if trials < 2:
        labels[moving] = 1
        return Clusters(trials, labels, float("nan"))
    found, silhouette = _cluster(np.asarray(np.corrcoef(matrix[:, moving], rowvar=False)))
    labels[moving] = found
    return Clusters(len(np.unique(found)), labels, silhouette)


def _cluster(correlation: Floats) -> tuple[Ints, float]:
    """Give the cluster of each trial and the silhouette, from correlations (trial, trial)."""
    trials = len(correlation)
    # Copies of a trial correlate at 1 but for rounding, of which no clusters are to be made.
    distance = np.sqrt(np.clip((1 - correlation.round(9)) / 2, 0.0, 1.0))
    distance = np.maximum(distance, distance.T)
    np.fill_diagonal(distance, 0.0)
    pairs = squareform(distance, checks=False)
    tree = linkage(pairs, "average")
    best, silhouette = np.arange(1, trials + 1), float("nan")
    if trials > 2:
        best, silhouette = _best_cut(tree, distance)
    if silhouette >= _STRUCTURE:
        return best, silhouette
    alike = correlation[~np.eye(trials, dtype=bool)].mean() > _ALIKE
    each = np.ones(trials, dtype=np.int64) if alike else np.arange(1, trials + 1)
    return each, silhouette


def _best_cut(tree: Floats, distance: Floats) -> tuple[Ints, float]:
    trials = len(distance)
    counts = np.unique(np.geomspace(2, trials - 1, min(_CUTS, trials - 2)).round().astype(int))
    best, highest = np.ones(trials, dtype=np.int64), float("nan")
    for count in counts:
        labels = np.asarray(fcluster(tree, count, "maxclust"), dtype=np.int64)
        # Trials that tie are never parted, so the tree may give fewer than asked for.
        if 1 < len(np.unique(labels)) < trials:
            score = float(silhouette_score(distance, labels, metric="precomputed"))
            if not score <= highest:
                best, highest = labels, score
    return best, highest
