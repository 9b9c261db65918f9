"""Baselines, each one entry of ``BASELINES``: simple forecasts of the targets of the networks.

Each is fitted on a training part alone, and forecasts the target at bar ``t`` from nothing after
bar ``t - horizon``, as the networks do.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import (
    TARGETS_PER_LAG,
    Baseline,
    Fit,
    TooShortError,
    check_spans,
    least_squares,
)
from puffin.models.evaluation.volatility_baselines import ewma, garch, har, lhar
from puffin.models.features import Series
from puffin.models.folds import Span
from puffin.models.panel import Part
from puffin.models.scaling import Scaler

if TYPE_CHECKING:
    from sklearn.model_selection import TimeSeriesSplit

# Most lags of the autoregression: a month of trading days.
MAX_ORDER = 20
# Candidate penalties of the ridge regression, for standardised features and targets.
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 6, 8))
# Fewest bars that a ridge regression sees: a month of trading days, as the models of volatility.
RIDGE_BARS = 22
# Cross-validation folds that choose the penalty.
RIDGE_FOLDS = 5


def persistence(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast no change: a zero return, or the last price or range.

    Raises
    ------
    ValueError
        If a training label is not known yet when the first forecast is made.
    """
    check_spans(series, lookback, train, score)
    forecasts = series.persistence[score.start : score.stop].copy()
    return Baseline("persistence", forecasts, nested=True)


def training_mean(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast the mean of the training part's targets, at every bar.

    Raises
    ------
    ValueError
        If a training label is not known yet when the first forecast is made.
    """
    check_spans(series, lookback, train, score)
    mean = series.target[train.start : train.stop].mean()
    return Baseline("training mean", np.full(len(score), mean), nested=True)


def drift(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast persistence plus the mean move of the training part.

    A move is the difference between a target and its persistence forecast, in the target's unit.
    For a price or a range this is a random walk with drift of that level. For a log return it is a
    random walk with drift of the log price, and equal to `training_mean`.

    Raises
    ------
    ValueError
        If a training label is not known yet when the first forecast is made.

    References
    ----------
    Hyndman and Athanasopoulos (2021), "Forecasting: Principles and Practice", 3rd edition, section
    5.2.
    """
    check_spans(series, lookback, train, score)
    moves = (series.target - series.persistence)[train.start : train.stop]
    forecasts = series.persistence[score.start : score.stop] + moves.mean()
    return Baseline("drift", forecasts, nested=True)


def autoregression(
    series: Series, lookback: int, train: Span, score: Span, max_order: int = MAX_ORDER
) -> Baseline:
    """Forecast by an autoregression on the last p known targets, fitted by least squares.

    The target at ``t`` is regressed on a constant and the targets at ``t - horizon``,
    ``t - horizon - 1`` and so on (a direct forecast: none is fed back). The number of lags has the
    lowest BIC (Schwarz) on the training targets that have `max_order` lags, so that all orders are
    compared on the same targets. Orders begin at 1, because 0 lags are `training_mean`.

    Parameters
    ----------
    max_order : int
        Most lags; in a short training part at most one for every ten targets.

    Raises
    ------
    ValueError
        If a training label is not known yet when the first forecast is made.
    TooShortError
        If fewer than ten training targets have a known lag.

    References
    ----------
    Marcellino, Stock and Watson (2006), "A comparison of direct and iterated multistep AR methods
    for forecasting macroeconomic time series", Journal of Econometrics 135(1-2), the direct AR.
    Schwarz (1978), "Estimating the Dimension of a Model", Annals of Statistics 6(2).
    """
    check_spans(series, lookback, train, score)
    # The first `horizon` targets are NaN, and the lags of a forecast begin a horizon before it.
    usable = min(train.stop - 2 * series.horizon, len(train))
    most = min(max_order, usable // TARGETS_PER_LAG)
    if most < 1:
        raise TooShortError(
            f"an autoregression needs {TARGETS_PER_LAG} training targets with a known lag, "
            f"but there are {max(usable, 0)}"
        )
    rows = np.arange(max(train.start, 2 * series.horizon + most - 1), train.stop)
    lags = known_lags(series, rows, most)
    target = series.target[rows]
    order = min(range(1, most + 1), key=lambda p: _bic(lags[:, : p + 1], target))
    weights = least_squares(lags[:, : order + 1], target)
    ahead = known_lags(series, np.arange(score.start, score.stop), order)
    return Baseline(f"AR({order})", ahead @ weights)


def known_lags(series: Series, times: np.ndarray, order: int) -> Floats:
    """Return a constant and the last known targets, newest first, (times, 1 + order)."""
    lagged = times[:, None] - series.horizon - np.arange(order)
    return np.column_stack([np.ones(len(times)), series.target[lagged]])


def _bic(columns: Floats, target: Floats) -> float:
    count, parameters = columns.shape
    residuals = target - columns @ least_squares(columns, target)
    # A perfect fit has a BIC of minus infinity, which is the lowest.
    with np.errstate(divide="ignore"):
        return float(count * np.log(residuals @ residuals / count) + parameters * np.log(count))


def ridge(series: Series, lookback: int, train: Span, score: Span) -> Baseline:
    """Forecast by ridge regression on the windows of the networks, of `RIDGE_BARS` bars at least.

    Features and target are standardised by the training part, as for the networks. The penalty is
    chosen by five walk-forward folds of the training part, ``horizon - 1`` targets apart. Training
    targets with fewer bars before them are left out.

    Raises
    ------
    TooShortError
        If the first of the five folds has no training target.
    ValueError
        If a training label is not known yet when the first forecast is made, or the first window
        begins before the first feature.

    References
    ----------
    Hoerl and Kennard (1970), "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
    Technometrics 12(1).
    """
    # Imported here, because training does not need scikit-learn, which takes a second to import.
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import TimeSeriesSplit

    check_spans(series, lookback, train, score)
    scaler = Scaler.fit(series, train, lookback)
    bars, train = ridge_windows(series, lookback, train)
    part = len(train) // (RIDGE_FOLDS + 1)
    least = len(train) - RIDGE_FOLDS * part - (series.horizon - 1)
    if part < 1 or least < 1:
        raise TooShortError(
            f"{RIDGE_FOLDS} walk-forward folds, horizon - 1 = {series.horizon - 1} targets apart, "
            f"need more than {len(train)} training targets"
        )
    splitter = TimeSeriesSplit(RIDGE_FOLDS, gap=series.horizon - 1)
    target = scaler.scale_target(series.target[train.start : train.stop])
    windows = flat_windows(series, scaler, bars, train)
    alpha = _best_penalty(windows, target, splitter)
    model = Ridge(alpha).fit(windows, target)
    scaled = model.predict(flat_windows(series, scaler, bars, score))
    return Baseline(f"ridge, alpha {alpha:g}", scaler.unscale_target(scaled))


def _best_penalty(windows: Floats, target: Floats, splitter: "TimeSeriesSplit") -> float:
    """Return the penalty of the lowest mean loss over folds, of windows (targets, inputs).

    It is what ``RidgeCV(ALPHAS, cv=splitter)`` chooses, in a tenth of its time: the products of the
    windows are decomposed once for each fold, and not once for each penalty.
    """
    alphas, losses = np.asarray(ALPHAS), np.zeros(len(ALPHAS))
    for train, valid in splitter.split(windows):
        centre, mean = windows[train].mean(axis=0), target[train].mean()
        rows = windows[train] - centre
        values, vectors = np.linalg.eigh(rows.T @ rows)
        turned = vectors.T @ (rows.T @ (target[train] - mean))
        weights = vectors @ (turned[:, None] / (values[:, None] + alphas))  # (inputs, penalties)
        errors = (target[valid] - mean)[:, None] - (windows[valid] - centre) @ weights
        losses += (errors**2).mean(axis=0)
    return float(alphas[losses.argmin()])


def ridge_windows(series: Series, lookback: int, train: Span) -> tuple[int, Span]:
    """Return the bars that a ridge regression sees, and the training targets that have so many."""
    bars = max(lookback, RIDGE_BARS)
    first = series.warmup + bars - 1 + series.horizon
    return bars, Span(min(max(train.start, first), train.stop), train.stop)


def flat_windows(series: Series, scaler: Scaler, lookback: int, span: Span) -> Floats:
    """Return the standardised windows that forecast `span`, (targets, lookback * feature)."""
    first, last = (t - series.horizon for t in (span.start, span.stop))
    rows = series.features[first - lookback + 1 : last]
    rows = (rows - scaler.feature_mean) / scaler.feature_std
    windows = np.lib.stride_tricks.sliding_window_view(rows, lookback, axis=0)
    # (targets, feature, lookback) -> (targets, lookback, feature), the order of the networks
    return windows.transpose(0, 2, 1).reshape(len(span), -1)


def fit_each(fit: Fit, parts: Sequence[Part], lookback: int) -> Baseline:
    """Fit a baseline to each symbol of a fold, and return the forecasts symbol after symbol.

    Raises
    ------
    LeftOutError
        If it cannot be fitted to a symbol.
    """
    fitted = [fit(p.member.series, lookback, p.fold.train, p.fold.valid) for p in parts]
    labels = dict.fromkeys(each.label for each in fitted)
    label = next(iter(labels)) if len(labels) == 1 else f"{_family(fitted[0].label)} of each symbol"
    forecasts = np.concatenate([each.forecasts for each in fitted])
    return Baseline(label, forecasts, nested=all(each.nested for each in fitted))


def _family(label: str) -> str:
    """Return a label without the hyperparameter that was chosen: AR for AR(3)."""
    return re.split(r"[,(]", label)[0]


BASELINES: dict[str, Fit] = {
    "persistence": persistence,
    "drift": drift,
    "mean": training_mean,
    "ar": autoregression,
    "ridge": ridge,
    "har": har,
    "lhar": lhar,
    "ewma": ewma,
    "garch": garch,
}
