"""How stable the winners of a walk are: which hyperparameters stay from origin to origin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    by_chance : the step of winners that are drawn from the space
    distribution : how it is searched
    """

    name: str
    values: list[Any]
    step: float
    by_chance: float
    distribution: Distribution


def stability(winners: Sequence[FrozenTrial]) -> list[Stability]:
    """Return how far each searched hyperparameter moves from origin to origin.

    Parameters
    ----------
    winners : sequence of FrozenTrial
        In order of time.
    """
    known = {name: d for winner in winners for name, d in winner.distributions.items()}
    return [
        _of(name, distribution, [winner.params.get(name) for winner in winners])
        for name, distribution in known.items()
        if isinstance(distribution, Distribution) and not distribution.single()
    ]


def _of(name: str, distribution: Distribution, values: list[Any]) -> Stability:
    steps = [
        _distance(distribution, one, other)
        for one, other in pairwise(values)
        if one is not None and other is not None
    ]
    step = float(np.mean(steps)) if steps else float("nan")
    return Stability(name, values, step, _by_chance(distribution), distribution)


def _distance(distribution: Distribution, one: Any, other: Any) -> float:
    """Return the distance of two values as a share of the searched range."""
    if isinstance(distribution, CategoricalDistribution):
        return float(one != other)
    ends = distribution.low, distribution.high
    low, high, first, second = (
        math.log(value) if distribution.log else float(value) for value in (*ends, one, other)
    )
    return abs(first - second) / (high - low)


def _by_chance(distribution: Distribution) -> float:
    """Return the mean distance of two values that are drawn from a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return 1 - 1 / len(distribution.choices)
    if distribution.step is None or distribution.log:
        return 1 / 3  # of two points of an interval
    points = round((distribution.high - distribution.low) / distribution.step) + 1
    return float(points + 1) / (3 * points)  # of two of so many equally spaced points
