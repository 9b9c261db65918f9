"""Prices: from a source, checked, adjusted for splits and dividends, kept as exact bytes.

>>> prices = load_prices("sample", "AAPL")
>>> len(prices.frame)
3270
"""

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.errors import PuffinError

COLUMNS = ("open", "high", "low", "close", "volume")
_KNOWN = (*COLUMNS, "adj_close")
_ALIASES = {
    "datetime": "date",
    "timestamp": "date",
    "adjclose": "adj_close",
    "adjustedclose": "adj_close",
}
_EMPTY = frozenset({"", "-", "na", "n/a", "nan", "none", "null"})
# A time of day, then its offset from UTC: the market's own clock is wanted, so the offset goes.
_OFFSET = re.compile(r"([T ]\d[\d:.,]*) ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
_ORDERED = (("low", "open"), ("low", "close"), ("open", "high"), ("close", "high"))
_NO_ZONE = "time zone dropped, clock times kept"
_SAMPLE = Path(__file__).with_name("sample")

MIN_BARS = 2  # for one return
MAX_EMPTY = 0.01  # share of rows that may be dropped for an empty cell
MAX_MOVE = 0.5  # a larger move from bar to bar may be a split that was not adjusted
MAX_FLAT = 20  # bars; as many equal closes in a row may be a halted or a filled series
MAX_GAP = pd.Timedelta(days=15)
MAX_ZERO = 0.1  # share of returns
_ROUNDING = 1e-6  # relative; an adjusted low and close need not be rounded alike


class DataError(PuffinError):
    """The prices cannot be used: the message says what is wrong, where, and how to mend it."""


@dataclass(frozen=True, eq=False)
class Prices:
    """Bars that passed `validate`.

    Attributes
    ----------
    frame : DataFrame, (bar, column), adjusted prices and traded volume
        float64; columns are some of open, high, low, close, volume in this order, close always;
        the index "date" has no time zone, ascends and holds no time twice.
    warnings : tuple of str
        What was mended, and what is legitimate but odd.
    origin : str
        Where the bars are from, for people: "sample AAPL", "csv prices.csv".
    """

    frame: pd.DataFrame
    warnings: tuple[str, ...]
    origin: str


class Raw(NamedTuple):
    """What a source gives: bars as found (an "adj_close" is welcome), their origin, and notes."""

    frame: pd.DataFrame
    origin: str
    notes: tuple[str, ...] = ()


Source: TypeAlias = Callable[[str | None, Path | None], Raw]


def load_prices(
    source: str,
    symbol: str | None = None,
    path: Path | None = None,
    start: date | None = None,
    end: date | None = None,
) -> Prices:
    """Read, cut to start..end (both inclusive), check and adjust; only the cut part is checked.

    Raises
    ------
    DataError
        If the source or symbol is unknown, or the bars cannot be read or used.
    """
    if source not in SOURCES:
        raise DataError(f"source must be one of {', '.join(SOURCES)}, but got {source!r}")
    raw = SOURCES[source](symbol, path)
    frame, warnings = validate(_between(raw, start, end), raw.origin)
    return Prices(frame, raw.notes + warnings, raw.origin)


def _between(raw: Raw, start: date | None, end: date | None) -> pd.DataFrame:
    if (start is None and end is None) or not isinstance(raw.frame.index, pd.DatetimeIndex):
        return raw.frame
    if start and end and start > end:
        raise DataError(f"start must not be after end, but got {start} and {end}")
    days = raw.frame.index.tz_localize(None).normalize()
    keep = np.ones(len(days), dtype=bool)
    if start:
        keep &= days >= pd.Timestamp(start)
    if end:
        keep &= days <= pd.Timestamp(end)
    if len(days) and not keep.any():
        raise DataError(
            f"{raw.origin}: no bars from {start or 'the first'} to {end or 'the last'}; "
            f"choose start and end within {_when(days.min())} to {_when(days.max())}"
        )
    return raw.frame[keep]


def _sample(symbol: str | None, _path: Path | None) -> Raw:
    lines = (_SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name.removesuffix(".csv.gz"): digest for digest, name in map(str.split, lines)}
    known = (symbol or "").upper()
    if known not in sums:
        raise DataError(
            f"symbol of the sample must be one of {', '.join(sums)}, but got {symbol!r}"
        )
    file = _SAMPLE / f"{known}.csv.gz"
    data = _read_bytes(file)
    if sha256(data) != sums[known]:
        raise DataError(
            f"sample {known} must have the sha256 {sums[known]}, but has {sha256(data)}: "
            "the file was changed, install puffin-tuner again"
        )
    return Raw(_parse_csv(_text(data, file), str(file))[0], f"sample {known}")


def _csv(_symbol: str | None, path: Path | None) -> Raw:
    if path is None:
        raise DataError(
            'source "csv" needs a path: give path = "prices.csv" or choose source "sample"'
        )
    frame, notes = _parse_csv(_text(_read_bytes(path), path), str(path))
    return Raw(frame, f"csv {path.name}", notes)


SOURCES: dict[str, Source] = {"sample": _sample, "csv": _csv}


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        why = f"is not there: check the path (relative ones start at {Path.cwd()})"
    except IsADirectoryError:
        why = "is a directory: name the CSV file in it"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = f"cannot be read ({error}): check its name and permissions"
    raise DataError(f"{path} must be a CSV file, but {why}")


def _text(data: bytes, path: Path) -> str:
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8: save it as CSV in UTF-8"
    except (OSError, EOFError, zlib.error) as error:
        why = f"its gzip data cannot be unpacked ({error}): copy it again"
    else:
        if text.strip() and "\0" not in text:
            return text
        why = f"is {'binary' if text.strip() else 'empty'}: export it again"
    raise DataError(f"{path} must be CSV text with a header and rows, but {why}")


def _parse_csv(text: str, where: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    # Not pandas.read_csv: it renames duplicate columns, shifts ragged rows, guesses dates with
    # warnings, and gives no line numbers.
    header, body, lines = _rows(text, where)
    places = _places(header, where)
    cells = list(zip(*body, strict=True))
    dates, notes = _dates(cells[places["date"]], lines, where)
    values = {
        name: _numbers(cells[at], lines, where, header[at])
        for name, at in places.items()
        if name != "date"
    }
    ignored = [name or "(no name)" for at, name in enumerate(header) if at not in places.values()]
    if ignored:
        notes += (f"columns that are not used: {', '.join(ignored)}",)
    return pd.DataFrame(values, index=dates), notes


def _rows(text: str, where: str) -> tuple[list[str], list[list[str]], list[int]]:
    delimiter = max(",;\t", key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        found = [(row, reader.line_num) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(
            f"{where} line {reader.line_num} is not CSV ({error}): mend its quotes"
        ) from None
    if not found[1:]:
        raise DataError(
            f"{where} must have a header and rows below it, but has no rows: export it again"
        )
    header = [name.strip() for name in found[0][0]]
    for row, line in found[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{where} line {line} must have {len(header)} fields like the header, "
                f"but has {len(row)}: mend or delete the line"
            )
    return header, [row for row, _ in found[1:]], [line for _, line in found[1:]]


def _places(header: list[str], where: str) -> dict[str, int]:
    names = [re.sub(r"[\s_.]", "", name.lower()) for name in header]
    names = [_ALIASES.get(name, name) for name in names]
    if "date" not in names and re.fullmatch(r"(unnamed:0)?", names[0]):
        names[0] = "date"  # how pandas writes an index that has no name
    for name in ("date", *_KNOWN):
        same = [header[at] for at, other in enumerate(names) if other == name]
        if len(same) > 1:
            raise DataError(
                f"{where} must have one {name} column, but has {', '.join(same)}: keep one"
            )
        if not same and name in ("date", "close"):
            raise DataError(
                f"{where} must have a {name} column, but has {', '.join(header)}: "
                "rename the right one"
            )
    return {name: names.index(name) for name in ("date", *_KNOWN) if name in names}


def _dates(
    cells: Sequence[str], lines: list[int], where: str
) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    wall = [_OFFSET.sub(r"\1", cell.strip()) for cell in cells]
    formats = ("ISO8601", "%m/%d/%Y", "%d/%m/%Y")
    iso, american, european = (pd.to_datetime(wall, format=f, errors="coerce") for f in formats)
    best = min(iso, american, european, key=lambda times: np.count_nonzero(times.isna()))
    if best.hasnans:
        at = int(np.argmax(best.isna()))
        raise DataError(
            f"{where} line {lines[at]}: a date must be like 2024-01-31 or 2024-01-31 16:00, "
            f"but got {cells[at][:40]!r}: write all dates so"
        )
    if not (american.hasnans or european.hasnans or american.equals(european)):
        raise DataError(
            f"{where} line {lines[0]}: {cells[0]!r} and all other dates can be read as "
            "month/day or as day/month: write them like 2024-01-31"
        )
    notes = (_NO_ZONE,) if wall != [cell.strip() for cell in cells] else ()
    return best.rename("date"), notes


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return np.nan if cell.strip().lower() in _EMPTY else None


def _numbers(cells: Sequence[str], lines: list[int], where: str, name: str) -> list[float | None]:
    values = [_number(cell) for cell in cells]
    if None in values:
        at = values.index(None)
        raise DataError(
            f"{where} line {lines[at]}: {name} must be a number, but got {cells[at][:40]!r}: "
            "write plain numbers like 1234.5, without currency or thousands signs"
        )
    return values


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
        if name in _KNOWN and not pd.api.types.is_numeric_dtype(kind)
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
    bars = frame[[name for name in _KNOWN if name in frame]].astype("float64")
    unused = [str(name) for name in frame.columns if name not in bars]
    if unused:
        notes.append(f"columns that are not used: {', '.join(unused)}")
    bars.index = pd.DatetimeIndex(_naive(frame.index)).as_unit("us").rename("date")
    if getattr(frame.index, "tz", None) is not None or frame.index.dtype == object:
        notes.append(_NO_ZONE)
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
    weekend = pd.DatetimeIndex(bars.index).day_of_week.isin([5, 6])
    zero = float((moves.iloc[1:] == 0).mean())
    found = []
    if big.any():
        found.append(
            f"close moves by more than {MAX_MOVE:.0%} in {_first(bars, big)} "
            f"({moves[big].iloc[0]:+.1%}): is a split not adjusted?"
        )
    if flat.max() >= MAX_FLAT:
        found.append(f"close stays the same for {flat.max()} bars from {_when(flat.idxmax())}")
    if (gaps > MAX_GAP).any():
        found.append(
            f"gaps of more than {MAX_GAP.days} days: {(gaps > MAX_GAP).sum()}, the longest of "
            f"{gaps.max().days} days before {_when(gaps.idxmax())}"
        )
    if weekend.any():
        found.append(f"bars on a weekend: {_first(bars, weekend)}")
    if zero > MAX_ZERO:
        found.append(f"{zero:.0%} of the returns are zero")
    return found


def _when(time: object) -> str:
    return str(time).removesuffix(" 00:00:00")


def _first(bars: pd.DataFrame, mask: npt.NDArray[np.bool_]) -> str:
    count = int(mask.sum())
    return f"{count} bar{'s' * (count > 1)}, first {_when(bars.index[mask][0])}"


def to_csv(frame: pd.DataFrame) -> bytes:
    """Write the snapshot: CSV in UTF-8, every float in the shortest form that reads back exactly.

    Times are dates if all are midnight, else ISO to the second or microsecond.
    """
    times = pd.DatetimeIndex(frame.index).as_unit("us").to_numpy()
    unit = next(u for u in ("D", "s", "us") if (times.astype(f"M8[{u}]") == times).all())
    columns = [np.datetime_as_string(times.astype(f"M8[{unit}]")).tolist()]
    columns += [map(repr, frame[name].tolist()) for name in frame.columns]
    rows = [
        ",".join(["date", *map(str, frame.columns)]),
        *map(",".join, zip(*columns, strict=True)),
    ]
    return ("\n".join(rows) + "\n").encode()


def from_csv(data: bytes) -> pd.DataFrame:
    """Read what `to_csv` wrote, bit for bit.

    Raises
    ------
    DataError
        If the bytes are no such snapshot.
    """
    try:
        return _snapshot(data)
    except ValueError as error:
        raise DataError(
            f"the snapshot of the prices must be CSV as written by to_csv, but is not ({error})"
        ) from None


def _snapshot(data: bytes) -> pd.DataFrame:
    head, *rows = data.decode().splitlines()
    label, *names = head.split(",")
    if label != "date":
        raise ValueError(f"it begins with {label[:40]!r}")
    cells = list(zip(*(row.split(",") for row in rows), strict=True)) or [()] * (len(names) + 1)
    values = {
        name: np.array([float(cell) for cell in column], dtype="float64")
        for name, column in zip(names, cells[1:], strict=True)
    }
    times = np.array(cells[0], dtype="M8[us]")
    return pd.DataFrame(values, index=pd.DatetimeIndex(times, name="date"))


def sha256(data: bytes) -> str:
    """Return the SHA-256 of the bytes, in hex."""
    return hashlib.sha256(data).hexdigest()
