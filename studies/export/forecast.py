"""What an exported model forecasts from given prices, how sure it is of it, and of what age."""

import math
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import torch

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.intervals import (
    IntervalError,
    draw_residuals,
    forecast_recursively,
    path_interval,
    residual_interval,
)
from puffin.models.features import TARGETS, Series, build_series
from puffin.models.training.fold_training import forecast_windows
from puffin.models.windows import make_windows, to_tensor
from puffin.studies.dataset import columns_of
from puffin.studies.export.read import FORECAST_FILES, Exported
from puffin.studies.sections import DataSection
from puffin.studies.text import when

# Closes of the same bars differ by less, but for a split or a dividend.
_SAME = 0.01
# Targets that are summed over the horizon; the feature of the same name is that of one bar.
_CUMULATIVE = ("return", "change")
# What a network reads or forecasts in units of the price, which a split changes.
_IN_PRICE_UNITS = frozenset({"price", "change"})


class ForecastError(PuffinError):
    """A forecast that this model cannot make of these prices."""


@dataclass(frozen=True)
class Bounds:
    """A forecast, and what its actual lies between with the probability that was asked for."""

    forecast: float
    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """One bar that is forecast.

    Attributes
    ----------
    ahead : int, bars after the last known one
    value : Bounds, in the target's unit
    in_trader_unit : Bounds, the same in the unit that traders use, `Prediction.trader_unit`; None
        if there is none
    """

    ahead: int
    value: Bounds
    in_trader_unit: Bounds | None


@dataclass(frozen=True)
class Coverage:
    """Of how many sealed `bars` which `share` fell into the interval of the search's residuals."""

    share: float
    bars: int


@dataclass(frozen=True)
class Prediction:
    """What a model says of the bars after the last known one.

    Attributes
    ----------
    study : str
    steps : tuple of Step
    unit, trader_unit : of the steps
    horizon : int, bars up to which a step is forecast from known bars alone
    level : float, of the intervals
    residuals : int, out-of-sample forecasts that the intervals are made of
    coverage : Coverage, None while the holdout is sealed, or where the search has too few residuals
    last : Timestamp, of the last known bar
    age_days : int, from that bar to today
    warnings : tuple of str
    """

    study: str
    steps: tuple[Step, ...]
    unit: str
    trader_unit: str | None
    horizon: int
    level: float
    residuals: int
    coverage: Coverage | None
    last: pd.Timestamp
    age_days: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values; a number that is none is None."""
        values: dict[str, Any] = _plain_values(asdict(self) | {"last": when(self.last)})
        return values


def _plain_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_values(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_values(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def predict(
    exported: Exported, frame: pd.DataFrame, steps: int, level: float, today: date
) -> Prediction:
    """Forecast the bars after the last one of `frame`.

    The forecast of bar T + k uses nothing after bar T + k - horizon. Beyond the horizon a network
    whose one feature is its target goes on from its own forecasts.

    Parameters
    ----------
    exported : Exported
    frame : DataFrame, (bar, column), checked prices
    steps : int
        Bars to forecast, at least 1.
    level : float
        Probability that an interval is to have, in (0, 1).
    today : date

    Raises
    ------
    ForecastError
        If there are too few bars, or the model cannot go so far.
    IntervalError
        If there are too few residuals for `level`.
    PuffinError
        If a column is missing.
    """
    data = exported.spec.data
    _check_steps(data, steps)
    columns = columns_of(frame)
    series = build_series(columns, data.features, data.target, data.horizon)
    _check_bars(series, exported.config.lookback)
    residuals = out_of_sample(exported)
    display = TARGETS[data.target].display
    with np.errstate(all="ignore"):  # a number too large is refused in words
        values, sums = _forecast_steps(exported, series, residuals, steps, level)
        start = _start_closes(sums, columns["close"], data.horizon)
        said = None if display is None else display.convert(values, sums, start)
    _require_finite(values if said is None else np.vstack([values, said]))
    return Prediction(
        study=exported.record.study,
        steps=_steps(values, said),
        unit=TARGETS[data.target].unit,
        trader_unit=None if display is None else display.unit,
        horizon=data.horizon,
        level=level,
        residuals=len(residuals),
        coverage=_coverage(exported, level),
        last=frame.index[-1],
        age_days=(today - frame.index[-1].date()).days,
        warnings=_warnings(exported, frame),
    )


def out_of_sample(exported: Exported) -> Floats:
    """Give actual - forecast, (n,), of every bar that no forecasting network was trained on."""
    names = [name for name in FORECAST_FILES if name in exported.files]
    return np.concatenate([exported.residuals(name) for name in names])


def _require_finite(values: Floats) -> None:
    if not np.isfinite(values[:, 0]).all():
        msg = (
            "the model makes no finite forecast of these prices: they are not of the kind that it "
            "was trained on, or its scalers (input in config.toml) were altered"
        )
        raise ForecastError(msg)


def _can_recurse(data: DataSection) -> bool:
    """Say whether a forecast can take the place of the one feature of a bar to come."""
    return data.features == (data.target,) and (data.horizon == 1 or data.target not in _CUMULATIVE)


def _check_steps(data: DataSection, steps: int) -> None:
    if steps <= data.horizon or _can_recurse(data):
        return
    why = (
        f"it reads the {data.target} of one bar and forecasts that of {data.horizon}"
        if data.features == (data.target,)
        else f"it reads {', '.join(data.features)} of each bar, and forecasts only the "
        f"{data.target}"
    )
    raise ForecastError(
        f"steps must be at most the horizon = {data.horizon}, but is {steps}: this model cannot go "
        f"on from its own forecasts, because {why}; give 1 to {data.horizon}"
    )


def _check_bars(series: Series, lookback: int) -> None:
    count, horizon = len(series.features), series.horizon
    least = series.warmup + lookback + horizon - 1
    if count < least:
        raise ForecastError(
            f"the prices must have at least {least} bars, but have {count}: {series.warmup} before "
            f"the features have a value + lookback = {lookback} + horizon - 1 = {horizon - 1}; "
            "give more of the past"
        )


def _forecast_steps(
    exported: Exported, series: Series, residuals: Floats, steps: int, level: float
) -> tuple[Floats, Floats]:
    """Give forecast, low and high of each step, and of the sum of the steps so far; (steps, 3)."""
    network, scaler, horizon = exported.network, exported.scaler, series.horizon
    lookback = exported.config.lookback
    # Oldest first: the window that ends at T + k - horizon is the k-th.
    known = series.features[len(series.features) - lookback - horizon + 1 :]
    rows = to_tensor((known - scaler.feature_mean) / scaler.feature_std, torch.device("cpu"))
    scaled = forecast_windows(network, make_windows(rows, lookback))[:, 0].double().numpy()
    points = scaler.unscale_target(scaled)
    low, high = residual_interval(residuals, level)
    direct = np.column_stack([points, points + low, points + high])
    if steps <= horizon:
        return direct[:steps], direct[:steps]
    noise = draw_residuals(residuals, level, steps, block=horizon)
    point, paths = (
        forecast_recursively(network, scaler, known[:, 0], horizon, shocks)
        for shocks in (np.zeros((1, steps)), noise)
    )
    values = _interval_columns(point, paths, len(residuals), level)
    sums = _interval_columns(point.cumsum(axis=1), paths.cumsum(axis=1), len(residuals), level)
    # One step needs no paths: the ranks of the residuals say exactly what the paths say roughly.
    values[:horizon] = direct
    sums[0] = direct[0]
    return values, sums


def _interval_columns(point: Floats, paths: Floats, residuals: int, level: float) -> Floats:
    return np.column_stack([point[0], *path_interval(paths, residuals, level)])


def _start_closes(sums: Floats, closes: Floats, horizon: int) -> Floats:
    """Return the closes, (steps, 1), that cumulative forecasts start from.

    Those of a horizon each start `horizon` bars earlier; those fed back all start at the last bar.
    """
    start = closes[-horizon:] if len(sums) <= horizon else closes[-1:]
    return start[: len(sums), None]


def _steps(values: Floats, plain: Floats | None) -> tuple[Step, ...]:
    said = [None] * len(values) if plain is None else [Bounds(*row) for row in plain.tolist()]
    rows = zip(values.tolist(), said, strict=True)
    return tuple(Step(ahead, Bounds(*row), other) for ahead, (row, other) in enumerate(rows, 1))


def _coverage(exported: Exported, level: float) -> Coverage | None:
    """Try the interval of the search's residuals on the holdout, which chose nothing."""
    walk_forward, sealed = FORECAST_FILES
    if sealed not in exported.files:
        return None
    try:
        low, high = residual_interval(exported.residuals(walk_forward), level)
    except IntervalError:
        return None  # with the holdout's own there may be enough for the level all the same
    errors = exported.residuals(sealed)
    return Coverage(float(np.mean((low <= errors) & (errors <= high))), len(errors))


def _warnings(exported: Exported, frame: pd.DataFrame) -> tuple[str, ...]:
    """Say why forecasts from these bars may be none."""
    trained = pd.Timestamp(exported.record.refit.last)
    found = []
    if frame.index[-1] < trained:
        found.append(
            f"the prices end at {when(frame.index[-1])}, before the last bar that the model was "
            f"trained on, {when(trained)}: it has seen what it forecasts here"
        )
    if stranger := _price_mismatch(exported, frame):
        found.append(stranger)
    return tuple(found)


def _price_mismatch(exported: Exported, frame: pd.DataFrame) -> str | None:
    """Say where the prices are not those that the model knows, or do not touch them."""
    own = exported.prices["close"]
    origin = exported.record.data.origin
    shared = frame.index.intersection(own.index)
    if shared.empty:
        return (
            f"the prices share no bar with {origin}, {when(own.index[0])} to "
            f"{when(own.index[-1])}, so nothing shows that they are of the same kind"
        )
    ours, theirs = own.loc[shared], frame["close"].loc[shared]
    if not ((ours > 0) & (theirs > 0)).all():
        return _other_levels(ours, theirs, origin)
    ratio = theirs / ours
    low, high = float(ratio.min()), float(ratio.max())
    if high / low > 1 + _SAME:
        return (
            f"the closes are not those of {origin}: over {len(shared)} shared bars they are "
            f"{low:.4g} to {high:.4g} times as high; the intervals are made for {origin}"
        )
    data = exported.spec.data
    in_units = _IN_PRICE_UNITS & {*data.features, data.target}
    if in_units and max(high, 1 / low) > 1 + _SAME:
        return (
            f"the closes are {high:.4g} times those of {origin} (a split?), and the model reads "
            "the price itself: bring them to the same level"
        )
    return None


def _other_levels(own: "pd.Series[float]", other: "pd.Series[float]", origin: str) -> str | None:
    """Say how far closes are from those that the model knows, where some have no ratio."""
    apart = float((other - own).abs().max())
    if not apart > _SAME * float(own.abs().max()):  # also where no close of both is known
        return None
    return (
        f"the closes are not those of {origin}: over {len(own)} shared bars they differ by up to "
        f"{apart:.4g}; the intervals are made for {origin}"
    )
