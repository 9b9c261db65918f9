"""Where the table of a file begins, and what its columns are called.

Lines may stand in front of the header: banners, comments, the second and third level of a header
of pandas. Some files have no header at all.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from puffin.studies.prices.csv_numbers import number
from puffin.studies.prices.csv_times import are_clocks, is_time
from puffin.studies.prices.validation import KNOWN, DataError

# What a column may be called, as `plain` writes names. Of several that are there the first is
# taken. docs/study-file.md lists the programs that write them.
ALIASES: dict[str, tuple[str, ...]] = {
    "date": (
        *("date", "datetime", "dateandtime", "observationdate", "tradedate", "tradingdate"),
        *("datum", "fecha", "data", "timestamp", "opentime", "time", "gmttime", "localtime"),
        *("snappedat", "timeperiod", "unix", "unixtime", "unixtimestamp", "epoch", "year"),
        "windowstart",
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
        *("dernier", "clot", "zamkniecie", "kurs"),
    ),
    "volume": (
        *("volume", "vol", "totalvolume", "sharesvolume", "pxvolume", "tickvol", "tickvolume"),
        *("volumen", "wolumen"),
    ),
    "adj_close": ("adjclose", "adjustedclose", "adjcloseprice"),
}
# Bars of a table without a header, behind the time, by their number.
_UNNAMED = {1: ("close",), 4: KNOWN[:4], 5: KNOWN[:5]}
# Lines that are looked through for the header.
_FRONT = 40


@dataclass(frozen=True, eq=False)
class Header:
    """The header of a table.

    Attributes
    ----------
    names : list of str, "" where a column has none
    first : int, number of the first row below it
    notes : list of str, what was left out or guessed
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
        Names that the user says, in small letters, beside those of `ALIASES`; None where no close
        is wanted.
    where : str
        Names the file in errors.

    Raises
    ------
    DataError
        If the file has several symbols beside each other, or no header can be made up.
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


def plain(name: str) -> str:
    """Write a name without numbers, brackets and signs: "4. close (USD)" and "<CLOSE>" as close."""
    bare = re.sub(r"^\d+[a-z]?\.\s*|\(.*?\)", "", name.strip().lower())
    return re.sub(r"[\s_.\-/<>\"'*#:]", "", bare)


def is_index(name: str) -> bool:
    """Tell whether a name is that of an index that has none, as pandas and R write it."""
    return re.fullmatch(r"(unnamed: ?0)?", name.strip().lower()) is not None


def shown(names: Sequence[str], most: int = 12) -> str:
    """List names for a message, not too many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "(no name)" for name in names[:most]) + more


def require_one_symbol(symbols: Sequence[str], place: str, where: str) -> None:
    """Raise `DataError` if there are several symbols in a place of a file."""
    found = list(dict.fromkeys(filter(None, symbols)))
    if len(found) > 1:
        raise DataError(
            f"{where} has the prices of {len(found)} symbols ({shown(found, 5)}, in {place}), but "
            f"a study is of one: put the rows or columns of one, such as {found[0]}, into a file "
            "of its own"
        )


def _is_header(row: Sequence[str], dates: Collection[str], closes: Collection[str] | None) -> bool:
    names = {plain(name) for name in row}
    said = {name.lower() for name in row}
    has_date = is_index(row[0]) or not names.isdisjoint(ALIASES["date"])
    has_close = closes is None or not names.isdisjoint(ALIASES["close"])
    return (
        len(row) > 1
        and (has_date or not said.isdisjoint(dates))
        and (has_close or not said.isdisjoint(closes or ()))
        and not any(map(_is_value, row))
    )


def _is_value(cell: str) -> bool:
    value = number(cell)
    return value is not None and value == value  # noqa: PLR0124  # an empty cell is no value


def _is_data(row: Sequence[str]) -> bool:
    """Tell whether a row has a time and then numbers, or marks of missing ones."""
    has_time = is_time(row[0]) or (len(row) > 1 and is_time(f"{row[0]} {row[1]}"))
    return has_time and any(number(cell) is not None for cell in row[1:])


def _front_notes(rows: Sequence[list[str]], at: int) -> list[str]:
    if not at:
        return []
    first = ",".join(rows[0])[:40]
    return [f"lines in front of the header are left out: {at}, the first {first!r}"]


def _find_stacked(rows: Sequence[list[str]], where: str) -> Header | None:
    """Find a header of yfinance: one line of prices, one of tickers, and one with "Date" alone."""
    for at, row in enumerate(rows[:4]):
        levels = [level for level in rows[:at] if len(level) == len(row)]
        prices = next((level for level in levels if "close" in map(plain, level[1:])), None)
        is_date = plain(row[0]) in ALIASES["date"] and len(row) > 1 and not any(row[1:])
        if is_date and prices is not None:
            symbols = [name for level in levels if level is not prices for name in level[1:]]
            require_one_symbol(symbols, "the header", where)
            return Header([row[0], *prices[1:]], at + 1, [])
    return None


def _below(rows: Sequence[list[str]], at: int, where: str) -> Header:
    """Return the header at a row, past a line of tickers or units below it."""
    header, notes = rows[at], _front_notes(rows, at)
    below = rows[at + 1] if at + 1 < len(rows) else []
    texts = [cell for cell in below if cell]
    is_second = len(below) == len(header) > 1 and len(texts) > 1
    if not is_second or any(_is_value(cell) or is_time(cell) for cell in texts):
        return Header(header, at + 1, notes)
    closes = [c for c, name in zip(below, header, strict=True) if plain(name) == "close"]
    require_one_symbol(closes, "the second line of the header", where)
    return Header(header, at + 2, [*notes, f"a second header line is left out: {texts[0]!r} ..."])


def _made_up(rows: Sequence[list[str]], at: int, where: str) -> Header:
    """Name the columns of a table without a header, where their number and order tell."""
    row = rows[at]
    clocks = [r[1] for r in rows[at:] if len(r) > 1]
    has_clock = len(row) > 2 and are_clocks(clocks, is_named=False)
    front = ["date", "time"] if has_clock else ["date"]
    behind = len(row) - len(front)
    names = _UNNAMED.get(min(behind, 5))
    if names is None or not _are_ordered([r[len(front) :] for r in rows[at:]], names):
        raise DataError(
            f"{where} has no header line, and its columns are not date, open, high, low, close, "
            "volume: write a line with their names in front of it"
        )
    note = f"no header line: columns are taken as {', '.join([*front, *names])}"
    header = [*front, *names, *[""] * (behind - len(names))]
    return Header(header, at, [*_front_notes(rows, at), note])


def _are_ordered(rows: Sequence[list[str]], names: Sequence[str]) -> bool:
    """Tell whether columns can be open, high, low and close: two are the ends of most rows."""
    if len(names) < 4:
        return True
    ends = 0
    for row in rows:
        values = [number(cell) or number(cell, ",") or 0.0 for cell in row[:4]]
        ends += len(values) == 4 and values[1] == max(values) and values[2] == min(values)
    return ends >= 0.95 * len(rows)
