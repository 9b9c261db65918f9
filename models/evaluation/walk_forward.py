"""Walk-forward evaluation of one forecaster: one-step forecasts of the end of a series."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from puffin.models.arrays import Floats, as_series, require_same_index
from puffin.models.evaluation.metrics import Scores, score


class Forecaster(Protocol):
    """Interface of a model for `evaluate`, such as `estimators.univariate.TradingLSTM`."""

    def fit(self, series: Floats, *args: Any, **settings: Any) -> Any:
        """Train a new network on a series (n,)."""

    def historical_forecasts(self, series: Floats) -> Floats:
        """Forecast each value of a series (n,) from those before it; NaN if there are too few."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Out-of-sample forecasts of the end of a series.

    Attributes
    ----------
    forecasts : array, (n,), NaN before the first bar that was forecast; each depends only on values
        before its bar
    scores : Scores, of the bars that were forecast
    fits : int, number of trainings
    """

    forecasts: Floats
    scores: Scores
    fits: int


def evaluate(
    model: Forecaster,
    series: Any,
    first: int,
    retrain_every: int | None = None,
    persistence: Any = None,
    **fit: Any,
) -> Evaluation:
    """Forecast each bar of ``series[first:]`` from the bars before it, and score the forecasts.

    The model is trained on ``series[:first]``. With `retrain_every`, it is trained again after that
    many bars on all bars so far (an expanding window). Without, it is trained once, which is cheap
    and equally unbiased, but the model ages. `model` itself is not changed.

    Parameters
    ----------
    model : Forecaster
        Clones of it are trained.
    series : array, list or pandas Series, (n,)
    first : int
        The first bar to forecast.
    retrain_every : int, optional
        Bars between two trainings.
    persistence : float or array, (n,), optional
        The persistence forecast of each bar; by default the value before it, which is right for
        prices. Pass 0 for returns.
    **fit
        Passed to ``model.fit``, for example ``epochs=10``. `validation_split` is 0 by default,
        unless early stopping needs it, because a network does not learn from a validation part.

    Raises
    ------
    ValueError
        If `first` is not within the series, `retrain_every` is below 1, the series is not in order
        of time or has another index than `persistence`, or the model raises it.
    """
    # Imported here, because training does not need scikit-learn, which takes a second to import.
    from sklearn.base import clone

    values = as_series("series", series)
    require_same_index(series=series, persistence=persistence)
    bars = len(values)
    if not 1 <= first < bars:
        raise ValueError(f"first must be from 1 to {bars - 1} for {bars} bars, but is {first}")
    step = bars - first if retrain_every is None else retrain_every
    if step < 1:
        raise ValueError(f"retrain_every must be at least 1, but is {retrain_every}")
    last = _persistence(persistence, values, first)
    if fit.get("early_stopping") is None:
        fit.setdefault("validation_split", 0.0)
    forecasts = np.full(bars, np.nan)
    starts = range(first, bars, step)
    for start in starts:
        stop = min(start + step, bars)
        current = clone(model)
        current.fit(values[:start], **fit)
        forecasts[start:stop] = current.historical_forecasts(values[:stop])[start:]
    return Evaluation(forecasts, score(forecasts[first:], values[first:], last), len(starts))


def _persistence(persistence: Any, values: Floats, first: int) -> Floats:
    """Return the persistence forecasts of ``values[first:]``."""
    if persistence is None:
        return values[first - 1 : -1]
    if np.ndim(persistence) == 0:
        return np.full(len(values) - first, float(persistence))
    given = as_series("persistence", persistence)
    if len(given) != len(values):
        raise ValueError(
            f"persistence must be one number or one for each of the {len(values)} bars, "
            f"but there are {len(given)}"
        )
    return given[first:]
