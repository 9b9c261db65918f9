"""How stable the winners of a walk are: which hyperparameters stay from origin to origin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class Stability:
    """A searched hyperparameter in the winner of each origin.

    Attributes
    ----------
    name : of the parameter
    values : of each origin; None where the winner does not have it, such as the width of a second
        layer
    step : mean distance between the values of origins that follow each other, as a share of the
        searched range, on its scale; of a categorical parameter the share of changes; NaN if no
        two origins that follow each other have it
    by_chance : mean step from any trial of an origin to any of the next one
    distribution : how it is searched
    """

    name: str
    values: list[Any]
    step: float
    by_chance: float
    distribution: Distribution


def stability(searches: Sequence[tuple[FrozenTrial, Sequence[FrozenTrial]]]) -> list[Stability]:
    """Return how far each searched hyperparameter moves from origin to origin.

    Parameters
    ----------
    searches : sequence of tuple of FrozenTrial and sequence of FrozenTrial
        The winner and all trials of each search, in order of time. The searches have one seed, so
        that many of their trials are the same, and chance is to be drawn from them.
    """
    known = {name: d for winner, _ in searches for name, d in winner.distributions.items()}
    return [
        _of(
            name,
            distribution,
            [winner.params.get(name) for winner, _ in searches],
            [[t.params[name] for t in tried if name in t.params] for _, tried in searches],
        )
        for name, distribution in known.items()
        if isinstance(distribution, Distribution) and not distribution.single()
    ]


def _of(
    name: str, distribution: Distribution, values: list[Any], tried: list[list[Any]]
) -> Stability:
    known = [[] if value is None else [value] for value in values]
    return Stability(
        name, values, _mean_step(distribution, known), _mean_step(distribution, tried), distribution
    )


def _mean_step(distribution: Distribution, values: list[list[Any]]) -> float:
    """Return the mean distance of all pairs of values of origins that follow each other."""
    steps = [
        _distance(distribution, one, other)
        for earlier, later in pairwise(values)
        for one, other in product(earlier, later)
    ]
    return float(np.mean(steps)) if steps else float("nan")


def _distance(distribution: Distribution, one: Any, other: Any) -> float:
    """Return the distance of two values as a share of the searched range."""
    if isinstance(distribution, CategoricalDistribution):
        return float(one != other)
    ends = distribution.low, distribution.high
    low, high, first, second = (
        math.log(value) if distribution.log else float(value) for value in (*ends, one, other)
    )
    return abs(first - second) / (high - low)
