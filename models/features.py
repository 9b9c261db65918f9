"""Features and targets computed from bars, one entry of ``FEATURES`` and ``TARGETS`` each.

Times are bar numbers. The target at time ``t`` is known when bar ``t`` has closed; the window that
forecasts it ends at bar ``t - horizon`` (`puffin.models.windows`). `lookahead` checks that no
formula uses later bars.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError

Bars = Mapping[str, Floats]

# One basis point, in place of a range or a return of 0, whose logarithm is infinite.
_SMALLEST_RANGE = 1e-4
# Bars of a month of trading, and of Wilder's relative strength index.
_MONTH, _RSI_BARS = 20, 14

# Prefixes of features named by the user: a numeric column of the file unchanged, or its change from
# the bar before.
COLUMN, DIFF = "column:", "diff:"
# Prefix of columns that have means over the symbols of a basket, which the loader of the prices
# computes.
MARKET = "market:"


@dataclass(frozen=True)
class Feature:
    """One input series.

    Attributes
    ----------
    columns : tuple of str
        Columns of the bars that the formula reads.
    warmup : int
        Bars before the first value.
    compute : callable
        ``compute(columns)`` returns an array (bars,), or (bars, series) if it reads ``extra``.
    logs : tuple of str
        Columns whose logarithm is taken, so that they must be positive.
    """

    columns: tuple[str, ...]
    warmup: int
    compute: Callable[[Bars], Floats]
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Display:
    """The unit in which traders read a target.

    Attributes
    ----------
    unit : str
    convert : callable
        ``convert(values, sums, start)`` returns forecasts in this unit, (steps, column), from those
        in the target's unit, from their cumulative sums, and from the closes, (steps, 1), at which
        the sums start.
    is_exponential : bool
        Whether a forecast in this unit is the exponential of one in the target's unit. Then it is
        another statistic: the exponential of the mean of a logarithm is a median.
    """

    unit: str
    convert: Callable[[Floats, Floats, Floats], Floats]
    is_exponential: bool = False


@dataclass(frozen=True)
class Target:
    """A series that can be forecast, and its persistence forecast.

    Attributes
    ----------
    columns : tuple of str
        Columns of the bars that it reads.
    unit : str
    phrase : str
        The target in words, with the places ``{of}`` and ``{bars}``.
    compute, persistence : callable
        ``compute(columns, horizon)`` returns an array (bars,) whose first `horizon` values are NaN.
        Persistence at ``t`` uses nothing after ``t - horizon``.
    logs : tuple of str
        Columns whose logarithm it takes, which therefore must be positive.
    is_move : bool
        Whether its sign is the direction of the move; otherwise the move is the difference from
        the last value.
    is_volatility : bool
        Whether it is the log of a volatility, which the models of volatility forecast, too.
    is_span : bool
        Whether a volatility is of all bars of the horizon instead of the last one alone.
    to_price : callable or None
        ``to_price(forecasts, last)`` returns forecasts one bar ahead as prices, given the closes
        before them. None if the target cannot be traded.
    display : Display or None
        None if traders read the target in its own unit.
    """

    columns: tuple[str, ...]
    unit: str
    phrase: str
    compute: Callable[[Bars, int], Floats]
    persistence: Callable[[Bars, int], Floats]
    logs: tuple[str, ...] = ()
    is_move: bool = False
    is_volatility: bool = False
    is_span: bool = False
    to_price: Callable[[Floats, Floats], Floats] | None = None
    display: Display | None = None

    @property
    def is_tradable(self) -> bool:
        """Whether a position can be held on a forecast of it."""
        return self.to_price is not None


def _lagged(values: Floats, lag: int) -> Floats:
    """Return values (bars, ...) shifted `lag` bars later, with NaN in front."""
    out = np.full(values.shape, np.nan)
    out[lag:] = values[: max(len(values) - lag, 0)]
    return out


def _blank_first(values: Floats, horizon: int) -> Floats:
    """Return values (bars,) with NaN in the first `horizon`, which no window can forecast."""
    return np.where(np.arange(len(values)) < horizon, np.nan, values)


def _log_range(columns: Bars) -> Floats:
    """Return the log of the high-low log range of each bar, (bars,).

    It is near-Gaussian, and equals the log of a volatility up to a constant.

    References
    ----------
    Alizadeh, Brandt and Diebold (2002), "Range-Based Estimation of Stochastic Volatility Models",
    Journal of Finance 57(3), section I.
    """
    spread = np.log(columns["high"] / columns["low"])
    return np.log(np.maximum(spread, _SMALLEST_RANGE))


def _log_return(columns: Bars, bars: int = 1) -> Floats:
    log_close = np.log(columns["close"])
    return log_close - _lagged(log_close, bars)


def _change(values: Floats, bars: int = 1) -> Floats:
    return values - _lagged(values, bars)


def _volume_change(columns: Bars) -> Floats:
    log_volume = np.log1p(columns["volume"])
    return log_volume - _lagged(log_volume, 1)


def _trailing_mean(values: Floats, bars: int) -> Floats:
    """Return the mean of the last `bars` values (bars,), NaN if there are fewer or one is NaN."""
    out = np.full(len(values), np.nan)
    if len(values) >= bars:
        out[bars - 1 :] = np.lib.stride_tricks.sliding_window_view(values, bars).mean(axis=1)
    return out


def _ma_distance(columns: Bars) -> Floats:
    """Return the log of the close over its mean of the last `_MONTH` bars, (bars,)."""
    return np.log(columns["close"] / _trailing_mean(columns["close"], _MONTH))


def _volatility(columns: Bars, bars: int) -> Floats:
    """Return the log of the root mean square of the last `bars` log returns, (bars,).

    At one bar it is the log of the absolute return. Bars before there are that many returns have
    that of those there are.
    """
    squares = np.nan_to_num(_log_return(columns)) ** 2
    front = np.cumsum(squares[:bars]) / np.maximum(np.arange(len(squares[:bars])), 1)
    mean_square = np.append(front, _trailing_mean(squares, bars)[bars:])
    return np.log(np.maximum(np.sqrt(mean_square), _SMALLEST_RANGE))


def log_size(returns: Floats) -> Floats:
    """Return the log of the absolute value of log returns."""
    return np.log(np.maximum(np.abs(returns), _SMALLEST_RANGE))


def _realised_volatility(columns: Bars) -> Floats:
    """Return the log of the root mean square of the last `_MONTH` log returns, (bars,).

    References
    ----------
    Andersen, Bollerslev, Diebold and Ebens (2001), "The distribution of realized stock return
    volatility", Journal of Financial Economics 61(1): its logarithm is near-Gaussian.
    """
    mean_square = _trailing_mean(_log_return(columns) ** 2, _MONTH)
    return np.log(np.maximum(np.sqrt(mean_square), _SMALLEST_RANGE))


def _relative_strength(columns: Bars) -> Floats:
    """Return the relative strength index of `_RSI_BARS` moves, 0 to 100, (bars,).

    It is 50 if nothing moved.

    References
    ----------
    Wilder (1978), "New Concepts in Technical Trading Systems", section VI, with his smoothing:
    the first averages are plain means, and each later one moves 1/14 of the way to the new move.
    """
    moves = np.diff(columns["close"])
    out = np.full(len(columns["close"]), np.nan)
    if len(moves) < _RSI_BARS:
        return out
    gains, losses = np.maximum(moves, 0.0).tolist(), np.maximum(-moves, 0.0).tolist()
    gain, loss = (sum(side[:_RSI_BARS]) / _RSI_BARS for side in (gains, losses))
    for bar in range(_RSI_BARS, len(out)):
        if bar > _RSI_BARS:
            gain += (gains[bar - 1] - gain) / _RSI_BARS
            loss += (losses[bar - 1] - loss) / _RSI_BARS
        out[bar] = 100 * gain / (gain + loss) if gain + loss > 0 else 50.0
    return out


def _weekday_angle(columns: Bars) -> Floats:
    return 2 * np.pi * columns["weekday"] / 7


def _extra_return(columns: Bars) -> Floats:
    log_close = np.log(columns["extra"])
    return log_close - _lagged(log_close, 1)


def _of_market(name: str) -> Feature:
    """Return the feature of a column of the market; the first bar has no return."""
    column = MARKET + name
    return Feature(("close", column), 1, lambda c: _blank_first(c[column], 1), logs=("close",))


# docs/study-file.md has the formula of each.
FEATURES: dict[str, Feature] = {
    "return": Feature(("close",), 1, _log_return, logs=("close",)),
    "range": Feature(("high", "low"), 0, _log_range, logs=("high", "low")),
    "volume": Feature(("volume",), 1, _volume_change),
    "price": Feature(("close",), 0, lambda c: c["close"]),
    "change": Feature(("close",), 1, lambda c: _change(c["close"])),
    "ma_distance": Feature(("close",), _MONTH - 1, _ma_distance, logs=("close",)),
    "realised_volatility": Feature(("close",), _MONTH, _realised_volatility, logs=("close",)),
    "rsi": Feature(("close",), _RSI_BARS, _relative_strength),
    "weekday_sin": Feature(("weekday",), 0, lambda c: np.sin(_weekday_angle(c))),
    "weekday_cos": Feature(("weekday",), 0, lambda c: np.cos(_weekday_angle(c))),
    "extra": Feature(("extra",), 1, _extra_return, logs=("extra",)),
    "extra_level": Feature(("extra",), 0, lambda c: np.log(c["extra"]), logs=("extra",)),
    "market_return": _of_market("return"),
    "market_volatility": _of_market("volatility"),
}


def _price_after_return(log_returns: Floats, last: Floats) -> Floats:
    return last * np.exp(log_returns)


def _price_after_change(changes: Floats, last: Floats) -> Floats:
    return last + changes


def _in_percent(values: Floats, _sums: Floats, _start: Floats) -> Floats:
    """Return in per cent what values are the logarithms of."""
    return np.asarray(100 * np.exp(values))


TARGETS: dict[str, Target] = {
    "return": Target(
        ("close",),
        "log return",
        "the return{of} over the next {bars}",
        _log_return,
        lambda c, h: _blank_first(np.zeros(len(c["close"])), h),
        logs=("close",),
        is_move=True,
        to_price=_price_after_return,
        display=Display("price", lambda _, sums, start: _price_after_return(sums, start)),
    ),
    "range": Target(
        ("high", "low"),
        "log of the high-low log range",
        "the high-low range{of} {bars} ahead",
        lambda c, h: _blank_first(_log_range(c), h),
        lambda c, h: _lagged(_log_range(c), h),
        logs=("high", "low"),
        is_volatility=True,
        display=Display("log(high / low), %", _in_percent, is_exponential=True),
    ),
    "volatility": Target(
        ("close",),
        "log of the root mean square log return",
        "the volatility{of} up to {bars} ahead",
        lambda c, h: _blank_first(_volatility(c, h), h),
        lambda c, h: _lagged(_volatility(c, h), h),
        logs=("close",),
        is_volatility=True,
        is_span=True,
        display=Display("root mean square return, %", _in_percent, is_exponential=True),
    ),
    "price": Target(
        ("close",),
        "price",
        "the price{of} {bars} ahead",
        lambda c, h: _blank_first(c["close"], h),
        lambda c, h: _lagged(c["close"], h),
        to_price=lambda forecasts, _: forecasts,
    ),
    "change": Target(
        ("close",),
        "change of the price",
        "the change in price{of} over the next {bars}",
        lambda c, h: _change(c["close"], h),
        lambda c, h: _blank_first(np.zeros(len(c["close"])), h),
        is_move=True,
        to_price=_price_after_change,
        display=Display("price", lambda _, sums, start: _price_after_change(sums, start)),
    ),
}


def feature(name: str) -> Feature:
    """Return the feature of a name: a key of ``FEATURES``, ``column:NAME`` or ``diff:NAME``.

    Raises
    ------
    KeyError
        If there is no such feature.
    """
    if name.startswith(COLUMN):
        return Feature((name,), 0, lambda c: c[name])
    if name.startswith(DIFF):
        column = COLUMN + name.removeprefix(DIFF)
        return Feature((column,), 1, lambda c: _change(c[column]))
    return FEATURES[name]


@dataclass(frozen=True)
class Needs:
    """Columns of the prices that are read, and those whose logarithm is taken.

    Attributes
    ----------
    reads, logs : mapping
        From each column to the features and the target that read it or take its logarithm, as text
        for messages.
    """

    reads: Mapping[str, str]
    logs: Mapping[str, str]


def needs_of(features: Sequence[str], target: str) -> Needs:
    """Return what features and a target need of the prices."""
    chosen: list[tuple[str, Feature | Target]] = [
        (f"feature {name!r}", feature(name)) for name in features
    ]
    chosen.append((f"target {target!r}", TARGETS[target]))
    reads: dict[str, list[str]] = {}
    logs: dict[str, list[str]] = {}
    for label, formula in chosen:
        for column in formula.columns:
            reads.setdefault(column, []).append(label)
        for column in formula.logs:
            logs.setdefault(column, []).append(label)
    return Needs(
        {column: " and ".join(labels) for column, labels in reads.items()},
        {column: " and ".join(labels) for column, labels in logs.items()},
    )


@dataclass(frozen=True)
class Series:
    """Features, target and persistence of one study, at every bar.

    Attributes
    ----------
    features : array, (bars, feature), NaN in the first `warmup` rows
    target, persistence : array, (bars,), in the target's unit, NaN in the first `horizon` rows
    warmup : int, bars before every feature has a value
    horizon : int, bars ahead
    is_volatility : bool, whether the target is the log of a volatility
    returns : array, (bars,), or None
        Log returns of one bar, NaN at the first, for models of volatility; None for other targets,
        and for prices that have no positive closes.
    """

    features: Floats
    target: Floats
    persistence: Floats
    warmup: int
    horizon: int
    is_volatility: bool = False
    returns: Floats | None = None


def build_series(columns: Bars, features: Sequence[str], target: str, horizon: int = 1) -> Series:
    """Compute the features and the target of bars.

    Parameters
    ----------
    columns : mapping of array, (bars,)
        ``close``, and if a feature or the target reads them ``high``, ``low``, ``volume``,
        ``weekday`` (Monday is 0), ``extra`` (closes of other series, (bars, series)),
        ``column:NAME`` and ``market:NAME``.
    features : sequence of str
        Names that `feature` knows, in the order of the network's inputs.
    target : str
        A key of ``TARGETS``.
    horizon : int
        Bars ahead; a ``return`` and a ``change`` are cumulative over them.

    Raises
    ------
    PuffinError
        If the prices lack a column that a feature or the target reads.
    """
    _require_columns(columns, features, target)
    chosen = [feature(name) for name in features]
    return Series(
        features=np.column_stack([f.compute(columns) for f in chosen]),
        target=TARGETS[target].compute(columns, horizon),
        persistence=TARGETS[target].persistence(columns, horizon),
        warmup=max(f.warmup for f in chosen),
        horizon=horizon,
        is_volatility=TARGETS[target].is_volatility,
        returns=_returns_of_volatility(columns) if TARGETS[target].is_volatility else None,
    )


def _returns_of_volatility(columns: Bars) -> Floats | None:
    has_closes = "close" in columns and (columns["close"] > 0).all()
    return _log_return(columns) if has_closes else None


def _require_columns(columns: Bars, features: Sequence[str], target: str) -> None:
    needs = [(f"data.features {name!r}", feature(name).columns) for name in features]
    needs.append((f"data.target {target!r}", TARGETS[target].columns))
    problems = [
        f"{label} needs {' and '.join(wanted)}"
        for label, wanted in needs
        if not set(wanted) <= set(columns)
    ]
    if problems:
        available = [name for name in columns if name != "weekday"]
        msg = (
            f"{'; '.join(problems)}, but the prices have only {', '.join(available)}: "
            "add the columns, or leave these features and this target out"
        )
        raise PuffinError(msg)
