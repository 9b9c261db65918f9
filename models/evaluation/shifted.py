"""Baselines whose level fits another loss than the squared error that they are fitted by."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import Baseline, TooShortError
from puffin.models.evaluation.pooled_baselines import PooledFit
from puffin.models.folds import Fold, Span
from puffin.models.panel import Part, by_part

# Part of the training targets that tell the shift.
_HELD_OUT = 0.2


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


def _held_out(part: Part) -> Part:
    """Return a part that trains on the first targets of a training part and scores the last."""
    train, horizon = part.fold.train, part.member.series.horizon
    start = train.stop - max(int(_HELD_OUT * len(train)), 1)
    # The labels of the first targets are known when the last ones are forecast.
    known = Span(train.start, start - horizon + 1)
    if known.stop <= known.start:
        raise TooShortError(
            f"a baseline is shifted by a fifth of the training part, before which {horizon - 1} "
            f"targets are left out, but there are {len(train)}"
        )
    return replace(part, fold=Fold(known, Span(start, train.stop)))
