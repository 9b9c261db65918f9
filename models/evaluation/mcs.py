"""The model confidence set: which of several models may be the best.

Unlike the lowest loss, the set admits what the data cannot tell: with few or noisy bars it has many
models, and it contains the best one with a given probability.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from puffin.models.arrays import ROUNDING, Floats, as_matrix, require_time_order, varies
from puffin.models.evaluation.bootstrap import (
    check_samples,
    drawn_means,
    mean_block_length,
    share_of_samples,
    stationary_bootstrap,
)


@dataclass(frozen=True)
class ConfidenceSet:
    """How long each model stays among those that may be the best.

    Attributes
    ----------
    p_values : tuple of float, by model: it is in the set of level ``1 - a`` if its p is at least
        `a`; the last model has 1
    order : tuple of int, models from the one that is eliminated first to the one that stays
    block_length : float, mean length of the blocks, in bars
    reps : int, bootstrap samples
    """

    p_values: tuple[float, ...]
    order: tuple[int, ...]
    block_length: float
    reps: int


def mcs(
    model_losses: Any,
    horizon: int = 1,
    *,
    seed: int = 0,
    reps: int = 2000,
    block_length: float | None = None,
) -> ConfidenceSet:
    """Return the model confidence set of losses.

    As long as several models are left, T_R tests whether they are equally good: of all pairs the
    largest difference of the mean losses, in standard errors, counts. The worse model of that pair
    leaves, and its p-value is the largest of all tests so far. Standard errors are those of the
    bootstrap samples. Models with equal losses count as one and share its p-value. The data count
    as one sample, so no p-value is 0.

    Parameters
    ----------
    model_losses : array or DataFrame, (n, model), in units of the loss
        In order of time.
    horizon : int
        Bars ahead; the mean length of a block is at least this.
    seed : int
    reps : int
        Bootstrap samples.
    block_length : float, optional
        Mean length of a block; by default the median over models of `optimal_block_length`, for
        their losses over the mean of all.

    Raises
    ------
    ValueError
        If there are fewer than 16 bars or no model, a loss is not finite, `horizon` or `reps` is
        below 1, or `block_length` is not between 1 and n.

    References
    ----------
    Hansen, Lunde and Nason (2011), "The Model Confidence Set", Econometrica 79(2): T_R with its
    elimination rule, and MCS p-values. Their T_max compares each model with the mean of all, and so
    hardly sees one that is better than several alike (benchmarks/outcomes.py).
    """
    losses = as_matrix("model_losses", model_losses, "bar", "model")
    require_time_order("model_losses", model_losses)
    check_samples(len(losses), horizon, reps)
    groups = _equal_models(losses)
    losses = losses[:, [group[0] for group in groups]]
    block_length = mean_block_length(_over_the_mean(losses), horizon, block_length)
    draws = stationary_bootstrap(len(losses), reps, block_length, np.random.default_rng(seed))
    eliminated = _eliminate(losses, drawn_means(losses, draws))
    p_values = np.empty(sum(map(len, groups)))
    for model, p in eliminated:
        p_values[groups[model]] = p
    order = tuple(each for model, _ in eliminated for each in groups[model])
    return ConfidenceSet(tuple(p_values.tolist()), order, block_length, reps)


def _equal_models(losses: Floats) -> list[list[int]]:
    """Return the models in groups whose losses are equal up to rounding."""
    groups: list[list[int]] = []
    for model, own in enumerate(losses.T):
        for group in groups:
            other = losses[:, group[0]]
            if np.abs(own - other).max() <= ROUNDING * np.abs(other).max():
                group.append(model)
                break
        else:
            groups.append([model])
    return groups


def _eliminate(losses: Floats, drawn: Floats) -> list[tuple[int, float]]:
    """Return each model and its p-value, in the order of elimination.

    Parameters
    ----------
    losses : array, (bar, model)
    drawn : array, (rep, model), mean losses of the bootstrap samples
    """
    mean = losses.mean(axis=0)
    lead = mean[:, None] - mean  # (model, model): by how much the first is worse than the second
    samples = drawn[:, :, None] - drawn[:, None] - lead
    error = np.sqrt((samples**2).mean(axis=0))
    # A difference that is the same on every bar cannot be tested, so it is not significant.
    error[~varies(losses[:, :, None] - losses[:, None])] = np.inf
    samples, scores = samples / error, lead / error
    left, p, eliminated = np.arange(len(mean)), 0.0, []
    while len(left) > 1:
        largest = samples[:, left][:, :, left].max(axis=(1, 2))
        worst = scores[np.ix_(left, left)].max(axis=1)
        p = max(p, share_of_samples(largest, float(worst.max())))
        eliminated.append((int(left[worst.argmax()]), p))
        left = np.delete(left, worst.argmax())
    return [*eliminated, (int(left[0]), 1.0)]


def _over_the_mean(losses: Floats) -> Floats:
    """Return losses (bar, model) minus their mean over models."""
    return np.asarray(losses - losses.mean(axis=1, keepdims=True))
