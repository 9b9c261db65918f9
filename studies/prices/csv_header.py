"""Finding the header of a table: its line and its column names.

Banners, comments and further levels of a pandas header may precede it, and some files have none.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from puffin.studies.prices.csv_numbers import number
from puffin.studies.prices.csv_times import are_clocks, is_time
from puffin.studies.prices.names import KNOWN, DataError

# Aliases of each column, normalised by `normalised`. If a file has several, the first is taken.
# docs/study-file.md lists the programs that write them.
ALIASES: dict[str, tuple[str, ...]] = {
    "date": (
        *("date", "datetime", "dateandtime", "observationdate", "tradedate", "tradingdate"),
        *("datum", "fecha", "data", "timestamp", "opentime", "time", "gmttime", "localtime"),
        *("snappedat", "timeperiod", "unix", "unixtime", "unixtimestamp", "epoch", "year"),
        *("windowstart", "ds"),
    ),
    "open": (
        *("open", "openprice", "openingprice", "pxopen"),
        *("eröffnung", "eröffn", "apertura", "ouverture", "ouv", "otwarcie"),
    ),
    "high": (
        *("high", "highprice", "pxhigh"),
        *("hoch", "máximo", "maximo", "plushaut", "haut", "najwyzszy"),
    ),
    "low": (
        *("low", "lowprice", "pxlow"),
        *("tief", "mínimo", "minimo", "plusbas", "bas", "najnizszy"),
    ),
    "close": (
        *("close", "closelast", "closeprice", "closingprice", "settle", "settlementprice"),
        *("last", "lastprice", "pxlast", "price", "value", "rate", "nav", "ltp"),
        *("schlusskurs", "schluss", "zuletzt", "cierre", "último", "ultimo", "clôture", "cloture"),
        *("dernier", "clot", "zamkniecie", "kurs", "y"),
    ),
    "volume": (
        *("volume", "vol", "totalvolume", "sharesvolume", "pxvolume", "tickvol", "tickvolume"),
        *("volumen", "wolumen"),
    ),
    "adj_close": ("adjclose", "adjustedclose", "adjcloseprice"),
}
# Columns after the time in a table without a header, by their number.
_UNNAMED = {1: ("close",), 4: KNOWN[:4], 5: KNOWN[:5]}
# Number of lines in which the header is searched.
_FRONT = 40


@dataclass(frozen=True, eq=False)
class Header:
    """The header of a table.

    Attributes
    ----------
    names : list of str
        "" for a column without a name.
    first : int
        Number of the first row below the header, counted from 0.
    notes : list of str
        What was left out or guessed.
    """

    names: list[str]
    first: int
    notes: list[str]


def find_header(
    rows: Sequence[list[str]], dates: Collection[str], closes: Collection[str] | None, where: str
) -> Header:
    """Find the header of a table.

    Parameters
    ----------
    rows : sequence of list of str, at least one, none empty
    dates, closes : collections of str
        Names given by the user, in lower case, in addition to `ALIASES`; None if no close is
        needed.
    where : str
        The file, for error messages.

    Raises
    ------
    DataError
        If the file has columns of several symbols, or no header can be inferred.
    """
    if (stacked := _find_stacked(rows, where)) is not None:
        return stacked
    for at, row in enumerate(rows[:_FRONT]):
        if _is_header(row, dates, closes):
            return _below(rows, at, where)
    start = next((at for at, row in enumerate(rows[:_FRONT]) if _is_data(row)), None)
    if start is None:
        widths = Counter(map(len, rows[:_FRONT]))
        usual = max(widths, key=lambda width: (widths[width], width))
        return _below(rows, next(at for at, row in enumerate(rows) if len(row) == usual), where)
    if start and len(rows[start - 1]) == len(rows[start]):
        return Header(rows[start - 1], start, _front_notes(rows, start - 1))
    return _made_up(rows, start, where)


def normalised(name: str) -> str:
    """Return a name without numbers, brackets and signs: "close" for "4. close (USD)"."""
    bare = re.sub(r"^\d+[a-z]?\.\s*|\(.*?\)", "", name.strip().lower())
    return re.sub(r"[\s_.\-/<>\"'*#:]", "", bare)


def is_index(name: str) -> bool:
    """Return whether a name is what pandas and R write for an index without a name."""
    return re.fullmatch(r"(unnamed: ?0)?", name.strip().lower()) is not None


def shown(names: Sequence[str], most: int = 12) -> str:
    """Return names as a list for a message, at most `most` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "(no name)" for name in names[:most]) + more


def require_one_symbol(symbols: Sequence[str], place: str, where: str) -> None:
    """Raise `DataError` if a file has several symbols in one place."""
    found = list(dict.fromkeys(filter(None, symbols)))
    if len(found) > 1:
        raise DataError(
            f"{where} has the prices of {len(found)} symbols ({shown(found, 5)}, in {place}) side "
            "by side: write one file for each symbol, or one row for each symbol and date with a "
            "column named symbol"
        )


def _is_header(row: Sequence[str], dates: Collection[str], closes: Collection[str] | None) -> bool:
    names = {normalised(name) for name in row}
    written = {name.lower() for name in row}
    has_date = is_index(row[0]) or not names.isdisjoint(ALIASES["date"])
    has_close = closes is None or not names.isdisjoint(ALIASES["close"])
    return (
        len(row) > 1
        and (has_date or not written.isdisjoint(dates))
        and (has_close or not written.isdisjoint(closes or ()))
        and not any(map(_is_value, row))
    )


def _is_value(cell: str) -> bool:
    value = number(cell)
    return value is not None and value == value  # noqa: PLR0124  # NaN, from an empty cell


def _is_data(row: Sequence[str]) -> bool:
    """Return whether a row has a time followed by numbers or marks of missing values."""
    has_time = is_time(row[0]) or (len(row) > 1 and is_time(f"{row[0]} {row[1]}"))
    return has_time and any(number(cell) is not None for cell in row[1:])


def _front_notes(rows: Sequence[list[str]], at: int) -> list[str]:
    if not at:
        return []
    first = ",".join(rows[0])[:40]
    return [f"lines before the header are left out: {at}, the first {first!r}"]


def _find_stacked(rows: Sequence[list[str]], where: str) -> Header | None:
    """Return a header as yfinance writes it, if there is one.

    It has a line of prices, one of tickers, and one with "Date" alone.
    """
    for at, row in enumerate(rows[:4]):
        levels = [level for level in rows[:at] if len(level) == len(row)]
        prices = next((level for level in levels if "close" in map(normalised, level[1:])), None)
        is_date = normalised(row[0]) in ALIASES["date"] and len(row) > 1 and not any(row[1:])
        if is_date and prices is not None:
            symbols = [name for level in levels if level is not prices for name in level[1:]]
            require_one_symbol(symbols, "the header", where)
            return Header([row[0], *prices[1:]], at + 1, [])
    return None


def _below(rows: Sequence[list[str]], at: int, where: str) -> Header:
    """Return the header at a row, skipping a line of tickers or units below it."""
    header, notes = rows[at], _front_notes(rows, at)
    below = rows[at + 1] if at + 1 < len(rows) else []
    texts = [cell for cell in below if cell]
    is_second = len(below) == len(header) > 1 and len(texts) > 1
    if not is_second or any(_is_value(cell) or is_time(cell) for cell in texts):
        return Header(header, at + 1, notes)
    closes = [c for c, name in zip(below, header, strict=True) if normalised(name) == "close"]
    require_one_symbol(closes, "the second line of the header", where)
    return Header(header, at + 2, [*notes, f"a second header line is left out: {texts[0]!r} ..."])


def _made_up(rows: Sequence[list[str]], at: int, where: str) -> Header:
    """Infer the names of the columns of a table without a header from their number and order."""
    row = rows[at]
    clocks = [r[1] for r in rows[at:] if len(r) > 1]
    has_clock = len(row) > 2 and are_clocks(clocks, is_named=False)
    front = ["date", "time"] if has_clock else ["date"]
    behind = len(row) - len(front)
    names = _UNNAMED.get(min(behind, 5))
    if names is None or not _are_ordered([r[len(front) :] for r in rows[at:]], names):
        raise DataError(
            f"{where} has no header line, and its columns are not date, open, high, low, close, "
            "volume: add a first line with their names"
        )
    note = f"no header line: columns are taken as {', '.join([*front, *names])}"
    header = [*front, *names, *[""] * (behind - len(names))]
    return Header(header, at, [*_front_notes(rows, at), note])


def _are_ordered(rows: Sequence[list[str]], names: Sequence[str]) -> bool:
    """Return whether columns can be open, high, low, close.

    In at least 95 % of the rows the second must be the largest and the third the smallest.
    """
    if len(names) < 4:
        return True
    ends = 0
    for row in rows:
        values = [number(cell) or number(cell, ",") or 0.0 for cell in row[:4]]
        ends += len(values) == 4 and values[1] == max(values) and values[2] == min(values)
    return ends >= 0.95 * len(rows)
