"""The rules for prices: what is mended, what is refused, and what is only odd."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.errors import PuffinError

COLUMNS = ("open", "high", "low", "close", "volume")
KNOWN = (*COLUMNS, "adj_close")
_ORDERED = (("low", "open"), ("low", "close"), ("open", "high"), ("close", "high"))
NO_ZONE = "time zone dropped, clock times kept"

MIN_BARS = 2  # for one return
MAX_EMPTY = 0.01  # share of rows that may be dropped for an empty cell
MAX_MOVE = 0.5  # a larger move from bar to bar may be a split that was not adjusted
MAX_FLAT = 20  # bars; as many equal closes in a row may be a halted or a filled series
MAX_GAP = pd.Timedelta(days=15)
_WEEK = pd.Timedelta(days=7)
MAX_ZERO = 0.1  # share of returns
_ROUNDING = 1e-6  # relative; an adjusted low and close need not be rounded alike


class DataError(PuffinError):
    """The prices cannot be used: the message says what is wrong, where, and how to mend it."""


def validate(frame: pd.DataFrame, origin: str = "prices") -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Mend what is harmless, refuse what is wrong, adjust, and warn of what is odd.

    Parameters
    ----------
    frame : DataFrame, (bar, column), prices and volume
        "close" and any of open, high, low, volume, adj_close; several bars a day are fine.
    origin : str
        Begins the error message.

    Returns
    -------
    tuple of DataFrame and tuple of str
        The frame that `Prices` describes, and the warnings. If "adj_close" was given,
        open, high, low and close are adjusted by it, and it is gone.

    Raises
    ------
    DataError
        With every broken rule, the number of rows that break it, and the first of them.
    """
    _refuse(_structure(frame), origin)
    bars, notes, errors = _mend(frame)
    _refuse(errors + _errors(bars), origin)
    bars = adjust(bars)
    _refuse(_errors(bars), f"{origin}, adjusted")  # a wild adj_close overflows or flattens them
    return bars, (*notes, *_oddities(bars))


def adjust(frame: pd.DataFrame) -> pd.DataFrame:
    """Scale open, high, low by adj_close / close and put adj_close in the place of close."""
    if "adj_close" not in frame:
        return frame
    ratio = frame["adj_close"] / frame["close"]
    bars = frame.drop(columns="adj_close")
    for name in bars.columns.intersection(["open", "high", "low"]):
        bars[name] = bars[name] * ratio
    bars["close"] = frame["adj_close"]
    return bars


def _refuse(errors: list[str], origin: str) -> None:
    if len(errors) == 1:
        raise DataError(f"{origin}: {errors[0]}")
    if errors:
        raise DataError("\n- ".join([f"{origin}: {len(errors)} rules are broken", *errors]))


def _structure(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return [f"there must be at least {MIN_BARS} bars, but there are none: take other data"]
    if isinstance(frame.columns, pd.MultiIndex):
        return [f"columns must have one level, but have {frame.columns.nlevels}: take one symbol"]
    names = [str(name) for name in frame.columns]
    errors = []
    if not isinstance(_naive(frame.index), pd.DatetimeIndex):
        errors.append(
            f"the index must be a DatetimeIndex, but is of {frame.index.dtype}: "
            "parse it with pandas.to_datetime"
        )
    if "close" not in names:
        errors.append(f"there must be a close column, but there are {', '.join(names)}: rename it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        errors.append(f"columns must differ, but {', '.join(twice)} came twice: keep one")
    text = [
        str(name)
        for name, kind in frame.dtypes.items()
        if name in KNOWN and not pd.api.types.is_numeric_dtype(kind)
    ]
    if text:
        errors.append(f"columns must be numbers, but {', '.join(text)} are not: convert them")
    return errors


def _naive(index: pd.Index) -> pd.Index:
    # Offsets that change with summer time arrive as an object index of aware times.
    if index.dtype == object and all(isinstance(time, datetime) for time in index):
        index = pd.DatetimeIndex([pd.Timestamp(time).tz_localize(None) for time in index])
    return index.tz_localize(None) if isinstance(index, pd.DatetimeIndex) else index


def _mend(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    notes, errors = [], []
    bars = frame[[name for name in KNOWN if name in frame]].astype("float64")
    unused = [str(name) for name in frame.columns if name not in bars]
    if unused:
        notes.append(f"columns that are not used: {', '.join(unused)}")
    bars.index = pd.DatetimeIndex(_naive(frame.index)).as_unit("us").rename("date")
    if getattr(frame.index, "tz", None) is not None or frame.index.dtype == object:
        notes.append(NO_ZONE)
    if bars.index.hasnans:
        errors.append(
            f"every bar must have a date, but {np.count_nonzero(bars.index.isna())} have none"
        )
        bars = bars[bars.index.notna()]
    if not bars.index.is_monotonic_increasing:
        notes.append("bars were not in the order of time, and were sorted")
        bars = bars.sort_index(kind="stable")
    again = bars.reset_index().duplicated().to_numpy()
    if again.any():
        notes.append(f"bars that repeat another one exactly were dropped: {_first(bars, again)}")
        bars = bars[~again]
    empty = bars.isna().any(axis=1).to_numpy()
    if empty.any():
        holes = ", ".join(bars.columns[bars.isna().any()])
        what = f"{_first(bars, empty)} of {len(bars)} (in {holes})"
        if empty.mean() > MAX_EMPTY:
            errors.append(
                f"at most {MAX_EMPTY:.0%} of the bars may have empty cells, but these have: "
                f"{what}; fill them, or leave out the bars or the columns"
            )
        else:
            notes.append(f"bars with empty cells were dropped: {what}")
        bars = bars[~empty]
    return bars, notes, errors


def _errors(bars: pd.DataFrame) -> list[str]:
    errors = []

    def demand(rule: str, broken: npt.NDArray[np.bool_], fix: str) -> None:
        if broken.any():
            errors.append(f"{rule}, but is not in {_first(bars, broken)}: {fix}")

    for name in bars.columns:
        values = bars[name].to_numpy()
        demand(f"{name} must be finite", np.isinf(values), "correct or delete these bars")
        if name == "volume":
            demand("volume must not be negative", values < 0, "correct it or leave volume out")
        else:
            demand(f"{name} must be positive", values <= 0, "correct or delete these bars")
    crossed = np.zeros(len(bars), dtype=bool)
    for small, large in _ORDERED:
        if small in bars and large in bars:
            crossed |= (bars[small] > bars[large] * (1 + _ROUNDING)).to_numpy()
    demand("the order low <= open, close <= high must hold", crossed, "correct these bars")
    twice = bars.index.duplicated(keep="first")
    demand("a time must come once", twice, "these differ from another bar of their time; keep one")
    if len(bars) < MIN_BARS:
        errors.append(
            f"there must be at least {MIN_BARS} bars, but there are {len(bars)}: take more"
        )
    elif (bars["close"] == bars["close"].iloc[0]).all():
        errors.append(
            f"close must change, but is always {bars['close'].iloc[0]:g}: take other data"
        )
    return errors


def _oddities(bars: pd.DataFrame) -> list[str]:
    close = bars["close"]
    moves = close.pct_change().fillna(0.0)
    big = (moves.abs() > MAX_MOVE).to_numpy()
    runs = close.ne(close.shift()).cumsum()
    flat = runs.map(runs.value_counts())
    gaps = bars.index.to_series().diff()
    usual = pd.Timedelta(gaps.median())
    longest = max(3 * usual, MAX_GAP)  # months stand a month apart
    weekend = pd.DatetimeIndex(bars.index).day_of_week.isin([5, 6]) & (usual < _WEEK)
    zero = float((moves.iloc[1:] == 0).mean())
    found = []
    if big.any():
        found.append(
            f"close moves by more than {MAX_MOVE:.0%} in {_first(bars, big)} "
            f"({moves[big].iloc[0]:+.1%}): is a split not adjusted?"
        )
    if flat.max() >= MAX_FLAT:
        found.append(f"close stays the same for {flat.max()} bars from {when(flat.idxmax())}")
    if (gaps > longest).any():
        found.append(
            f"gaps of more than {longest.days} days: {(gaps > longest).sum()}, the longest of "
            f"{gaps.max().days} days before {when(gaps.idxmax())}"
        )
    if weekend.any():
        found.append(f"bars on a weekend: {_first(bars, weekend)}")
    if zero > MAX_ZERO:
        found.append(f"{zero:.0%} of the returns are zero")
    return found


def when(time: object) -> str:
    """Write a time; a midnight as its date alone."""
    return str(time).removesuffix(" 00:00:00")


def _first(bars: pd.DataFrame, mask: npt.NDArray[np.bool_]) -> str:
    count = int(mask.sum())
    return f"{count} bar{'s' * (count > 1)}, first {when(bars.index[mask][0])}"
