"""What all baselines share: their result, why one is left out, and which spans are honest."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.features import Series
from puffin.models.folds import Span

# Fewest training targets of a regression for each of its coefficients.
TARGETS_PER_LAG = 10


class LeftOutError(ValueError):
    """A baseline cannot be fitted to these data, so that a comparison leaves it out."""


class TooShortError(LeftOutError):
    """There are too few targets to fit a baseline."""


class MissingPackageError(LeftOutError):
    """A baseline needs a package that is not installed."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """Forecasts of a simple model.

    Attributes
    ----------
    label : str, the model with its chosen hyperparameter, such as "AR(3)"
    forecasts : array, (scored targets,), in the target's unit, or (scored targets, level) of
        quantiles
    nested : bool, True if the baseline is a special case of a network that reads the target's last
        value: a constant, or that value plus a constant
    """

    label: str
    forecasts: Floats
    nested: bool = False


Fit = Callable[[Series, int, Span, Span], Baseline]


def check_spans(series: Series, lookback: int, train: Span, score: Span) -> None:
    """Raise ValueError unless a model can be fitted on `train` and forecast `score` honestly."""
    if not (len(train) > 0 and len(score) > 0):
        raise ValueError(f"train and score must hold targets, but are {train} and {score}")
    if train.stop > score.start - series.horizon + 1:
        raise ValueError(
            f"the last training label, at bar {train.stop - 1}, must be known at bar "
            f"{score.start - series.horizon}, when the first forecast is made: "
            f"purge at least horizon - 1 = {series.horizon - 1} targets"
        )
    first = series.warmup + lookback - 1 + series.horizon
    if train.start < first:
        raise ValueError(
            f"lookback {lookback} needs {first} bars before the first target, but there are "
            f"{train.start}: use a shorter lookback"
        )


def require_targets(targets: int, inputs: int) -> None:
    """Raise TooShortError unless there are ten targets for each coefficient of a regression."""
    least = TARGETS_PER_LAG * (inputs + 1)
    if targets < least:
        raise TooShortError(
            f"a regression with {inputs + 1} coefficients needs {least} training targets with "
            f"known inputs, but there are {targets}"
        )


def least_squares(columns: Floats, target: Floats) -> Floats:
    """Return the weights (k,) of columns (n, k) that fit a target (n,) best."""
    return np.asarray(np.linalg.lstsq(columns, target)[0])
