"""What a symbol is forecast with: its scaler, and the errors that its intervals are built from.

A symbol that the network was not trained on is scaled by its own past, and has the errors of all
symbols, in units of their standardised targets.
"""

from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.conformal import IntervalError, residual_interval
from puffin.models.features import Series
from puffin.models.folds import MIN_TRAIN_TARGETS, Span, first_target
from puffin.models.losses import LOSSES
from puffin.models.scaling import Scaler
from puffin.studies.export.read import FORECAST_FILES, Exported


class ForecastError(PuffinError):
    """The model cannot make the forecast from these prices."""


@dataclass(frozen=True)
class Coverage:
    """Share of the holdout bars inside the interval built from the search residuals."""

    share: float
    bars: int


@dataclass(frozen=True, eq=False)
class Basis:
    """What a symbol is forecast with.

    Attributes
    ----------
    scaler : Scaler
    residuals : array, (n,)
        actual - forecast of every bar that was forecast out of sample, in the target's unit.
    coverage : Coverage
        None while the holdout is sealed, if the search has too few residuals, or if they are not
        the symbol's own.
    is_seen : bool
        Whether the network was trained on the symbol.
    is_own : bool
        Whether the residuals are those of the symbol.
    """

    scaler: Scaler
    residuals: Floats
    coverage: Coverage | None
    is_seen: bool
    is_own: bool


def basis_of(exported: Exported, symbol: str, series: Series, level: float) -> Basis:
    """Return what a symbol is forecast with, of which `series` is the past.

    Of several symbols, one with too few residuals for an interval of `level` has those of all.

    Raises
    ------
    ForecastError
        If the network was not trained on the symbol, and its past is too short for a scaler.
    """
    is_seen = symbol in exported.scalers
    scaler = exported.scalers[symbol] if is_seen else _own_scaler(exported, series)
    own = exported.out_of_sample.get(symbol)
    if own is not None and is_seen and (not exported.is_basket or _suffice(own, level)):
        return Basis(scaler, own, _coverage(exported, symbol, level), is_seen, is_own=True)
    residuals = _standardised(exported) * scaler.target_std
    return Basis(scaler, residuals, None, is_seen, is_own=False)


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


def _suffice(residuals: Floats, level: float) -> bool:
    try:
        residual_interval(residuals, level)
    except IntervalError:
        return False
    return True


def _standardised(exported: Exported) -> Floats:
    """Return the residuals of all symbols, each in units of its standardised target."""
    scalers = exported.scalers
    found = [
        residuals / scalers[symbol].target_std
        for symbol, residuals in exported.out_of_sample.items()
        if symbol in scalers
    ]
    return np.concatenate([np.empty(0), *found])


def _coverage(exported: Exported, symbol: str, level: float) -> Coverage | None:
    """Return the coverage on the holdout of the interval built from the search residuals."""
    walk_forward, sealed = (exported.residuals.get(name, {}).get(symbol) for name in FORECAST_FILES)
    if walk_forward is None or sealed is None:
        return None
    try:
        low, high = residual_interval(walk_forward, level)
    except IntervalError:
        return None  # together with the holdout's residuals there may still be enough
    return Coverage(float(np.mean((low <= sealed) & (sealed <= high))), len(sealed))
