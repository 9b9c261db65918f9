"""Walking one forecaster forward bar by bar, as if each bar were the next."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from puffin.models.arrays import Floats, as_series, require_same_index
from puffin.models.evaluation.metrics import Scores, score


class Forecaster(Protocol):
    """What `evaluate` asks of a model; `puffin.models.estimators.univariate.TradingLSTM` has it."""

    def fit(self, series: Floats, *args: Any, **settings: Any) -> Any:
        """Train anew on a series (n,)."""

    def historical_forecasts(self, series: Floats) -> Floats:
        """Forecast each value of a series (n,) from those before it; NaN where it cannot."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Forecasts of the end of a series that no value of its own or after it had a part in.

    Attributes
    ----------
    forecasts : array, (n,), NaN before the first bar that was forecast
    scores : Scores, of the bars that were forecast
    fits : int, how often the model was trained
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
    """Forecast ``series[first:]`` one bar ahead, as if each bar were the next.

    The model is trained on ``series[:first]``. With `retrain_every` it is trained anew on
    everything up to then after so many bars (an expanding window); without, it stays as it is,
    which is cheap and as honest, but grows stale. `model` itself is left as it is.

    Parameters
    ----------
    model : Forecaster
        Its copies are trained.
    series : array, list or pandas Series, (n,)
    first : int
        The first bar to forecast.
    retrain_every : int, optional
        Bars between two trainings.
    persistence : float or array, (n,), optional
        What each bar is forecast to be if nothing changes; the value before it when not given,
        which is right for prices. 0 is, for returns.
    **fit
        Passed to ``model.fit``, for example ``epochs=10``. `validation_split` is 0 unless given or
        needed for early stopping: a validation part is past that no training sees.

    Raises
    ------
    ValueError
        If `first` is not within the series, `retrain_every` is below 1, or the series is not in
        order of time or has another index than `persistence`; and what the model raises.
    """
    # Here, since no training needs scikit-learn, which takes a second to import.
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
    """Give the persistence forecasts of ``values[first:]``."""
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
