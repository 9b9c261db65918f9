"""Validation of prices: repairs, errors and warnings.

Only the columns that a study reads, those of its features and its target, are cleaned and
validated; the other columns are kept as they are.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from puffin.models.features import COLUMN, Needs
from puffin.studies.prices.calendar import as_index, without_zone
from puffin.studies.prices.names import ALL_COLUMNS, KNOWN, DataError
from puffin.studies.text import counted, when

_PRICES = ("open", "high", "low", "close", "adj_close")
_ORDERED = (
    ("low", "open"),
    ("low", "close"),
    ("low", "high"),
    ("open", "high"),
    ("close", "high"),
)

MIN_BARS = 2  # for one return
MAX_EMPTY = 0.01  # largest share of rows that are dropped for an empty cell
MAX_MOVE = 0.5  # relative; a larger move between bars may be an unadjusted split
MAX_FLAT = 20  # bars; so many equal closes in a row may be a trading halt or filled gaps
MAX_GAP = pd.Timedelta(days=15)
_WEEK = pd.Timedelta(days=7)
MAX_ZERO = 0.1  # share of returns
_ROUNDING = 1e-6  # relative; adjusted prices are rounded independently

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Remedies:
    """The fixes that a message proposes for bars that break a rule.

    Attributes
    ----------
    live : bool
        Whether the prices are from a service, so that the user cannot correct a bar.
    no_logs : str
        Alternatives that take no logarithm.
    """

    live: bool = False
    no_logs: str = "'price' and 'change' take no logarithm"

    def for_bars(self, bars: pd.DataFrame, broken: Mask, who: str, verb: str = "correct") -> str:
        """Return the fixes for the `broken` bars that are read by the features `who`."""
        ways = [] if self.live else [f"{verb} them in the file"]
        if left := int(broken[::-1].argmax()):
            day = when(bars.index[broken][-1])
            ways.append(f"set start after {day}, which leaves {left} bars")
        if who:
            ways.append(f"use others than {who}")
        return ", or ".join(ways) or "take other bars"


_FILE = Remedies()


def validate(
    frame: pd.DataFrame,
    origin: str = "prices",
    needs: Needs = ALL_COLUMNS,
    remedies: Remedies = _FILE,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Clean and adjust bars, raise on errors, and warn of suspicious values.

    Parameters
    ----------
    frame : DataFrame, (bar, column), prices and volume
        "close" and any of open, high, low, volume, adj_close and "column:NAME"; several bars a day
        are fine. The index may carry a time zone, or a UTC offset of each bar.
    origin : str
        The source, for error messages.
    needs : Needs
        The columns that are read; only these are cleaned and validated.
    remedies : Remedies

    Returns
    -------
    tuple of DataFrame and tuple of str
        The frame that `Prices` describes, and the warnings. If there is an "adj_close", open,
        high, low and close are adjusted by it, and it is dropped.

    Raises
    ------
    DataError
        If a rule is broken: every such rule, with the number of bars that break it and the first.
    """
    _require_no_errors(_schema_errors(frame), origin)
    if "close" in needs.reads and frame["close"].isna().all():
        _require_no_errors(
            ["close must have values, but is empty in every bar: name another column"], origin
        )
    bars, notes, errors = _clean(frame, needs, remedies)
    _require_no_errors(errors + _errors(bars, needs, remedies), origin)
    bars = adjust(bars)
    # An extreme adj_close makes them overflow or constant.
    _require_no_errors(_errors(bars, needs, remedies), f"{origin}, adjusted")
    return bars, (*notes, *_suspicious(bars, needs))


def broken_rules(bars: pd.DataFrame) -> list[str]:
    """Return the rules that the bars break if every column is read."""
    return _errors(bars, ALL_COLUMNS, Remedies(live=True))


def adjust(frame: pd.DataFrame) -> pd.DataFrame:
    """Scale open, high and low by adj_close / close, and replace close by adj_close."""
    if "adj_close" not in frame:
        return frame
    adjusted, close = frame["adj_close"], frame["close"]
    # A close of zero has no ratio; it needs none if it is not adjusted.
    ratio = (adjusted / close).where(adjusted != close, 1.0)
    bars = frame.drop(columns="adj_close")
    for name in bars.columns.intersection(["open", "high", "low"]):
        bars[name] = bars[name] * ratio
    bars["close"] = adjusted
    return bars


def _require_no_errors(errors: list[str], origin: str) -> None:
    if len(errors) == 1:
        raise DataError(f"{origin}: {errors[0]}")
    if errors:
        raise DataError("\n- ".join([f"{origin}: {len(errors)} rules are broken", *errors]))


def _schema_errors(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return [f"there must be at least {MIN_BARS} bars, but there are none: take other data"]
    if isinstance(frame.columns, pd.MultiIndex):
        return [f"columns must have one level, but have {frame.columns.nlevels}: take one symbol"]
    names = [str(name) for name in frame.columns]
    errors = []
    if not isinstance(as_index(frame.index), pd.DatetimeIndex):
        errors.append(
            f"the index must be a DatetimeIndex, but is of {frame.index.dtype}: "
            "parse it with pandas.to_datetime"
        )
    if "close" not in names:
        errors.append(f"there must be a close column, but there are {', '.join(names)}: rename it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        errors.append(f"columns must differ, but {', '.join(twice)} occurs twice: keep one")
    text = [
        str(name)
        for name, kind in frame.dtypes.items()
        if name in KNOWN and not pd.api.types.is_numeric_dtype(kind)
    ]
    if text:
        errors.append(f"columns must be numbers, but {', '.join(text)} are not: convert them")
    return errors


def columns_read(columns: Iterable[object], reads: Collection[str]) -> list[str]:
    """Return the columns that are read; a price also needs the adjusted close."""
    there = [str(name) for name in columns]
    found = [name for name in there if name in reads]
    if "adj_close" in there and any(name in _PRICES for name in found):
        found.append("adj_close")
    return found


def _readers(names: Sequence[str], words: Mapping[str, str]) -> str:
    """Return the features and the target that read the columns; adj_close counts as close."""
    labels = (words.get("close" if name == "adj_close" else name, "") for name in names)
    return " and ".join(dict.fromkeys(filter(None, labels)))


# Cleaning: each step returns the remaining bars and notes.


def _clean(
    frame: pd.DataFrame, needs: Needs, remedies: Remedies
) -> tuple[pd.DataFrame, list[str], list[str]]:
    bars, notes, errors = _sorted_by_time(frame)
    empty = [str(name) for name in bars if name != "close" and bars[name].isna().all()]
    if empty:
        notes.append(f"columns without any value are left out: {', '.join(empty)}")
    bars = bars.drop(columns=empty)
    again = bars[columns_read(bars, needs.reads)].reset_index().duplicated().to_numpy()
    if again.any():
        notes.append(f"exact duplicates of bars were dropped: {_first(bars, again)}")
        bars = bars[~again]
    bars, blank_notes = _drop_blank_rows(bars, needs)
    bars, dropped, refused = _drop_incomplete_rows(bars, needs, remedies)
    return bars, notes + blank_notes + dropped, errors + refused


def _sorted_by_time(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    notes, errors = [], []
    wanted = [str(name) for name in frame if str(name).startswith(COLUMN)]
    bars = frame[[name for name in (*KNOWN, *wanted) if name in frame]].astype("float64")
    unused = [str(name) for name in frame.columns if name not in bars]
    if unused:
        notes.append(f"columns that are not used: {', '.join(unused)}")
    clock, zone_notes = without_zone(frame.index)
    notes += zone_notes
    bars.index = clock.as_unit("us").rename("date")
    if bars.index.hasnans:
        errors.append(
            f"every bar must have a date, but {np.count_nonzero(bars.index.isna())} have none"
        )
        bars = bars[bars.index.notna()]
    if not bars.index.is_monotonic_increasing:
        notes.append("bars were not in order of time and were sorted")
        bars = bars.sort_index(kind="stable")
    return bars, notes, errors


def _drop_blank_rows(bars: pd.DataFrame, needs: Needs) -> tuple[pd.DataFrame, list[str]]:
    """Drop rows without any price (holidays) and the bars before a column's first value."""
    notes = []
    blank = bars[[name for name in _PRICES if name in bars]].isna().all(axis=1).to_numpy()
    if blank.any() and not blank.all():
        notes.append(f"rows without any price were left out: {_first(bars, blank)}")
        bars = bars[~blank]
    for name in columns_read(bars, needs.reads):
        if not name.startswith(COLUMN) or not len(bars):
            continue
        start = int(bars[name].notna().to_numpy().argmax())
        if start:
            label = name.removeprefix(COLUMN)
            notes.append(f"bars before the first value of {label}: {start}, left out")
            bars = bars.iloc[start:]
    return bars, notes


def _drop_incomplete_rows(
    bars: pd.DataFrame, needs: Needs, remedies: Remedies
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Drop bars that lack a value that is read; return an error if they are too many."""
    reads = columns_read(bars, needs.reads)
    holes = bars[reads].isna().any(axis=1).to_numpy()
    if not holes.any():
        return bars, [], []
    names = [name for name in reads if bars[name].isna().any()]
    what = f"{_first(bars, holes)} of {len(bars)} (in {', '.join(names)})"
    if holes.mean() <= MAX_EMPTY:
        return bars[~holes], [f"bars with empty cells were dropped: {what}"], []
    ways = remedies.for_bars(bars, holes, _readers(names, needs.reads), "fill")
    error = f"at most {MAX_EMPTY:.0%} of the bars may have empty cells, but these have: {what}"
    return bars[~holes], [], [f"{error}; {ways}"]


# Errors: each function returns a message for each broken rule.


def _errors(bars: pd.DataFrame, needs: Needs, remedies: Remedies) -> list[str]:
    reads = columns_read(bars, needs.reads)
    errors = [error for name in reads for error in _value_errors(bars, name, needs, remedies)]
    errors += _order_errors(bars, reads, needs, remedies)
    errors += _repeated_times(bars, remedies)
    if len(bars) < MIN_BARS:
        errors.append(
            f"there must be at least {MIN_BARS} bars, but there are {len(bars)}: take more"
        )
    elif "close" in reads and (bars["close"] == bars["close"].iloc[0]).all():
        errors.append(
            f"close must change, but is always {bars['close'].iloc[0]:g}: take other data"
        )
    return errors


def _value_errors(bars: pd.DataFrame, name: str, needs: Needs, remedies: Remedies) -> list[str]:
    values = bars[name].to_numpy()
    readers = _readers([name], needs.reads)
    loggers = _readers([name], needs.logs)
    is_logged = ("close" if name == "adj_close" else name) in needs.logs
    because = f" for the logarithm in {loggers}," if loggers else ","
    instead = f" ({remedies.no_logs})" if loggers and "close" in name else ""
    rules = [(f"{name} must be finite, but", np.isinf(values), readers, "")]
    if name == "volume":
        rules.append(("volume must not be negative, but", values < 0, readers, ""))
    elif is_logged:
        rule = f"{name} must be positive{because} but"
        rules.append((rule, values <= 0, loggers, instead))
    return [
        f"{rule} is not in {_first(bars, broken)} ({values[broken][0]:g}): "
        f"{remedies.for_bars(bars, broken, who)}{more}"
        for rule, broken, who, more in rules
        if broken.any()
    ]


def _order_errors(
    bars: pd.DataFrame, reads: list[str], needs: Needs, remedies: Remedies
) -> list[str]:
    crossed = {
        (a, b): (bars[a] - bars[b] > _ROUNDING * bars[b].abs()).to_numpy(dtype=bool)
        for a, b in _ORDERED
        if a in reads and b in reads
    }
    broken = np.any([*crossed.values(), np.zeros(len(bars), dtype=bool)], axis=0)
    if not broken.any():
        return []
    at = int(broken.argmax())
    small, large = next(pair for pair, mask in crossed.items() if mask[at])
    # Without the features that read open, high and low the order does not matter.
    names = [n for n in ("open", "high", "low") if n in reads]
    error = (
        f"the order low <= open, close <= high must hold, but is not in {_first(bars, broken)} "
        f"({small} {bars[small].iloc[at]:g} is above {large} {bars[large].iloc[at]:g}): "
        f"{remedies.for_bars(bars, broken, _readers(names, needs.reads))}"
    )
    return [error]


def _repeated_times(bars: pd.DataFrame, remedies: Remedies) -> list[str]:
    twice = bars.index.duplicated(keep="first")
    if not twice.any():
        return []
    closes = bars["close"][bars.index == bars.index[twice][0]]
    ways = (
        remedies.for_bars(bars, twice, "")
        if remedies.live
        else "rows of several symbols need a column named symbol; several bars a day need the "
        "time of day, and the UTC offset if clocks are set back"
    )
    what = f"{_first(bars, twice)} (closes {closes.iloc[0]:g} and {closes.iloc[1]:g})"
    return [f"each time must occur once, but does not in {what}: {ways}"]


# Warnings: legitimate, but suspicious.


def _suspicious(bars: pd.DataFrame, needs: Needs) -> list[str]:
    reads = columns_read(bars, needs.reads)
    constant = [
        f"{name.removeprefix(COLUMN)} is {bars[name].iloc[0]:g} in every bar, which carries no "
        "information"
        for name in reads
        if name.startswith(COLUMN) and (bars[name] == bars[name].iloc[0]).all()
    ]
    if "volume" in reads and not bars["volume"].any():
        constant.append("volume is 0 in every bar, which carries no information")
    closes = _suspicious_closes(bars) if "close" in reads else []
    return [*closes, *_suspicious_times(bars), *constant]


def _suspicious_closes(bars: pd.DataFrame) -> list[str]:
    close = bars["close"]
    # If prices can be negative, relative moves are undefined.
    moves = close.pct_change().fillna(0.0) if (close > 0).all() else 0 * close
    big = (moves.abs() > MAX_MOVE).to_numpy()
    runs = close.ne(close.shift()).cumsum()
    flat = runs.map(runs.value_counts())
    zero = float((close.diff().iloc[1:] == 0).mean())
    found = []
    if big.any():
        found.append(
            f"close moves by more than {MAX_MOVE:.0%} in {_first(bars, big)} "
            f"({moves[big].iloc[0]:+.1%}): possibly an unadjusted split"
        )
    if flat.max() >= MAX_FLAT:
        found.append(f"close stays the same for {flat.max()} bars from {when(flat.idxmax())}")
    if zero > MAX_ZERO:
        found.append(f"{zero:.0%} of the returns are zero")
    return found


def _suspicious_times(bars: pd.DataFrame) -> list[str]:
    gaps = bars.index.to_series().diff()
    usual = pd.Timedelta(gaps.median())
    longest = max(3 * usual, MAX_GAP)  # monthly bars are a month apart
    weekend = pd.DatetimeIndex(bars.index).day_of_week.isin([5, 6]) & (usual < _WEEK)
    found = []
    if (gaps > longest).any():
        found.append(
            f"gaps of more than {longest.days} days: {(gaps > longest).sum()}, the longest of "
            f"{gaps.max().days} days before {when(gaps.idxmax())}"
        )
    if weekend.any():
        found.append(f"bars on a weekend: {_first(bars, weekend)}")
    return found


def _first(bars: pd.DataFrame, mask: Mask) -> str:
    count = int(mask.sum())
    return f"{counted(count, 'bar')}, first {when(bars.index[mask][0])}"
