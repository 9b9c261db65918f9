"""Parsing of times: many notations of a day, a time of day and a UTC offset."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from puffin.studies.prices.calendar import NO_ZONE, clock_or_utc

# Formats of a day whose separators have been replaced by hyphens. The formats of one tuple are
# two readings of the same text; only a day above 12 distinguishes them.
_DAYS: tuple[tuple[str, ...], ...] = (
    ("%Y-%m-%d",),
    ("%m-%d-%Y", "%d-%m-%Y"),
    ("%d-%b-%Y", "%b-%d-%Y"),
    ("%Y-%b-%d",),
    ("%m-%d-%y", "%d-%m-%y"),
    ("%d-%b-%y", "%b-%d-%y"),
)
# Formats of a month, which is read as its first day.
_MONTHS = (("%Y-%m",), ("%b-%Y", "%m-%Y"), ("%b-%y",))
_ORDER = {"%m-%d": "month/day", "%d-%m": "day/month"}
_MIDNIGHT = re.compile(r"[T ]0?0:00(:00(\.0+)?)?$")
_SEPARATORS = re.compile(r"[\s,./-]+")
_WEEKDAY = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[\s,.]+", re.IGNORECASE)
_MONTH_NAME = re.compile(r"([a-z]{3})[a-z]+", re.IGNORECASE)

_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d)(?:[.,:](?P<part>\d+))?)?)?"
    r"(?:[ -]?(?P<half>[ap])\.?m\.?)?",
    re.IGNORECASE,
)
_ZONE = (
    r"(?P<zone>Z|(?:UTC|GMT)?\s?(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d\d)?"
    r"|UTC|GMT|[A-Z]{2,5}|[A-Za-z]+/[A-Za-z_/]+)"
)
# A day, then a time of day, then a zone.
_CELL = re.compile(
    r"(?P<day>.*?\d)"
    r"(?:(?:T|\s*,\s*|\s+)(?P<clock>\d{1,2}:\d\d(?::\d\d(?:[.,:]\d+)?)?(?:\s?[AaPp]\.?[Mm]\.?(?![a-z]))?"
    r"|\d{1,2}[ -]?[AaPp]\.?[Mm]\.?)"
    rf"(?:\s*{_ZONE})?|\s*(?P<utc>Z|UTC|GMT))?"
)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[T\s]*(\d\d)(\d\d)(\d\d)?)?")
_NUMBER = re.compile(r"\d+(?:\.\d*)?")
# Unix times by their number of digits before the point: the unit, and units per second.
_UNIX = {
    9: ("seconds", 1),
    10: ("seconds", 1),
    12: ("milliseconds", 10**3),
    13: ("milliseconds", 10**3),
    15: ("microseconds", 10**6),
    16: ("microseconds", 10**6),
    18: ("nanoseconds", 10**9),
    19: ("nanoseconds", 10**9),
}
# Range of a spreadsheet's day numbers, counted from 1899-12-30: years 1954 to 2119.
_SERIAL = (20_000.0, 80_000.0)


class TimeError(ValueError):
    """A cell is not a time, or can be read as two different times.

    Parameters
    ----------
    row : int
        Number of the cell, counted from 0.
    reason : str
        The problem and its fix, for a message that begins with the line.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


class UnclearDayError(TimeError):
    """A day whose order of day and month is ambiguous."""


@dataclass(frozen=True, eq=False)
class Times:
    """The times of bars.

    Attributes
    ----------
    index : DatetimeIndex, (bars,), without a zone
    notes : tuple of str
        The guesses behind this reading.
    """

    index: pd.DatetimeIndex
    notes: tuple[str, ...] = ()


def read_times(
    cells: Sequence[str], clocks: Sequence[str] | None = None, *, is_named: bool = True
) -> Times:
    """Parse a column of times, or one of days and one of times of day.

    Parameters
    ----------
    cells : sequence of str
    clocks : sequence of str or None
        The time of day of each, if it is in a column of its own.
    is_named : bool
        Whether the name of the column identifies it as times. In a column without a name small
        numbers are row numbers.

    Raises
    ------
    TimeError
        If a cell is not a time, or the order of day and month is ambiguous.
    """
    texts = [cell.strip() for cell in cells]
    if clocks is not None:
        joined, notes = _joined(texts, clocks)
        found = _read_texts(joined)
        return Times(found.index, (*notes, *found.notes))
    if all(map(_NUMBER.fullmatch, texts)):
        return _read_numbers(texts, is_named=is_named)
    return _read_texts(texts)


def is_time(cell: str) -> bool:
    """Return whether a cell has a day, with or without a time of day."""
    try:
        read_times([cell])
    except UnclearDayError:
        return True
    except TimeError:
        return False
    return True


def are_days(cells: Iterable[str]) -> bool:
    """Return whether no cell has a time of day other than midnight."""
    return not any(re.search(r"\d:\d\d", _MIDNIGHT.sub("", cell.strip())) for cell in set(cells))


def are_clocks(cells: Sequence[str], *, is_named: bool = True) -> bool:
    """Return whether a column has times of day without days.

    Digits alone, such as 93000 or 930, are times of day if the name of the column says so; without
    a name they must have six digits each.
    """
    texts = {cell.strip() for cell in cells}
    if not all(text.isdigit() for text in texts):
        return all(re.match(r"\d{1,2}:\d\d", text) for text in texts)
    width = _clock_width(texts)
    if not is_named and {len(text) for text in texts} != {6}:
        return False
    return max(map(len, texts)) > 2 and all(
        len(text) <= width and _read_clock(_with_colons(text, width)) is not None for text in texts
    )


def _clock_width(texts: Iterable[str]) -> int:
    """Return the number of digits of a time of day: 4 for HHMM or 6 for HHMMSS.

    Leading zeros may be missing.
    """
    return 4 if max(map(len, texts), default=0) <= 4 else 6


def _with_colons(digits: str, width: int) -> str:
    padded = digits.zfill(width)
    return ":".join(padded[at : at + 2] for at in range(0, width, 2))


def _joined(days: Sequence[str], clocks: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Join days and times of day; a midnight in a day is dropped."""
    texts = [cell.strip() for cell in clocks]
    digits = [text for text in texts if text.isdigit()]
    width = _clock_width(digits)
    notes: tuple[str, ...] = ()
    if digits and max(map(len, digits)) <= 2:
        texts = [f"{text}:00" if text.isdigit() else text for text in texts]
        notes = ("times of day are read as hours",)
    else:
        texts = [_with_colons(text, width) if text.isdigit() else text for text in texts]
    bare = [_MIDNIGHT.sub("", day) for day in days]
    return [f"{day} {text}" for day, text in zip(bare, texts, strict=True)], notes


# Numbers


def _read_numbers(texts: Sequence[str], *, is_named: bool) -> Times:
    digits = {len(text.partition(".")[0]) for text in texts}
    # 20240131 is a day, and 202401311600 is a time if all rows can be read so.
    if digits <= {8} or digits <= {12} or digits <= {14}:
        try:
            return _read_texts(texts)
        except TimeError:
            if not digits <= {12}:
                raise
    if digits <= _UNIX.keys():
        return _read_unix(texts)
    values = np.array([float(text) for text in texts])
    if is_named and digits <= {4} and not any("." in text for text in texts):
        return _read_years(texts, values)
    if is_named and ((values >= _SERIAL[0]) & (values <= _SERIAL[1])).all():
        days = pd.to_datetime(values, unit="D", origin="1899-12-30").round("s")
        return Times(days, ("days are read as a spreadsheet counts them, from 1899-12-30",))
    row = next((i for i, text in enumerate(texts) if len(text.partition(".")[0]) != 8), 0)
    raise TimeError(row, _no_time(texts[row]))


def _read_unix(texts: Sequence[str]) -> Times:
    """Parse Unix times of mixed units: Binance changed from milliseconds to microseconds."""
    units, micros = set(), []
    for text in texts:
        whole, _, part = text.partition(".")
        unit, per_second = _UNIX[len(whole)]
        units.add(unit)
        micros.append(int(whole) * 10**6 // per_second + round(float(f"0.{part}0") * 10**6))
    return Times(
        pd.DatetimeIndex(np.array(micros, dtype="M8[us]")),
        (f"times are read as Unix {' and '.join(sorted(units))}, in UTC",),
    )


def _read_years(texts: Sequence[str], values: np.ndarray) -> Times:
    steps = np.diff(values)
    is_ordered = bool((steps > 0).all() or (steps < 0).all())
    if not is_ordered or values.min() < 1500 or values.max() > 2200:
        raise TimeError(0, _no_time(texts[0]))
    return Times(
        pd.DatetimeIndex([f"{text}-01-01" for text in texts]),
        ("numbers of four digits are read as years, each as its first day",),
    )


# Texts


def _read_texts(texts: Sequence[str]) -> Times:
    parts = [_CELL.fullmatch(_spread_digits(text)) for text in texts]
    for row, part in enumerate(parts):
        if part is None:
            raise TimeError(row, _no_time(texts[row]))
    found = [part for part in parts if part is not None]
    days, notes = _read_days([part["day"] for part in found], texts)
    clocks = _mapped([part["clock"] or "" for part in found], _read_clock, texts)
    index = days + pd.to_timedelta(clocks, unit="us")
    offsets = [_offset(part) for part in found]
    if not any(part["zone"] or part["utc"] for part in found):
        return Times(index, notes)
    if None in offsets:  # an unknown zone, or none: only local time is known
        return Times(index, (*notes, NO_ZONE))
    minutes = np.array(offsets, dtype=np.float64)
    chosen, zone_notes = clock_or_utc(index, index - pd.to_timedelta(minutes, unit="min"))
    return Times(chosen, (*notes, *zone_notes))


def _spread_digits(text: str) -> str:
    """Insert separators into 20240131, 20240131 160000 and 202401311600."""
    found = _COMPACT.match(text)
    if found is None or text[found.end() : found.end() + 1] in set("-/.0123456789") - {""}:
        return text
    year, month, day, *clock = found.groups()
    spread = f"{year}-{month}-{day}"
    if clock[0]:
        rest = text[found.end() :]
        return f"{spread} {':'.join(filter(None, clock))}{rest}"
    return spread + text[found.end(1) + 4 :]


def _mapped(
    texts: Sequence[str], read: Callable[[str], float | None], shown: Sequence[str]
) -> np.ndarray:
    """Parse each distinct text once; raise `TimeError` with the cell of `shown` if one fails."""
    known = {text: read(text) for text in set(texts)}
    values = [known[text] for text in texts]
    if None in values:
        row = values.index(None)
        raise TimeError(row, _no_time(shown[row]))
    return np.array(values, dtype=np.float64)


def _read_clock(text: str) -> float | None:
    """Return the microseconds since midnight, or None if there is no such time."""
    if not text:
        return 0.0
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"].lower() == "p" else 0)
    micros = float(f"0.{found['part'] or 0}") * 1e6
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and minute + second + micros > 0):
        return None
    return ((hour * 60 + minute) * 60 + second) * 1e6 + round(micros)


def _offset(part: "re.Match[str]") -> int | None:
    """Return the UTC offset in minutes, or None if it is unknown."""
    if part["sign"]:
        size = int(part["hours"]) * 60 + int(part["minutes"] or 0)
        return -size if part["sign"] == "-" else size
    return 0 if (part["zone"] or part["utc"] or "") in {"Z", "UTC", "GMT"} else None


def _read_days(
    days: Sequence[str], shown: Sequence[str]
) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    normalised = {day: _normalised(day) for day in set(days)}
    texts = [normalised[day] for day in days]
    rows: dict[str, int] = {}  # the first of each text
    for row, text in enumerate(texts):
        rows.setdefault(text, row)
    distinct = pd.Index(list(rows))
    nearest, most = pd.DatetimeIndex([]), -1
    for formats in (*_DAYS, *_MONTHS):
        readings = {f: pd.to_datetime(distinct, format=f, errors="coerce") for f in formats}
        whole = {f: times for f, times in readings.items() if not times.hasnans}
        if len(whole) > 1:
            _require_alike(whole, list(rows.values()), shown)
        if whole:
            form, times = next(iter(whole.items()))
            known, notes = _with_century(times, form)
            return known[distinct.get_indexer(pd.Index(texts))].as_unit("us"), notes
        for times in readings.values():
            if (count := int(np.count_nonzero(times.notna()))) > most:
                nearest, most = times, count
    row = min(rows[text] for text, bad in zip(rows, nearest.isna(), strict=True) if bad)
    raise TimeError(row, _no_time(shown[row]))


def _normalised(day: str) -> str:
    text = _MONTH_NAME.sub(r"\1", _WEEKDAY.sub("", day.strip()))
    return _SEPARATORS.sub("-", text).strip("-")


def _require_alike(
    readings: dict[str, pd.DatetimeIndex], rows: Sequence[int], shown: Sequence[str]
) -> None:
    """Raise if the order of day and month is ambiguous, with both readings."""
    (one, first), (other, second) = readings.items()
    differ = first != second
    if not differ.any():
        return
    at = int(differ.argmax())
    raise UnclearDayError(
        rows[at],
        f"{shown[rows[at]]!r} can be read as {_ORDER[one[:5]]} or as {_ORDER[other[:5]]}, "
        f"{first[at]:%Y-%m-%d} or {second[at]:%Y-%m-%d}, and no day above 12 decides: "
        "write days like 2024-01-31",
    )


def _with_century(times: pd.DatetimeIndex, form: str) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if "%y" in form:
        coming = times > pd.Timestamp.now() + pd.Timedelta(days=366)
        times = times.where(~coming, times - pd.DateOffset(years=100))
        notes = (f"years of two digits are read as {times.min().year} to {times.max().year}",)
    if "%d" not in form:
        notes += ("months are read as their first day",)
    return times, notes


def _no_time(cell: str) -> str:
    return f"a date must be like 2024-01-31 or 2024-01-31 16:00, but got {cell[:40]!r}"
