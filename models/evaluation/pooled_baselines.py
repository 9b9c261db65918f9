"""Baselines of a basket, each one entry of ``POOLED``, mostly one simple model of all symbols.

Each symbol is standardised by its own training part, as for the networks. Only sums of products are
kept of the windows of each symbol, so that the memory does not grow with the number of symbols.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import (
    TARGETS_PER_LAG,
    Baseline,
    TooShortError,
    check_spans,
    require_targets,
)
from puffin.models.evaluation.baselines import (
    ALPHAS,
    MAX_ORDER,
    RIDGE_FOLDS,
    flat_windows,
    known_lags,
    ridge_windows,
)
from puffin.models.evaluation.volatility_baselines import check_volatility, known_rows, returns_of
from puffin.models.evaluation.volatility_inputs import (
    DECAYS,
    averages,
    exponential_averages,
    leverage,
)
from puffin.models.folds import Fold, Span
from puffin.models.panel import Dates, Part
from puffin.models.scaling import safe_std


def autoregression_of_all(parts: Sequence[Part], _lookback: int) -> Baseline:
    """Forecast by one autoregression on the last p known targets of every symbol.

    It is fitted and its order chosen as that of `baselines.autoregression`, on the standardised
    targets of all symbols. The BIC counts dates: symbols move together, and with each counted as
    one more observation it would choose lags that are noise.

    Raises
    ------
    ValueError
        If a training label of a symbol is not known yet when the first forecast is made.
    TooShortError
        If fewer than ten training targets have a known lag.
    """
    _check(parts, lookback=1)
    usable = sum(len(_rows_with_lags(part, 1)) for part in parts)
    most = min(MAX_ORDER, usable // TARGETS_PER_LAG)
    if most < 1:
        raise TooShortError(
            f"an autoregression needs {TARGETS_PER_LAG} training targets with a known lag, but "
            f"there are {usable}"
        )
    rows = [_rows_with_lags(part, most) for part in parts]
    total = np.zeros((most + 2, most + 2))
    for part, bars in zip(parts, rows, strict=True):
        total += _moments(*_lagged(part, bars, most))
    dates = np.unique(np.concatenate([p.member.dates[b] for p, b in zip(parts, rows, strict=True)]))
    order = min(range(1, most + 1), key=lambda lags: _bic(total, lags, len(dates)))
    weights = _least_squares(total, order)
    return Baseline(
        f"AR({order}) of all symbols",
        _forecast(parts, weights, lambda part, span: _lagged(part, _bars(span), order)[0]),
    )


def ridge_of_all(parts: Sequence[Part], lookback: int) -> Baseline:
    """Forecast by one ridge regression on the windows of all symbols, as `baselines.ridge`.

    The penalty is chosen by five walk-forward folds over the dates of the training targets. A
    target validates if it is forecast when the last label that trains is known.

    Raises
    ------
    ValueError
        If a training label of a symbol is not known yet when the first forecast is made, or a
        window begins before the first feature.
    TooShortError
        If one of the five folds has no target to train on or to validate.
    """
    _check(parts, lookback)
    bars, parts = _with_windows(parts, lookback)
    alpha, total = _best_penalty(parts, bars)
    weights = _penalised(total, alpha)
    return Baseline(
        f"ridge of all symbols, alpha {alpha:g}",
        _forecast(parts, weights, lambda part, span: _windows(part, bars, span)),
    )


def ridge_of_each(parts: Sequence[Part], lookback: int) -> Baseline:
    """Forecast by a ridge regression of each symbol: `baselines.ridge`, a hundred times faster.

    Raises
    ------
    ValueError, TooShortError
        As `ridge_of_all`.
    """
    _check(parts, lookback)
    forecasts = [ridge_of_all([part], lookback).forecasts for part in parts]
    return Baseline("ridge of each symbol", np.concatenate(forecasts))


def har_of_all(parts: Sequence[Part], lookback: int) -> Baseline:
    """Forecast by one `volatility_baselines.har` of the standardised targets of all symbols.

    Raises
    ------
    ValueError
        If a training label of a symbol is not known yet when the first forecast is made.
    LeftOutError
        As `volatility_baselines.har`; the training targets are those of all symbols.

    References
    ----------
    Bollerslev, Hood, Huss and Pedersen (2018), "Risk Everywhere: Modeling and Managing Volatility",
    Review of Financial Studies, which pools such regressions over many markets.
    """
    _check_volatility(parts, lookback)
    inputs = [averages(_targets(part)) for part in parts]
    return Baseline("HAR of all symbols", _regress(parts, inputs)[0])


def lhar_of_all(parts: Sequence[Part], lookback: int) -> Baseline:
    """Forecast by one `volatility_baselines.lhar` of all symbols.

    The returns of a symbol are in units of their standard deviation in its training part.

    Raises
    ------
    ValueError, LeftOutError
        As `har_of_all`, and if a symbol has no positive closes.
    """
    _check_volatility(parts, lookback)
    inputs = [
        np.column_stack([averages(_targets(part)), leverage(_returns(part))]) for part in parts
    ]
    return Baseline("LHAR of all symbols", _regress(parts, inputs)[0])


def ewma_of_all(parts: Sequence[Part], lookback: int) -> Baseline:
    """Forecast by one `volatility_baselines.ewma` of all symbols, with one decay.

    Raises
    ------
    ValueError, LeftOutError
        As `har_of_all`.
    """
    _check_volatility(parts, lookback)
    levels = [exponential_averages(_targets(part)) for part in parts]
    fits = [_regress(parts, [each[:, [place]] for each in levels]) for place in range(len(DECAYS))]
    best = min(range(len(DECAYS)), key=lambda place: fits[place][1])
    return Baseline(f"EWMA of all symbols, decay {DECAYS[best]:.2f}", fits[best][0])


PooledFit = Callable[[Sequence[Part], int], Baseline]

# An entry that `BASELINES` has too takes its place.
POOLED: dict[str, PooledFit] = {
    "ridge": ridge_of_each,
    "ar_of_all": autoregression_of_all,
    "ridge_of_all": ridge_of_all,
    "har_of_all": har_of_all,
    "lhar_of_all": lhar_of_all,
    "ewma_of_all": ewma_of_all,
}


def _check(parts: Sequence[Part], lookback: int) -> None:
    for part in parts:
        check_spans(part.member.series, lookback, part.fold.train, part.fold.valid)
    known = max(part.member.dates[part.fold.train.stop - 1] for part in parts)
    first = min(
        part.member.dates[part.fold.valid.start - part.member.series.horizon] for part in parts
    )
    if known > first:
        raise ValueError(
            f"the last training label of all symbols, of {known}, must be known when the first "
            f"forecast is made, on {first}: purge more targets"
        )


def _check_volatility(parts: Sequence[Part], lookback: int) -> None:
    _check(parts, lookback)
    for part in parts:
        check_volatility(part.member.series, lookback, part.fold.train, part.fold.valid)


def _with_windows(parts: Sequence[Part], lookback: int) -> tuple[int, Sequence[Part]]:
    """Return the bars that a ridge regression sees, and the parts that train where there are so."""
    found = [ridge_windows(part.member.series, lookback, part.fold.train) for part in parts]
    folds = [Fold(train, part.fold.valid) for part, (_, train) in zip(parts, found, strict=True)]
    kept = [replace(part, fold=fold) for part, fold in zip(parts, folds, strict=True)]
    return found[0][0], kept


def _best_penalty(parts: Sequence[Part], lookback: int) -> tuple[float, Floats]:
    """Return the penalty with the lowest mean loss over the folds, and the moments of all."""
    starts = _fold_starts(parts)
    size = 2 + lookback * parts[0].member.series.features.shape[1]
    blocks = np.zeros((len(starts) + 1, 2, size, size))
    for part in parts:
        for block, validates, span in _pieces(part, starts):
            columns = _windows(part, lookback, span)
            blocks[block, validates] += _moments(columns, _target(part, _bars(span)))
    trains, valids = np.cumsum(blocks.sum(axis=1), axis=0), blocks[1:, 1]
    losses = np.zeros(len(ALPHAS))
    for trained, judged in zip(trains[:-1], valids, strict=True):
        if not (trained[0, 0] and judged[0, 0]):
            raise TooShortError(
                f"each of {RIDGE_FOLDS} walk-forward folds needs targets to train on and targets "
                "that are forecast after their labels are known: there are too few dates"
            )
        losses += [_loss(judged, _penalised(trained, alpha)) for alpha in ALPHAS]
    return ALPHAS[int(np.argmin(losses))], trains[-1]


def _fold_starts(parts: Sequence[Part]) -> list[tuple[np.datetime64, np.datetime64]]:
    """Return of each fold the last date that trains, and the first that validates."""
    spans = [part.member.dates[part.fold.train.start : part.fold.train.stop] for part in parts]
    dates = np.unique(np.concatenate(spans))
    size = len(dates) // (RIDGE_FOLDS + 1)
    if not size:
        raise TooShortError(
            f"{RIDGE_FOLDS} walk-forward folds need training targets on more than {len(dates)} "
            "dates"
        )
    return [(dates[-k * size - 1], dates[-k * size]) for k in range(RIDGE_FOLDS, 0, -1)]


def _pieces(
    part: Part, starts: list[tuple[np.datetime64, np.datetime64]]
) -> Iterator[tuple[int, int, Span]]:
    """Yield consecutive training targets of a symbol: block, whether they validate, bars.

    Block 0 is before the first fold. The targets at the beginning of a block that are forecast
    before the last label of the blocks before it is known do not validate.
    """
    dates, train, horizon = part.member.dates, part.fold.train, part.member.series.horizon
    edges = [train.start, *(_first_bar(dates, first, train) for _, first in starts), train.stop]
    yield 0, 0, Span(edges[0], edges[1])
    for block, (known, _) in enumerate(starts, start=1):
        start, stop = edges[block], edges[block + 1]
        middle = min(max(int(np.searchsorted(dates, known)) + horizon, start), stop)
        yield block, 0, Span(start, middle)
        yield block, 1, Span(middle, stop)


def _first_bar(dates: Dates, date: np.datetime64, train: Span) -> int:
    return min(max(int(np.searchsorted(dates, date)), train.start), train.stop)


def _windows(part: Part, lookback: int, span: Span) -> Floats:
    if not len(span):
        return np.empty((0, lookback * part.member.series.features.shape[1]))
    return flat_windows(part.member.series, part.scaler, lookback, span)


def _bars(span: Span) -> NDArray[np.int64]:
    return np.arange(span.start, span.stop)


def _target(part: Part, bars: NDArray[np.int64]) -> Floats:
    return part.scaler.scale_target(part.member.series.target[bars])


def _targets(part: Part) -> Floats:
    """Return the standardised target of a symbol at every bar, (bars,)."""
    return part.scaler.scale_target(part.member.series.target)


def _returns(part: Part) -> Floats:
    """Return the returns of a symbol in units of their standard deviation in the training part."""
    returns, train = returns_of(part.member.series), part.fold.train
    return np.asarray(returns / safe_std(returns[max(train.start, 1) : train.stop]))


def _regress(parts: Sequence[Part], inputs: Sequence[Floats]) -> tuple[Floats, float]:
    """Return the forecasts of one regression on inputs (bars, k) of each symbol, and its loss."""
    horizon, count = parts[0].member.series.horizon, inputs[0].shape[1]
    total = np.zeros((count + 2, count + 2))
    for part, known in zip(parts, inputs, strict=True):
        rows = known_rows(known, horizon, part.fold.train)
        total += _moments(known[rows - horizon], _target(part, rows))
    require_targets(int(total[0, 0]), count)
    weights = _least_squares(total, count)
    of_symbol = {part.member.symbol: known for part, known in zip(parts, inputs, strict=True)}
    forecasts = _forecast(
        parts, weights, lambda part, span: of_symbol[part.member.symbol][_bars(span) - horizon]
    )
    return forecasts, _loss(total, weights)


def _rows_with_lags(part: Part, lags: int) -> NDArray[np.int64]:
    """Return the training targets of a symbol that have so many lags."""
    train, horizon = part.fold.train, part.member.series.horizon
    # The first `horizon` targets are NaN, and the lags of a forecast begin a horizon before it.
    return np.arange(max(train.start, 2 * horizon + lags - 1), train.stop)


def _lagged(part: Part, bars: NDArray[np.int64], lags: int) -> tuple[Floats, Floats]:
    """Return the standardised lags of targets, (targets, lag), and the targets."""
    columns = known_lags(part.member.series, bars, lags)[:, 1:]
    return part.scaler.scale_target(columns), _target(part, bars)


def _moments(columns: Floats, target: Floats) -> Floats:
    """Return the sums of products of a constant, the columns and the target, in this order."""
    rows = np.column_stack([np.ones(len(target)), columns, target])
    return np.asarray(rows.T @ rows)


def _penalised(moments: Floats, alpha: float) -> Floats:
    """Return the weights of a ridge regression, first the constant, which has no penalty."""
    penalty = np.full(len(moments) - 1, alpha)
    penalty[0] = 0
    return np.asarray(np.linalg.solve(moments[:-1, :-1] + np.diag(penalty), moments[:-1, -1]))


def _least_squares(moments: Floats, lags: int) -> Floats:
    kept = slice(lags + 1)
    return np.asarray(np.linalg.lstsq(moments[kept, kept], moments[kept, -1])[0])


def _loss(moments: Floats, weights: Floats) -> float:
    """Return the mean squared error of a linear model on the targets of moments."""
    kept = [*range(len(weights)), -1]
    signed = np.append(-weights, 1.0)
    return float(signed @ moments[np.ix_(kept, kept)] @ signed / moments[0, 0])


def _bic(moments: Floats, lags: int, count: int) -> float:
    loss = _loss(moments, _least_squares(moments, lags))
    # A perfect fit has a BIC of minus infinity, which is the lowest; rounding may make it negative.
    with np.errstate(divide="ignore"):
        return float(count * np.log(max(loss, 0.0)) + (lags + 1) * np.log(count))


def _forecast(
    parts: Sequence[Part], weights: Floats, columns: Callable[[Part, Span], Floats]
) -> Floats:
    """Return the forecasts of a linear model in the target's unit, symbol after symbol."""
    return np.concatenate(
        [
            part.scaler.unscale_target(weights[0] + columns(part, part.fold.valid) @ weights[1:])
            for part in parts
        ]
    )
