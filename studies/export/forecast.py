"""Forecasts of an exported model from given prices, with prediction intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import torch

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.intervals import (
    draw_residuals,
    forecast_recursively,
    path_interval,
)
from puffin.models.features import MARKET, TARGETS, Series, build_series, feature
from puffin.models.training.fold_training import forecast_windows
from puffin.models.windows import make_windows, to_tensor
from puffin.studies.bars import columns_of
from puffin.studies.export.basis import Basis, Coverage, ForecastError, basis_of
from puffin.studies.export.cautions import cautions
from puffin.studies.export.read import Exported
from puffin.studies.json_values import to_json_values
from puffin.studies.sections import DataSection
from puffin.studies.text import in_words, when

# Targets that accumulate over the horizon; the feature of the same name covers one bar.
_CUMULATIVE = ("return", "change")


@dataclass(frozen=True)
class Bounds:
    """A forecast with the bounds of its prediction interval.

    `quantiles` are those that the networks of a study of quantiles forecast, by level; none for
    another loss, and beyond the horizon.
    """

    forecast: float
    low: float
    high: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Step:
    """The forecast of one bar.

    Attributes
    ----------
    ahead : int, number of bars after the last known one
    value : Bounds, in the target's unit
    in_trader_unit : Bounds, the same in `Prediction.trader_unit`; None if there is no such unit
    """

    ahead: int
    value: Bounds
    in_trader_unit: Bounds | None


@dataclass(frozen=True)
class Prediction:
    """The forecasts of the bars of one symbol after the last known one.

    Attributes
    ----------
    study : str
    steps : tuple of Step
    unit, trader_unit : units of the steps: of the target, and the one that traders use
    trader_statistic : what a forecast in `trader_unit` is, such as median; None as in `Spec`
    horizon : int, most bars ahead that are forecast from known bars alone
    level : float, nominal coverage of the intervals
    residuals : int, number of out-of-sample errors that the intervals are built from
    coverage : Coverage; None as in `Basis`
    last : Timestamp, time of the last known bar
    age_days : int, days from that bar to today
    warnings : tuple of str
    symbol : str
    is_seen : bool, whether the network was trained on the symbol
    has_own_residuals : bool, whether the errors are those of the symbol
    """

    study: str
    steps: tuple[Step, ...]
    unit: str
    trader_unit: str | None
    trader_statistic: str | None
    horizon: int
    level: float
    residuals: int
    coverage: Coverage | None
    last: pd.Timestamp
    age_days: int
    warnings: tuple[str, ...]
    symbol: str
    is_seen: bool
    has_own_residuals: bool

    def to_json(self) -> dict[str, Any]:
        """Return the forecasts as JSON can hold them; NaN is null."""
        values: dict[str, Any] = to_json_values(asdict(self) | {"last": when(self.last)})
        return {key: value for key, value in values.items() if key not in _OF_SEVERAL}


# Keys of a prediction that say nothing of an only symbol, and those that all symbols share.
_OF_SEVERAL = ("symbol", "is_seen", "has_own_residuals")
_SHARED = ("study", "unit", "trader_unit", "trader_statistic", "horizon", "level")


@dataclass(frozen=True)
class Predictions:
    """The forecasts of several symbols.

    Attributes
    ----------
    made : tuple of Prediction, at least one
    causes : dict of str, why a symbol could not be forecast
    warnings : tuple of str, of all symbols together
    """

    made: tuple[Prediction, ...]
    causes: dict[str, str]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the forecasts as JSON can hold them; NaN is null."""
        found = [to_json_values(asdict(one) | {"last": when(one.last)}) for one in self.made]
        return {
            **{key: found[0][key] for key in _SHARED},
            "symbols": [
                {key: one[key] for key in sorted(one, key="symbol".__ne__) if key not in _SHARED}
                for one in found
            ],
            "not_forecast": self.causes,
        }


def predict_each(
    exported: Exported,
    frames: Mapping[str, pd.DataFrame],
    steps: int,
    level: float,
    today: date,
) -> Predictions:
    """Forecast the bars after the last one of each symbol, as `predict` does.

    Raises
    ------
    PuffinError
        If no symbol can be forecast.
    """
    made, causes = list[Prediction](), dict[str, PuffinError]()
    for symbol, frame in frames.items():
        try:
            made.append(predict(exported, frame, steps, level, today, symbol))
        except PuffinError as error:
            causes[symbol] = error
    if not made:
        raise next(iter(causes.values()))
    reasons = {symbol: str(error) for symbol, error in causes.items()}
    return Predictions(tuple(made), reasons, tuple(_other_market(exported, frames)))


def _other_market(exported: Exported, frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield that means over the symbols are not over those of the study."""
    lacking = [symbol for symbol in exported.search if symbol not in frames]
    for name in exported.record.features:
        if lacking and any(column.startswith(MARKET) for column in feature(name).columns):
            yield (
                f"{name} is here the mean over {in_words(list(frames))}, but the model learned "
                f"it with {in_words(lacking)}; give these too"
            )


def predict(
    exported: Exported,
    frame: pd.DataFrame,
    steps: int,
    level: float,
    today: date,
    symbol: str | None = None,
) -> Prediction:
    """Forecast the bars after the last one of `frame`.

    The forecast of bar T + k uses nothing after bar T + k - horizon. Beyond the horizon, a network
    whose only feature is its target forecasts recursively from its own forecasts.

    Parameters
    ----------
    exported : Exported
    frame : DataFrame, (bar, column), checked prices
    steps : int
        Number of bars to forecast, at least 1.
    level : float
        Nominal coverage of the intervals, in (0, 1).
    today : date
    symbol : str, optional
        What the prices are of, which need not be in the export; the only symbol by default.

    Raises
    ------
    ForecastError
        If there are too few bars, or the model cannot forecast that many steps.
    IntervalError
        If there are too few residuals for `level`.
    PuffinError
        If a column is missing.
    """
    data, features = exported.spec.data, exported.record.features
    _check_steps(data, features, steps)
    columns = columns_of(frame)
    series = build_series(columns, features, data.target, data.horizon)
    _check_bars(series, exported.config.lookback)
    symbol = symbol or data.only_symbol
    display = TARGETS[data.target].display
    with np.errstate(all="ignore"):  # `_require_finite` refuses an overflow with a message
        basis = basis_of(exported, symbol, series, pd.DatetimeIndex(frame.index), level)
        values, sums = _forecast_steps(exported, series, basis, steps, level)
        start = _start_closes(sums, columns["close"], data.horizon)
        converted = None if display is None else display.convert(values, sums, start)
    _require_finite(values if converted is None else np.vstack([values, converted]))
    return Prediction(
        study=exported.record.study,
        steps=_steps(values, converted, exported.spec.training.quantiles),
        unit=TARGETS[data.target].unit,
        trader_unit=None if display is None else display.unit,
        trader_statistic=exported.spec.trader_statistic,
        horizon=data.horizon,
        level=level,
        residuals=len(basis.scores),
        coverage=basis.coverage,
        last=frame.index[-1],
        age_days=(today - frame.index[-1].date()).days,
        warnings=cautions(exported, symbol, frame, basis),
        symbol=symbol,
        is_seen=basis.is_seen,
        has_own_residuals=basis.is_own,
    )


def _require_finite(values: Floats) -> None:
    if not np.isfinite(values[:, 0]).all():
        msg = (
            "the model makes no finite forecast from these prices: they differ in kind from those "
            "it was trained on, or its scaler (input in config.toml) was altered"
        )
        raise ForecastError(msg)


def _can_recurse(data: DataSection, features: tuple[str, ...]) -> bool:
    """Return whether a forecast can serve as the only feature of the next bar."""
    return features == (data.target,) and (data.horizon == 1 or data.target not in _CUMULATIVE)


def _check_steps(data: DataSection, features: tuple[str, ...], steps: int) -> None:
    if steps <= data.horizon or _can_recurse(data, features):
        return
    why = (
        f"it reads the {data.target} of one bar and forecasts that over {data.horizon} bars"
        if features == (data.target,)
        else f"it reads {', '.join(features)} of each bar, and forecasts only the {data.target}"
    )
    raise ForecastError(
        f"steps must be at most the horizon = {data.horizon}, but is {steps}: this model cannot "
        f"forecast from its own forecasts, because {why}; give 1 to {data.horizon}"
    )


def _check_bars(series: Series, lookback: int) -> None:
    count, horizon = len(series.features), series.horizon
    least = series.warmup + lookback + horizon - 1
    if count < least:
        raise ForecastError(
            f"the prices must have at least {least} bars, but have {count}: {series.warmup} before "
            f"the first value of every feature + lookback = {lookback} + horizon - 1 = "
            f"{horizon - 1}; give earlier bars too"
        )


def _forecast_steps(
    exported: Exported, series: Series, basis: Basis, steps: int, level: float
) -> tuple[Floats, Floats]:
    """Return forecast, low, high and quantiles of each step, and of the sum of the steps so far.

    Returns
    -------
    values, sums : array, (steps, 3 + levels)
        Quantiles beyond the horizon are NaN.
    """
    network, horizon, lookback = exported.network, series.horizon, exported.config.lookback
    scaler, scores = basis.scaler, basis.scores
    # Oldest first: the k-th window ends at bar T + k - horizon.
    known = series.features[len(series.features) - lookback - horizon + 1 :]
    # Shape of the windows: (horizon, lookback, features).
    rows = to_tensor((known - scaler.feature_mean) / scaler.feature_std, torch.device("cpu"))
    # Shape of the outputs: (horizon, 1), or (horizon, levels).
    scaled = forecast_windows(network, make_windows(rows, lookback)).double().numpy()
    criterion = exported.spec.criterion
    output = criterion.middle if criterion.levels else 0
    outputs = scaler.unscale_target(scaled)
    points, quantiles = outputs[:, output], outputs[:, : len(criterion.levels)]
    low, high = basis.low * basis.scale, basis.high * basis.scale
    direct = np.column_stack([points, points + low, points + high, quantiles])
    if steps <= horizon:
        return direct[:steps], direct[:steps]
    # Volatility is kept as it was at the last bar.
    noise = draw_residuals(scores, level, steps, block=horizon) * basis.scale[-1]
    point, paths = (
        forecast_recursively(network, scaler, known[:, 0], horizon, shocks, output)
        for shocks in (np.zeros((1, steps)), noise)
    )
    unknown = np.full((steps, len(criterion.levels)), np.nan)
    values, sums = (
        np.column_stack([ahead[0], *path_interval(drawn, len(scores), basis.outside), unknown])
        for ahead, drawn in ((point, paths), (point.cumsum(axis=1), paths.cumsum(axis=1)))
    )
    # Up to the horizon the residual quantiles are exact, while paths only approximate them.
    values[:horizon] = direct
    sums[0] = direct[0]
    return values, sums


def _start_closes(sums: Floats, closes: Floats, horizon: int) -> Floats:
    """Return the closes, (steps, 1), from which cumulative forecasts start.

    Direct forecasts start `horizon` bars before their target, recursive ones at the last bar.
    """
    start = closes[-horizon:] if len(sums) <= horizon else closes[-1:]
    return start[: len(sums), None]


def _steps(values: Floats, converted: Floats | None, levels: Sequence[float]) -> tuple[Step, ...]:
    """Return the steps of rows of forecast, low, high and quantiles, in one unit or in two."""
    others: list[Bounds | None] = [None] * len(values)
    if converted is not None:
        others = [_bounds(row, levels) for row in converted.tolist()]
    own = (_bounds(row, levels) for row in values.tolist())
    pairs = enumerate(zip(own, others, strict=True), 1)
    return tuple(Step(ahead, *pair) for ahead, pair in pairs)


def _bounds(row: list[float], levels: Sequence[float]) -> Bounds:
    forecast, low, high, *quantiles = row
    named = {f"{level:g}": value for level, value in zip(levels, quantiles, strict=True)}
    known = {name: value for name, value in named.items() if not np.isnan(value)}
    return Bounds(forecast, low, high, known)
