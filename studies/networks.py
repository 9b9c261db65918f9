"""The distinct networks of a small search space."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from optuna.trial import FixedTrial

from puffin.models.config import Config
from puffin.studies.space import LAYERS, WIDTH, Categorical, Dimension, Scalar, Space, suggest
from puffin.studies.text import counted

# Most networks of a small space, which are enumerated in a tenth of a second.
SMALL = 2_000


def describe_networks(space: Space, trials: int) -> str:
    """Describe how many networks a small space holds; return "" for a large space."""
    count = len(list_networks(space))
    if not count:
        return ""
    holds = f"the space holds {counted(count, 'distinct network')}"
    if count >= trials:
        return holds
    return (
        f"{holds}, fewer than the {trials} trials: the other {trials - count} will repeat results "
        f"without training; widen [space], or set search.trials = {count}"
    )


def list_networks(space: Space, most: int = SMALL) -> list[dict[str, Any]]:
    """Return the parameters of every distinct network, as a trial would sample them.

    The list is empty if there are more than `most`.
    """
    layers = _every(space.layers, most)
    axes = [_axes(space, int(count), most) for count in layers]
    if sum(math.prod(map(len, values.values())) for values in axes) > most:
        return []
    points: dict[Config, dict[str, Any]] = {}
    for count, values in zip(layers, axes, strict=True):
        for chosen in itertools.product(*values.values()):
            trial = FixedTrial({LAYERS: count} | dict(zip(values, chosen, strict=True)))
            points.setdefault(suggest(trial, space), trial.params)
    return list(points.values())


def _axes(space: Space, layers: int, most: int) -> dict[str, Sequence[Scalar]]:
    """Return the values of each parameter of networks with `layers` layers."""
    shared = space.tied or space.funnel
    names = [WIDTH] if shared else [f"{WIDTH}_{i}" for i in range(layers)]
    dimensions = {n: d for n, d in space.scalars.items() if n != "dropout" or layers > 1}
    dimensions |= dict.fromkeys(names, space.hidden_dim)
    return {name: _every(dimension, most) for name, dimension in dimensions.items()}


def _every(dimension: Dimension, most: int) -> Sequence[Scalar]:
    """Return the values of a dimension; if they are infinitely many, more than `most` of them."""
    if isinstance(dimension, Categorical):
        return dimension.values
    low, high = dimension.low, dimension.high
    if low == high:
        return (low,)
    step = dimension.step or (1 if dimension.integer else 0)
    if not step or (high - low) / step >= most:
        return range(most + 1)
    return dimension.grid_values() or range(int(low), int(high) + 1)  # whole numbers on a log scale
