"""What a symbol is forecast with: its scaler, and the errors that its intervals are built from.

Errors are in units of how far the target of their symbol deviated of late, so that those of all
symbols stand for a symbol that the network was not trained on. Such a symbol is scaled by its own
past.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.conformal import (
    Adapted,
    IntervalError,
    adapt,
    recent_deviation,
    require_enough,
    residual_interval,
)
from puffin.models.features import Series
from puffin.models.folds import MIN_TRAIN_TARGETS, Span, first_target
from puffin.models.losses import LOSSES
from puffin.models.scaling import Scaler
from puffin.studies.export.read import FORECAST_FILES, Exported


class ForecastError(PuffinError):
    """The model cannot make the forecast from these prices."""


@dataclass(frozen=True)
class Coverage:
    """Share of the holdout bars inside the intervals that were known before each of them."""

    share: float
    bars: int


@dataclass(frozen=True, eq=False)
class Basis:
    """What a symbol is forecast with.

    Attributes
    ----------
    scaler : Scaler
    scores : array, (n,)
        The errors of all bars that were forecast out of sample, in units of the recent deviation.
    low, high : float
        The interval of the next score.
    outside : float
        The share of its tails.
    scale : array, (horizon,)
        The recent deviation at the last bars, in the target's unit: that of the next `horizon`
        forecasts.
    coverage : Coverage
        None while the holdout is sealed, if the search has too few errors, or if they are not the
        symbol's own.
    is_seen : bool
        Whether the network was trained on the symbol.
    is_own : bool
        Whether the errors are those of the symbol.
    """

    scaler: Scaler
    scores: Floats
    low: float
    high: float
    outside: float
    scale: Floats
    coverage: Coverage | None
    is_seen: bool
    is_own: bool


def basis_of(
    exported: Exported, symbol: str, series: Series, dates: pd.DatetimeIndex, level: float
) -> Basis:
    """Return what a symbol is forecast with, of which `series` is the past at `dates`.

    Of several symbols, one with too few errors for an interval of `level` has those of all.

    Raises
    ------
    ForecastError
        If the network was not trained on the symbol, and its past is too short for a scaler.
    IntervalError
        If the errors are too few for `level`.
    """
    is_seen = symbol in exported.scalers
    scaler = exported.scalers[symbol] if is_seen else _own_scaler(exported, series)
    scale = _scale(exported, symbol, series, dates)
    own = exported.out_of_sample.get(symbol)
    if own is not None and is_seen and (not exported.is_basket or _suffice(own, level)):
        found = adapt(own, level, series.horizon)
        ends = float(found.low[-1]), float(found.high[-1]), float(found.outside[-1])
        coverage = _coverage(exported, symbol, found)
        return Basis(scaler, own, *ends, scale, coverage, is_seen, is_own=True)
    pooled = np.concatenate([np.empty(0), *exported.out_of_sample.values()])
    low, high = residual_interval(pooled, level)
    return Basis(scaler, pooled, low, high, 1 - level, scale, None, is_seen, is_own=False)


def _scale(exported: Exported, symbol: str, series: Series, dates: pd.DatetimeIndex) -> Floats:
    """Return the recent deviation at the last bars.

    It is measured from the first bar of the export on, so that few bars do as well as many.
    """
    target, horizon = series.target, series.horizon
    if len(exported.targets.get(symbol, ())) > horizon:
        known = pd.Series(exported.targets[symbol], exported.prices[symbol].index)[horizon:]
        joined = pd.Series(target, dates)[known.index[0] :].combine_first(known[: dates[-1]])
        target = np.append(np.full(horizon, np.nan), joined.dropna())
    return recent_deviation(target, horizon)[-horizon:]


def _own_scaler(exported: Exported, series: Series) -> Scaler:
    """Return the scaler of as much of a past as the network was trained on."""
    lookback, bars = exported.config.lookback, len(series.target)
    first = first_target(lookback, series.warmup, series.horizon)
    if bars < first + MIN_TRAIN_TARGETS:
        raise ForecastError(
            f"the model has no scaler for these prices, so they must have at least "
            f"{first + MIN_TRAIN_TARGETS} bars to fit one, but have {bars}: {series.warmup} before "
            f"the first value of every feature + lookback = {lookback} + horizon - 1 = "
            f"{series.horizon - 1} + {MIN_TRAIN_TARGETS} targets; give earlier bars too"
        )
    longest = exported.spec.walk_forward.train_bars or bars
    scaler = Scaler.fit(series, Span(max(first, bars - longest), bars), lookback)
    standardised = LOSSES[exported.spec.training.loss].standardised
    return scaler if standardised else scaler.centring_target()


def _suffice(scores: Floats, level: float) -> bool:
    try:
        require_enough(len(scores), level)
    except IntervalError:
        return False
    return True


def _coverage(exported: Exported, symbol: str, found: Adapted) -> Coverage | None:
    """Return the coverage on the holdout by the intervals that were known before each bar."""
    search, sealed = (exported.scores.get(name, {}).get(symbol) for name in FORECAST_FILES)
    if search is None or sealed is None:
        return None
    bars = slice(len(search), len(search) + len(sealed))
    low, high = found.low[bars], found.high[bars]
    if np.isnan(low[0]):
        return None  # together with the holdout's errors there may still be enough
    return Coverage(float(np.mean((low <= sealed) & (sealed <= high))), len(sealed))
