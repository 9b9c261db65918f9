"""Baselines that fit another loss than the squared error that they are fitted by."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import Baseline, TooShortError
from puffin.models.evaluation.baselines import fit_each, persistence
from puffin.models.evaluation.pooled_baselines import PooledFit
from puffin.models.evaluation.quantiles import (
    deviation_before,
    persistence_quantiles,
    quantiles_around,
)
from puffin.models.folds import Fold, Span
from puffin.models.losses import Loss
from puffin.models.panel import Part, by_part
from puffin.models.scaling import safe_std

# Part of the training targets that tell the shift.
_HELD_OUT = 0.2
# Added to the distance of a target from the mean, in units of its standard deviation.
_LEAST_DISTANCE = 0.05


def fitted_to(loss: Loss, fit: PooledFit, scale: PooledFit | None = None) -> PooledFit:
    """Return a baseline that forecasts what a loss is of.

    Parameters
    ----------
    loss : Loss
    fit : callable
        Fits the baseline by least squares.
    scale : callable, optional
        As of `with_quantiles`, for a loss of quantiles.
    """
    if loss.levels:
        return partial(with_quantiles, fit, scale, loss.levels)
    return fit if loss.best_shift is None else partial(shifted, fit, loss.best_shift)


def shifted(
    fit: PooledFit,
    best_shift: Callable[[Floats], float],
    parts: Sequence[Part],
    lookback: int,
) -> Baseline:
    """Fit a baseline, and add the constant to its forecasts that the training part tells.

    A model that is fitted by least squares to the log of a volatility forecasts the mean of logs,
    which is below the log of the mean. So it is fitted to the first four fifths of the training
    part, and the errors of the last fifth tell how much is added to its forecasts of each symbol
    when it is fitted to all.

    Parameters
    ----------
    fit : callable
        Fits the baseline to parts.
    best_shift : callable
        Maps errors (n,) in the target's unit to the constant, as `losses.Loss.best_shift`.
    parts : sequence of Part
    lookback : int

    Raises
    ------
    ValueError, LeftOutError
        As `fit`.
    """
    whole, held = fit(parts, lookback), [_held_out(part) for part in parts]
    before = by_part(held, fit(held, lookback).forecasts)
    shifts = [
        best_shift(part.scored(part.member.series.target) - forecasts)
        for part, forecasts in zip(held, before, strict=True)
    ]
    rows = zip(by_part(parts, whole.forecasts), shifts, strict=True)
    return replace(whole, forecasts=np.concatenate([values + shift for values, shift in rows]))


def with_quantiles(
    fit: PooledFit,
    scale: PooledFit | None,
    levels: Sequence[float],
    parts: Sequence[Part],
    lookback: int,
) -> Baseline:
    """Fit a baseline, and put the quantiles of its errors around its forecasts.

    The errors are those of the last fifth of the training part by a fit to the first four fifths.
    They are in units of the volatility that was expected of each, which is the recent deviation of
    the target, or what another baseline forecasts of its distance from the mean.

    Parameters
    ----------
    fit : callable
        Fits the baseline to parts.
    scale : callable, optional
        Fits the baseline whose target is the log of the distance from the mean.
    levels : sequence of float, ascending
    parts : sequence of Part
    lookback : int

    Returns
    -------
    Baseline
        Whose forecasts are (scored targets, level).

    Raises
    ------
    ValueError, LeftOutError
        As `fit` and `scale`.

    References
    ----------
    Harvey (1976), "Estimating Regression Models with Multiplicative Heteroscedasticity",
    Econometrica 44(3), which regresses the log of squared errors.
    """
    whole, held = fit(parts, lookback), [_held_out(part) for part in parts]
    before = by_part(held, fit(held, lookback).forecasts)
    ahead, known = (_scales(scale, each, lookback) for each in (parts, held))
    rows = zip(by_part(parts, whole.forecasts), ahead, held, before, known, strict=True)
    found = []
    for points, expected, part, forecasts, expected_before in rows:
        scores = (part.scored(part.member.series.target) - forecasts) / expected_before
        found.append(quantiles_around(points, expected, scores, levels))
    label = whole.label if scale is None else f"{whole.label} with ridge volatility"
    return replace(whole, label=label, forecasts=np.concatenate(found))


def _scales(scale: PooledFit | None, parts: Sequence[Part], lookback: int) -> list[Floats]:
    """Return the volatility that is expected of each scored target, one array for each part."""
    if scale is None:
        return [deviation_before(part, part.fold.valid) for part in parts]
    logs = scale([_of_distances(part) for part in parts], lookback).forecasts
    return by_part(parts, np.exp(logs))


def _of_distances(part: Part) -> Part:
    """Return a part whose target is the log of its distance from the mean of the training part."""
    series, train = part.member.series, part.fold.train
    known = series.target[train.start : train.stop]
    # Without the least distance, one target that is the mean would outweigh all others.
    distance = np.abs(series.target - known.mean()) + _LEAST_DISTANCE * safe_std(known)
    member = replace(part.member, series=replace(series, target=np.log(distance)))
    logs = member.series.target[train.start : train.stop]
    scaler = replace(part.scaler, target_mean=float(logs.mean()), target_std=float(safe_std(logs)))
    return replace(part, member=member, scaler=scaler)


def persistence_with_quantiles(
    levels: Sequence[float], parts: Sequence[Part], lookback: int
) -> Baseline:
    """Return persistence with the quantiles of its errors in the whole training part around it."""
    forecasts = np.concatenate([persistence_quantiles(part, levels) for part in parts])
    return replace(fit_each(persistence, parts, lookback), forecasts=forecasts)


def _held_out(part: Part) -> Part:
    """Return a part that trains on the first targets of a training part and scores the last."""
    train, horizon = part.fold.train, part.member.series.horizon
    start = train.stop - max(int(_HELD_OUT * len(train)), 1)
    # The labels of the first targets are known when the last ones are forecast.
    known = Span(train.start, start - horizon + 1)
    if known.stop <= known.start:
        raise TooShortError(
            f"a baseline is adjusted by a fifth of the training part, before which {horizon - 1} "
            f"targets are left out, but there are {len(train)}"
        )
    return replace(part, fold=Fold(known, Span(start, train.stop)))
