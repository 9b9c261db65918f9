"""Selection bias: how much of the best result of a search is due to choosing it.

Trials are scored on the same bars, so their losses are a matrix (bar, trial).
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

# Most blocks of the combinatorial cross-validation, and fewest bars of a block.
MOST_BLOCKS, MIN_BLOCK = 16, 10
# Splits that are computed at once, to bound the memory.
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Overfitting:
    """Rank of the best trial of one half of the bars on the other half (CSCV).

    Attributes
    ----------
    probability : float, share of the splits in which that trial is not better than the median
    logits : array, (splits,), log odds of its rank on the other half; above 0 is above the median
    blocks : int, number of blocks of bars
    trials : int
    chance_level : float, expected `probability` of trials of equal skill: 0.5, or more for an odd
        number of trials, of which one is the median
    """

    probability: float
    logits: Floats
    blocks: int
    trials: int
    chance_level: float


def overfitting(losses: Any, blocks: int | None = None) -> Overfitting:
    """Estimate the probability of backtest overfitting by cross-validation (CSCV).

    The bars are cut into blocks. For every choice of half the blocks, those are in sample, as the
    search, and the rest is out of sample.

    Parameters
    ----------
    losses : array, (bar, trial), in units of the loss
        In order of time, of trials that trained for their whole budget: trials that were stopped
        early would lower the median, which any trained network then beats.
    blocks : int, optional
        Even. By default 16, or the largest even number for which a block has 10 bars. The lengths
        of blocks differ by at most one bar, and no bar is left out.

    Raises
    ------
    ValueError
        If there are fewer than 2 trials or 20 bars, a value is not finite, or `blocks` is not
        even, or more than the bars.

    Notes
    -----
    The paper's slope of performance degradation is not computed: the two halves of a trial's losses
    add up to a constant, so the slope is close to -1 whatever the skill of the trials.

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
    sums = np.stack([part.sum(axis=0) for part in parts])  # (block, trial)
    sizes = np.array([len(part) for part in parts])  # (block,)
    ranks = np.concatenate([_ranks_of_best(half, sums, sizes) for half in _half_splits(blocks)])
    share = ranks / (trials + 1)  # (splits,)
    logits = np.log(share / (1 - share))
    chance_level = (trials + 1) // 2 / trials
    return Overfitting(float((logits <= 0).mean()), logits, blocks, trials, chance_level)


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
    """Yield every choice of half the blocks, in batches of masks (choice, block)."""
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))  # (choices, block // 2)
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        halves = np.zeros((len(batch), blocks), dtype=bool)
        np.put_along_axis(halves, batch, values=True, axis=1)
        yield halves


def _ranks_of_best(chosen: NDArray[np.bool_], sums: Floats, sizes: Ints) -> Floats:
    """Return the out-of-sample rank of the trial that is best in sample, (choice,).

    Ranks count from the worst trial, 1, to the best; tied trials have their mean rank.

    Parameters
    ----------
    chosen : array, (choice, block), the blocks that are in sample
    sums : array, (block, trial), sums of the losses
    sizes : array, (block,), bars of each block
    """
    in_sample, out_of_sample = (
        (half @ sums) / (half @ sizes)[:, None] for half in (chosen, ~chosen)
    )  # mean losses, (choice, trial) each
    # Out-of-sample loss of the trial with the lowest in-sample loss, (choice, 1).
    best = np.take_along_axis(out_of_sample, in_sample.argmin(axis=1)[:, None], axis=1)
    ranks = (out_of_sample > best).sum(axis=1) + ((out_of_sample == best).sum(axis=1) + 1) / 2
    return np.asarray(ranks)


@dataclass(frozen=True)
class OneStandardErrorChoice:
    """The smallest candidate within one standard error of the best.

    Attributes
    ----------
    chosen, best : int, positions
    bound : float, highest mean loss within one standard error of the best
    standard_error : float, over seeds, of the mean loss of the best
    """

    chosen: int
    best: int
    bound: float
    standard_error: float


def one_standard_error(losses: Any, sizes: Any) -> OneStandardErrorChoice:
    """Choose the smallest network within one standard error over seeds of the best.

    The standard error is that of the best candidate's mean loss over seeds. It does not include the
    uncertainty from the number of bars.

    Parameters
    ----------
    losses : array, (candidate, seed), in units of the loss
        Of each candidate, trained once with each seed.
    sizes : array, (candidate,)
        Number of parameters of each. Of candidates of equal size, the one with the lowest mean loss
        is chosen, then the first.

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
    """Return the rank of a candidate among all for each seed; 1 is the lowest loss.

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
        If a value is not finite, or `candidate` is out of range.
    """
    matrix = as_matrix("losses", losses, "candidate", "seed")
    if not 0 <= candidate < len(matrix):
        raise ValueError(f"candidate must be from 0 to {len(matrix) - 1}, but is {candidate}")
    return np.asarray(1 + (matrix < matrix[candidate]).sum(axis=0), dtype=np.int64)


def incumbents(losses: Any) -> Ints:
    """Return the positions of the trials that were the best so far when they ended.

    Parameters
    ----------
    losses : array, list or pandas Series, (trial,), in units of the loss
        On the search folds, in order of time; NaN for a trial without one. A trial that equals the
        incumbent does not replace it.
    """
    values = as_floats("losses", losses)
    lowest = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values))
    return np.flatnonzero(lowest < np.append(np.inf, lowest[:-1]))


@dataclass(frozen=True, eq=False)
class Overtuning:
    """Search and holdout losses of the incumbents of a search, in their order.

    Attributes
    ----------
    trials : array, (incumbent,), positions of the trials
    search_losses, holdout_losses : array, (incumbent,), in units of the loss
    overtuning : array, (incumbent,), holdout loss minus the lowest of an incumbent so far: the cost
        of continuing the search
    relative_overtuning : array, (incumbent,), `overtuning` divided by the largest improvement on
        the holdout so far; NaN without improvement; above 1 if worse than the first incumbent
    """

    trials: Ints
    search_losses: Floats
    holdout_losses: Floats
    overtuning: Floats
    relative_overtuning: Floats


def overtuning(search_losses: Any, holdout_losses: Any) -> Overtuning:
    """Compare the incumbents' losses on the search folds with those on the holdout.

    Parameters
    ----------
    search_losses : array, list or pandas Series, (trial,), in units of the loss
        In order of time; NaN for a trial without one.
    holdout_losses : array, list or pandas Series, (trial,), in units of the loss
        Only the losses of incumbents are read; the others may be NaN.

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
    losses = holdout[trials]  # (incumbent,), as all below
    require_finite("holdout_losses of the incumbents", losses)
    lowest = np.minimum.accumulate(losses)
    improvement = losses[0] - lowest
    relative = np.full(len(trials), np.nan)
    np.divide(losses - lowest, improvement, out=relative, where=improvement > 0)
    return Overtuning(trials, search[trials], losses, losses - lowest, relative)
