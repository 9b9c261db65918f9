"""Baselines of a volatility: linear regressions on what is known of it and of the returns.

Each is an entry of `baselines.BASELINES`, which say what all of them share.
"""

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats, varies
from puffin.models.evaluation.baseline import (
    Baseline,
    LeftOutError,
    MissingPackageError,
    check_spans,
    least_squares,
    require_targets,
)
from puffin.models.evaluation.volatility_inputs import (
    DECAYS,
    averages,
    exponential_averages,
    leverage,
    log_conditional_deviation,
)
from puffin.models.features import Series
from puffin.models.folds import Span


def har(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast a volatility by a regression on its averages over 1, 5 and 22 bars.

    The target at ``t`` is regressed by least squares on the averages that are known at
    ``t - horizon`` (a direct forecast).

    Raises
    ------
    ValueError
        If a training label is not known yet when the first forecast is made.
    LeftOutError
        If the target is no volatility, or there are fewer than ten training targets for each
        coefficient.

    References
    ----------
    Corsi (2009), as in `volatility_inputs.averages`.
    """
    check_volatility(series, lookback, train, score)
    return Baseline("HAR", _regress(averages(series.target), series, train, score)[0])


def lhar(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast a volatility as `har`, with the last return, if negative, and its size beside.

    Raises
    ------
    ValueError
        As `har`.
    LeftOutError
        As `har`, and if there are no positive closes.

    References
    ----------
    Corsi and Renò (2012), as in `volatility_inputs.leverage`.
    """
    check_volatility(series, lookback, train, score)
    inputs = np.column_stack([averages(series.target), leverage(returns_of(series))])
    return Baseline("LHAR", _regress(inputs, series, train, score)[0])


def ewma(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast a volatility by a regression on its exponentially weighted average.

    The decay is the one of `volatility_inputs.DECAYS` that fits the training targets best.

    Raises
    ------
    ValueError, LeftOutError
        As `har`.

    References
    ----------
    J.P. Morgan and Reuters (1996), as in `volatility_inputs.exponential_averages`.
    """
    check_volatility(series, lookback, train, score)
    levels = exponential_averages(series.target).T[:, :, None]
    fits = [_regress(level, series, train, score) for level in levels]
    best = min(range(len(DECAYS)), key=lambda place: fits[place][1])
    return Baseline(f"EWMA, decay {DECAYS[best]:.2f}", fits[best][0])


def garch(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast a volatility by a regression on the logarithm of that of a GARCH(1,1).

    The GARCH is one of the returns of a bar. Its variance of the bar after ``t - horizon`` tells
    that of later bars, up to a line, which the regression finds.

    Raises
    ------
    ValueError
        As `har`.
    LeftOutError
        As `lhar`, if the returns never change, and if the package arch is not installed.

    References
    ----------
    Bollerslev (1986), as in `volatility_inputs.log_conditional_deviation`.
    """
    check_volatility(series, lookback, train, score)
    returns = returns_of(series)
    if not varies(returns[max(train.start, 1) : train.stop]):
        raise LeftOutError("a GARCH needs returns that differ, but the closes never change")
    try:
        deviation = log_conditional_deviation(returns, train)
    except ImportError as error:
        raise MissingPackageError(
            "GARCH needs the package arch: pip install 'puffin-tuner[garch]'"
        ) from error
    return Baseline("GARCH(1,1)", _regress(deviation[:, None], series, train, score)[0])


def returns_of(series: Series) -> Floats:
    """Return the log returns of a bar, or raise LeftOutError if there are none."""
    if series.returns is None:
        raise LeftOutError("there are no returns, because a close is missing, zero or negative")
    return series.returns


def _regress(inputs: Floats, series: Series, train: Span, score: Span) -> tuple[Floats, float]:
    """Return forecasts by least squares on a constant and inputs, (bars, k), and the mean error.

    Each target is forecast from the inputs at its bar less the horizon. The error is the mean
    squared one of the training targets whose inputs are known.
    """
    columns = np.column_stack([np.ones(len(inputs)), inputs])
    rows = known_rows(inputs, series.horizon, train)
    require_targets(len(rows), inputs.shape[1])
    before, ahead = (columns[t - series.horizon] for t in (rows, _bars(score)))
    weights = least_squares(before, series.target[rows])
    error = float(np.mean((series.target[rows] - before @ weights) ** 2))
    return ahead @ weights, error


def known_rows(inputs: Floats, horizon: int, train: Span) -> NDArray[np.int64]:
    """Return the training targets whose inputs (bars, k) are known a horizon before."""
    rows = _bars(Span(max(train.start, horizon), train.stop))
    return rows[np.isfinite(inputs[rows - horizon]).all(axis=1)]


def _bars(span: Span) -> NDArray[np.int64]:
    return np.arange(span.start, span.stop)


def check_volatility(series: Series, lookback: int, train: Span, score: Span) -> None:
    """Raise as `check_spans`, and LeftOutError unless the target is a volatility."""
    check_spans(series, lookback, train, score)
    if not series.is_volatility:
        raise LeftOutError("a model of volatility forecasts a range or a volatility alone")
