"""Prices: from a source, checked, adjusted for splits and dividends, kept as exact bytes.

>>> prices = load_prices("sample", "AAPL")
>>> len(prices.frame)
3270
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from studies.csv_file import decode, parse_csv, read_bytes
from studies.validation import DataError, validate, when

_SAMPLE = Path(__file__).with_name("sample")


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
            f"choose start and end within {when(days.min())} to {when(days.max())}"
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
    data = read_bytes(file)
    if sha256(data) != sums[known]:
        raise DataError(
            f"sample {known} must have the sha256 {sums[known]}, but has {sha256(data)}: "
            "the file was changed, install puffin-tuner again"
        )
    return Raw(parse_csv(decode(data, file), str(file))[0], f"sample {known}")


def _csv(_symbol: str | None, path: Path | None) -> Raw:
    if path is None:
        raise DataError(
            'source "csv" needs a path: give path = "prices.csv" or choose source "sample"'
        )
    frame, notes = parse_csv(decode(read_bytes(path), path), str(path))
    return Raw(frame, f"csv {path.name}", notes)


SOURCES: dict[str, Source] = {"sample": _sample, "csv": _csv}


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
