"""How much of a search's best result is luck of the search.

Trials are compared on the same bars, so what they did is a matrix (bar, trial).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import (
    Floats,
    as_floats,
    as_matrix,
    require_finite,
    require_time_order,
)

Ints = NDArray[np.int64]

# Blocks of the combinatorial cross-validation, and the fewest bars that one may have.
MOST_BLOCKS, MIN_BLOCK = 16, 10
# Splits that are worked on at once.
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Overfitting:
    """How the best trial on one half of the bars does on the other half.

    Attributes
    ----------
    probability : float, share of the splits in which it is no better than the median of all
        trials
    logits : array, (splits,), log odds of its rank on the other half; above 0 is above the median
    blocks : int, parts that the bars were cut into
    trials : int, trials that were compared
    chance_level : float, what trials of equal worth get: 0.5, and more where an odd number of them
        has one at the median itself
    """

    probability: float
    logits: Floats
    blocks: int
    trials: int
    chance_level: float


def overfitting(losses: Any, blocks: int | None = None) -> Overfitting:
    """Estimate the probability of backtest overfitting by cross-validation (CSCV).

    The bars are cut into blocks. Each half of the blocks in turn plays the search and the rest the
    time after it.

    Parameters
    ----------
    losses : array, (bar, trial), in units of the loss
        In order of time, of trials with one budget: the median of trials that were stopped early
        is that of half-trained networks, which any trained one beats.
    blocks : int, optional
        Even. 16 when not given, or the largest even number that leaves 10 bars to each block.
        Blocks differ by one bar at most, and no bar is left out.

    Raises
    ------
    ValueError
        If there are fewer than 2 trials or 20 bars, a value is not finite, or `blocks` is not
        even, or more than the bars.

    Notes
    -----
    The paper's slope of performance degradation is left out. The two halves of a trial's losses add
    up to a constant, so the slope is close to -1 whatever the trials are worth.

    References
    ----------
    Bailey, Borwein, Lopez de Prado and Zhu (2017), "The Probability of Backtest Overfitting",
    Journal of Computational Finance 20(4): CSCV and PBO.
    """
    matrix = as_matrix("losses", losses, "bar", "trial")
    require_time_order("losses", losses)
    bars, trials = matrix.shape
    if trials < 2:
        raise ValueError("losses must hold at least 2 trials, but hold 1: one trial is no choice")
    blocks = _blocks(bars, blocks)
    parts = np.array_split(matrix, blocks)
    sums = np.stack([part.sum(axis=0) for part in parts])
    sizes = np.array([len(part) for part in parts])
    ranks = np.concatenate([_ranks_of_best(half, sums, sizes) for half in _half_splits(blocks)])
    share = ranks / (trials + 1)
    logits = np.log(share / (1 - share))
    by_luck = (trials + 1) // 2 / trials
    return Overfitting(float((logits <= 0).mean()), logits, blocks, trials, by_luck)


def _blocks(bars: int, blocks: int | None) -> int:
    if blocks is None:
        blocks = min(MOST_BLOCKS, bars // MIN_BLOCK // 2 * 2)
        if not blocks:
            raise ValueError(f"losses must hold at least {2 * MIN_BLOCK} bars, but hold {bars}")
    if blocks < 2 or blocks % 2 or blocks > bars:
        raise ValueError(
            f"blocks must be an even number from 2 to the number of bars, {bars}, but is {blocks}"
        )
    return blocks


def _half_splits(blocks: int) -> Iterator[NDArray[np.bool_]]:
    """Yield every choice of half the blocks, in batches (choice, block)."""
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        halves = np.zeros((len(batch), blocks), dtype=bool)
        np.put_along_axis(halves, batch, values=True, axis=1)
        yield halves


def _ranks_of_best(chosen: NDArray[np.bool_], sums: Floats, sizes: Ints) -> Floats:
    """Return the rank on the other half of the trial that is best on the chosen half, (choice,).

    The rank counts from the worst, 1, to the best; trials that tie share it.
    """
    in_sample, out_of_sample = (
        (half @ sums) / (half @ sizes)[:, None] for half in (chosen, ~chosen)
    )
    best = np.take_along_axis(out_of_sample, in_sample.argmin(axis=1)[:, None], axis=1)
    ranks = (out_of_sample > best).sum(axis=1) + ((out_of_sample == best).sum(axis=1) + 1) / 2
    return np.asarray(ranks)


@dataclass(frozen=True)
class OneStandardErrorChoice:
    """The smallest candidate that is not clearly worse than the best.

    Attributes
    ----------
    chosen, best : int, positions
    bound : float, the highest mean loss that is not clearly worse
    standard_error : float, over seeds, of the best's mean
    """

    chosen: int
    best: int
    bound: float
    standard_error: float


def one_standard_error(losses: Any, sizes: Any) -> OneStandardErrorChoice:
    """Choose the smallest network within one standard error over seeds of the best.

    The error is that of the best's mean over seeds. It does not count that the bars are few.

    Parameters
    ----------
    losses : array, (candidate, seed), in units of the loss
        Of each candidate, trained anew with each seed.
    sizes : array, (candidate,)
        Parameters of each. Among equals the lower mean loss is chosen, then the first.

    Raises
    ------
    ValueError
        If there are fewer than 2 seeds, a value is not finite, or the lengths differ.

    References
    ----------
    Breiman, Friedman, Olshen and Stone (1984), "Classification and Regression Trees", section
    3.4.3.
    """
    matrix = as_matrix("losses", losses, "candidate", "seed")
    weights = as_floats("sizes", sizes)
    candidates, seeds = matrix.shape
    if len(weights) != candidates:
        raise ValueError(
            f"sizes must have one value for each of the {candidates} candidates, "
            f"but there are {len(weights)}"
        )
    require_finite("sizes", weights)
    if seeds < 2:
        raise ValueError("losses must hold at least 2 seeds, but hold 1: one seed has no spread")
    means = matrix.mean(axis=1)
    best = int(means.argmin())
    error = float(matrix[best].std(ddof=1) / seeds**0.5)
    bound = float(means[best]) + error
    within = np.flatnonzero(means <= bound)
    chosen = min(within, key=lambda i: (weights[i], means[i], i))
    return OneStandardErrorChoice(int(chosen), best, bound, error)


def ranks_over_seeds(losses: Any, candidate: int) -> Ints:
    """Give the rank of a candidate among all, seed by seed: 1 is the lowest loss.

    Parameters
    ----------
    losses : array, (candidate, seed), in units of the loss
    candidate : int

    Returns
    -------
    array, (seed,)

    Raises
    ------
    ValueError
        If a value is not finite, or there is no such candidate.
    """
    matrix = as_matrix("losses", losses, "candidate", "seed")
    if not 0 <= candidate < len(matrix):
        raise ValueError(f"candidate must be from 0 to {len(matrix) - 1}, but is {candidate}")
    return np.asarray(1 + (matrix < matrix[candidate]).sum(axis=0), dtype=np.int64)


def incumbents(losses: Any) -> Ints:
    """Give the positions of the trials that were the best so far when they ended.

    Parameters
    ----------
    losses : array, list or pandas Series, (trial,), in units of the loss
        On the search folds, in order of time; NaN for a trial without one. The first of equals
        stays.
    """
    values = as_floats("losses", losses)
    lowest = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values))
    return np.flatnonzero(lowest < np.append(np.inf, lowest[:-1]))


@dataclass(frozen=True, eq=False)
class Overtuning:
    """How the holdout judges the incumbents of a search, in their order.

    Attributes
    ----------
    trials : array, (incumbent,), positions of the trials
    search_losses, holdout_losses : array, (incumbent,), in units of the loss
    overtuning : array, (incumbent,), holdout loss above the lowest of an incumbent so far: what
        searching on has cost
    relative_overtuning : array, (incumbent,), that as a share of what the search had won on the
        holdout; NaN where it has won nothing yet; above 1 the search has ended worse than it began
    """

    trials: Ints
    search_losses: Floats
    holdout_losses: Floats
    overtuning: Floats
    relative_overtuning: Floats


def overtuning(search_losses: Any, holdout_losses: Any) -> Overtuning:
    """Set the incumbents' losses on the search folds against those on the holdout.

    Parameters
    ----------
    search_losses : array, list or pandas Series, (trial,), in units of the loss
        In order of time; NaN for a trial without one.
    holdout_losses : array, list or pandas Series, (trial,), in units of the loss
        Only those of incumbents are read; the others may be NaN.

    Raises
    ------
    ValueError
        If the lengths differ, there is no incumbent, or one has no finite holdout loss.

    References
    ----------
    Schneider, Bischl and Feurer (2025), "Overtuning in Hyperparameter Optimization", AutoML 2025,
    the definition of relative overtuning.
    """
    search, holdout = (
        as_floats("search_losses", search_losses),
        as_floats("holdout_losses", holdout_losses),
    )
    if len(search) != len(holdout):
        raise ValueError(
            "search_losses and holdout_losses must have one length, but have "
            f"{len(search)} and {len(holdout)}"
        )
    trials = incumbents(search)
    if not len(trials):
        raise ValueError(f"search_losses must hold a number, but all {len(search)} are NaN")
    judged = holdout[trials]
    require_finite("holdout_losses of the incumbents", judged)
    lowest = np.minimum.accumulate(judged)
    won = judged[0] - lowest
    relative = np.full(len(trials), np.nan)
    np.divide(judged - lowest, won, out=relative, where=won > 0)
    return Overtuning(trials, search[trials], judged, judged - lowest, relative)
