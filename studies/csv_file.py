"""A user's CSV file of prices, read with the line number of whatever is wrong in it."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from studies.market import NO_ZONE
from studies.validation import KNOWN, DataError

_ALIASES = {
    "datetime": "date",
    "timestamp": "date",
    "adjclose": "adj_close",
    "adjustedclose": "adj_close",
}
_EMPTY = frozenset({"", "-", "na", "n/a", "nan", "none", "null"})
# A time of day, then its offset from UTC: the market's own clock is wanted, so the offset goes.
_OFFSET = re.compile(r"([T ]\d[\d:.,]*) ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)


def read_bytes(path: Path) -> bytes:
    """Read a whole file; `DataError` if that cannot be done."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        why = f"is not there: check the path (relative ones start at {Path.cwd()})"
    except IsADirectoryError:
        why = "is a directory: name the CSV file in it"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = f"cannot be read ({error}): check its name and permissions"
    raise DataError(f"{path} must be a CSV file, but {why}")


def decode(data: bytes, path: Path) -> str:
    """Unpack and decode the bytes of `path`; `DataError` if they are no text."""
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


def parse_csv(
    text: str, where: str, extra: Sequence[str] = (), column: str | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read bars and notes out of CSV text.

    Parameters
    ----------
    text : str
    where : str
        Names its origin in errors.
    extra : sequence of str
        Columns that are used elsewhere.
    column : str or None
        Read this one as close, and no other; rows where it is empty are left out.

    Raises
    ------
    DataError
        With the line and the cell that cannot be read.
    """
    # Not pandas.read_csv: it renames duplicate columns, shifts ragged rows, guesses dates with
    # warnings, and gives no line numbers.
    header, body, lines = _rows(text, where)
    places = _places(header, where)
    if column is not None:
        places = {"date": places["date"], "close": _place(header, column, where)}
    cells = list(zip(*body, strict=True))
    problems = []
    values: dict[str, list[float | None]] = {}
    for name, at in places.items():
        try:
            if name == "date":
                dates, notes = _dates(cells[at], lines, where)
            else:
                values[name] = _numbers(cells[at], lines, where, header[at])
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    frame = pd.DataFrame(values, index=dates)
    if column is not None:
        return frame.dropna(), ()
    used = {*places.values(), *(_place(header, name, where) for name in extra)}
    ignored = [name or "(no name)" for at, name in enumerate(header) if at not in used]
    if ignored:
        notes += (f"columns that are not used: {', '.join(ignored)}",)
    return frame, notes


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
    for name in ("date", *KNOWN):
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
    return {name: names.index(name) for name in ("date", *KNOWN) if name in names}


def _place(header: list[str], column: str, where: str) -> int:
    # As it is called in a snapshot too: what an export holds can be read again.
    names = [name.lower().removeprefix("extra:") for name in header]
    if names.count(column.lower()) != 1:
        raise DataError(
            f"{where} must have one column {column}, for data.extra, but has {', '.join(header)}: "
            "rename the right one"
        )
    return names.index(column.lower())


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
    notes = (NO_ZONE,) if wall != [cell.strip() for cell in cells] else ()
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
