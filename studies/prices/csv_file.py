"""Reading a user's CSV file; errors have the line number.

`csv_bytes` decompresses and decodes the file. This module splits the text into rows; `csv_header`
finds the header, `csv_columns` the columns, and `csv_times` and `csv_numbers` parse the cells.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from puffin.studies.prices.csv_columns import (
    SYMBOLS,
    ColumnPlaces,
    RequestedColumns,
    find_places,
    place,
)
from puffin.studies.prices.csv_header import (
    Header,
    find_header,
    normalised,
    shown,
)
from puffin.studies.prices.csv_numbers import decimal_marks, differing, number
from puffin.studies.prices.csv_times import TimeError, read_times
from puffin.studies.prices.names import DataError
from puffin.studies.prices.validation import columns_read

# In order of preference: the comma is last, because decimal commas may be in every row as well.
_DELIMITERS = "\t;|,"
_SAMPLE_LINES = 100


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of equal width below a header, with the line number of each."""

    header: Header
    body: list[list[str]]
    lines: list[int]
    delimiter: str

    def column(self, at: int) -> list[str]:
        """Return the cells of a column."""
        return [row[at] for row in self.body]


def parse_csv(
    text: str, where: str, wanted: RequestedColumns | None = None, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Parse CSV text into bars and notes.

    Parameters
    ----------
    text : str
    where : str
        The file, for error messages.
    wanted : RequestedColumns or None
        The columns that are read; None for all.
    extra : sequence of str
        Columns that are read as other series.

    Raises
    ------
    DataError
        If a cell cannot be read, with its line.
    """
    # Not pandas.read_csv: it renames duplicate columns, shifts ragged rows, guesses dates with
    # warnings, and reports no line numbers.
    wanted = wanted or RequestedColumns()
    return parse_table(read_table(text, where, wanted), where, wanted, extra)


def parse_table(
    table: Table, where: str, wanted: RequestedColumns, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Parse a table into bars and notes, as `parse_csv` does."""
    places = find_places(table.header, table.body, wanted, where)
    problems: list[str] = []
    index, time_notes = _times(table, places, where, problems)
    values, number_notes = _values(table, places, wanted, where, problems)
    if problems:
        raise DataError("\n".join(problems))
    symbols = _symbols(table)
    frame = pd.DataFrame(values, index=index)
    if wanted.only_close is not None:
        return frame.dropna(), ()
    ignored = _unused(table, places, extra, where)
    notes = [
        *table.header.notes,
        *places.notes,
        *time_notes,
        *number_notes,
        *ignored,
        *symbols,
    ]
    return frame, tuple(notes)


def _unused(table: Table, places: ColumnPlaces, extra: Sequence[str], where: str) -> list[str]:
    names = table.header.names
    used = {places.date, places.clock, *places.numbers.values()}
    used |= {place(names, name, "data.extra", where) for name in extra}
    ignored = [name for at, name in enumerate(names) if at not in used]
    return [f"columns that are not used: {shown(ignored)}"] if ignored else []


def split_symbols(
    table: Table, symbols: Collection[str], where: str, wanted: RequestedColumns
) -> dict[str, Table]:
    """Return the table of each symbol of a long table, sorted by symbol; none if it is not long.

    A table is long if a column has several symbols, and a time occurs twice or `symbols` are in
    that column. Otherwise it has one series, although the symbol of that may change.

    Raises
    ------
    DataError
        If a row has no symbol, or a column that is read is missing.
    """
    at = _symbol_column(table)
    if at is None:
        return {}
    named = table.column(at)
    places = find_places(table.header, table.body, wanted, where)
    times = {(row[places.date], row[places.clock or places.date]) for row in table.body}
    if len(times) == len(table.body) and not (symbols and set(symbols) <= set(named)):
        return {}
    if "" in named:
        raise DataError(
            f"{where} line {table.lines[named.index('')]}: the column {table.header.names[at]} "
            "must have the symbol of each row, but is empty: fill it, or leave the row out"
        )
    rows: dict[str, list[int]] = {symbol: [] for symbol in sorted(set(named))}
    for row, symbol in enumerate(named):
        rows[symbol].append(row)
    names = table.header.names
    header = Header(names[:at] + names[at + 1 :], table.header.first, table.header.notes)
    return {
        symbol: Table(
            header,
            [table.body[row][:at] + table.body[row][at + 1 :] for row in own],
            [table.lines[row] for row in own],
            table.delimiter,
        )
        for symbol, own in rows.items()
    }


def _symbol_column(table: Table) -> int | None:
    """Return the position of the column that has the symbol of each row, if they differ."""
    names = [normalised(name) for name in table.header.names]
    found = [names.index(name) for name in SYMBOLS if name in names]
    return next((at for at in found if len(set(table.column(at))) > 1), None)


# From text to rows


def read_table(text: str, where: str, wanted: RequestedColumns) -> Table:
    """Split text into the rows of its table.

    Raises
    ------
    DataError
        If it has no table.
    """
    text, delimiter = _delimiter(text)
    found = _rows(text, delimiter, where)
    rows = [row for row, _ in found]
    dates, closes = ({wanted.columns.get(name, "").lower()} - {""} for name in ("date", "close"))
    header = find_header(rows, dates, None if wanted.only_close else closes, where)
    names = header.names
    below = found[header.first :]
    while len(names) > 1 and not names[-1] and not any(any(r[len(names) - 1 :]) for r, _ in below):
        names = names[:-1]  # a separator at the end of the line
    notes = list(header.notes)
    below = _without_comments(below, names, notes)
    if not below:
        raise DataError(
            f"{where} must have a header and rows below it, but has no rows: export it again"
        )
    body = [_fitted(row, line, names, delimiter, where) for row, line in below]
    lines = [line for _, line in below]
    return Table(Header(names, header.first, notes), body, lines, delimiter)


def _delimiter(text: str) -> tuple[str, str]:
    """Return the text without a line "sep=;", and the delimiter of its columns.

    It is the delimiter that splits most lines into the same number of fields. csv.Sniffer is misled
    by quotes (cpython issues 97611 and 119123).
    """
    if found := re.match(r'(\s*)"?sep=(.)"?[ \t\r]*\n', text):
        return f"{found[1]}\n{text[found.end() :]}", found[2]
    lines = [line for line in text.splitlines() if line.strip()][:_SAMPLE_LINES]

    def lines_of_one_width(delimiter: str) -> int:
        try:
            widths = Counter(map(len, csv.reader(lines, delimiter=delimiter)))
        except csv.Error:
            return 0
        return max((count for width, count in widths.items() if width > 1), default=0)

    best = max(_DELIMITERS, key=lines_of_one_width)
    return text, best if lines_of_one_width(best) else ","


def _rows(text: str, delimiter: str, where: str) -> list[tuple[list[str], int]]:
    """Split text into rows of cells, each with its line number, without blank lines."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        found = [([cell.strip() for cell in row], reader.line_num) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{where} line {reader.line_num} is not valid CSV ({error}): fix the quoting"
        ) from None
    return [(row, line) for row, line in found if any(row)]


def _without_comments(
    rows: list[tuple[list[str], int]], header: list[str], notes: list[str]
) -> list[tuple[list[str], int]]:
    """Drop comments, repeated headers and remarks below the table."""
    kept = [(row, line) for row, line in rows if not row[0].startswith("#") and row != header]
    while len(kept) > 1 and _is_remark(kept[-1][0]):
        kept.pop()
    if len(kept) < len(rows):
        lines = {line for _, line in kept}
        first = next((row, line) for row, line in rows if line not in lines)
        notes.append(
            f"lines that are not rows are left out: {len(rows) - len(kept)}, the first in line "
            f"{first[1]}: {','.join(first[0])[:40]!r}"
        )
    return kept


def _is_remark(row: list[str]) -> bool:
    cells = [cell for cell in row if cell]
    return len(cells) == 1 and row[0] == cells[0] and not row[0][0].isdigit() and " " in row[0]


def _fitted(row: list[str], line: int, names: list[str], delimiter: str, where: str) -> list[str]:
    """Return a row cut to the width of the header; fields beyond it must be empty."""
    width = len(names)
    if len(row) >= width and not any(row[width:]):
        return row[:width]
    commas = "; decimal commas need quotes, or columns separated by semicolons"
    raise DataError(
        f"{where} line {line} must have {width} fields like the header, but has {len(row)}: "
        f"fix its separators and quotes{commas if delimiter == ',' and len(row) > width else ''}"
    )


# From cells to values


def _times(
    table: Table, places: ColumnPlaces, where: str, problems: list[str]
) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    clocks = None if places.clock is None else table.column(places.clock)
    is_named = bool(normalised(table.header.names[places.date]))
    try:
        found = read_times(table.column(places.date), clocks, is_named=is_named)
    except TimeError as error:
        problems.append(f"{where} line {table.lines[error.row]}: {error}")
        return pd.DatetimeIndex([]), ()
    return found.index.rename("date"), found.notes


def _values(
    table: Table, places: ColumnPlaces, wanted: RequestedColumns, where: str, problems: list[str]
) -> tuple[dict[str, list[float]], list[str]]:
    """Parse the columns of numbers; a column that the study does not read may have other text."""
    columns = {name: table.column(at) for name, at in places.numbers.items()}
    reads = set(columns_read(columns, wanted.reads)) if wanted.reads else set(columns)
    mark, notes = _decimal_mark(columns, reads, table, where, problems)
    values: dict[str, list[float]] = {}
    for name, cells in columns.items():
        found = [number(cell, mark) for cell in cells]
        if name in reads and None in found:
            at = found.index(None)
            problems.append(
                f"{where} line {table.lines[at]}: {table.header.names[places.numbers[name]]} must "
                f"be a number, but got {cells[at][:40]!r}: write plain numbers like 1234.5"
            )
        values[name] = [float("nan") if value is None else value for value in found]
    return values, notes


def _decimal_mark(
    columns: Mapping[str, Sequence[str]],
    reads: set[str],
    table: Table,
    where: str,
    problems: list[str],
) -> tuple[str, list[str]]:
    """Return the decimal mark that all columns of the file share, and notes."""
    marks = decimal_marks([columns[name] for name in reads])
    if len(marks) > 1:
        marks = decimal_marks(list(columns.values())) or marks
    if len(marks) == 1:
        return marks.pop(), []
    if not marks:  # the cells that fit neither are reported by the caller
        commas = sum(number(cell, ",") is None for name in reads for cell in columns[name])
        points = sum(number(cell) is None for name in reads for cell in columns[name])
        return "," if commas < points else ".", []
    cell, point, comma = differing([columns[name] for name in reads])
    if table.delimiter == ",":
        return ".", [f"commas in numbers separate thousands: {cell} is {point:g}"]
    problems.append(
        f"{where}: {cell!r} can be {point:g} or {comma:g}, and no other number decides: "
        "write numbers without separators of thousands, or with a decimal point"
    )
    return ".", []


def _symbols(table: Table) -> list[str]:
    """Return a note if rows of one series are of several symbols."""
    notes = []
    for at, name in enumerate(table.header.names):
        values = list(dict.fromkeys(table.column(at))) if normalised(name) in SYMBOLS else []
        if len(values) > 1:
            notes.append(f"rows are of several values of {name}: {shown(values, 5)}")
    return notes
