"""Bars as exact bytes, for the study's copy, exports and the cache."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat

import numpy as np
import pandas as pd

from puffin.studies.prices.names import DataError

_SYMBOL = "symbol"


def frames_to_csv(frames: Mapping[str, pd.DataFrame], *, is_basket: bool) -> bytes:
    """Return the bars of a basket as one CSV whose first column is the symbol.

    The bars of a study of one symbol are as `to_csv` writes them. A column that a symbol lacks is
    NaN. Text is read in any tool and, compressed, takes a sixth more than numbers in binary.
    """
    if not is_basket:
        return to_csv(next(iter(frames.values())))
    names = list(dict.fromkeys(name for frame in frames.values() for name in frame))
    head = ",".join([_SYMBOL, "date", *map(str, names)])
    rows = (
        row
        for symbol, frame in frames.items()
        for row in _rows(frame.reindex(columns=names), repeat(symbol))
    )
    return ("\n".join([head, *rows]) + "\n").encode()


def frames_from_csv(data: bytes, only: str) -> dict[str, pd.DataFrame]:
    """Return the bars that `frames_to_csv` wrote, bit for bit.

    Parameters
    ----------
    data : bytes
    only : str
        Name of the symbol if there is one, which the bytes do not tell.

    Raises
    ------
    DataError
        If the bytes are not from `frames_to_csv`.
    """
    table = _read(data)
    if _SYMBOL not in table:
        return {only: _bars(table)}
    # The rows of a symbol are together; unique symbols are in order of appearance.
    groups = table.groupby(_SYMBOL, sort=False, observed=True)
    return {str(symbol): _bars(rows.drop(columns=_SYMBOL)) for symbol, rows in groups}


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return bars as CSV in UTF-8, each float in the shortest form that reads back exactly.

    Times are dates if all are midnight, otherwise ISO 8601 to the second or microsecond.
    """
    head = ",".join(["date", *map(str, frame.columns)])
    return ("\n".join([head, *_rows(frame)]) + "\n").encode()


def _rows(frame: pd.DataFrame, *before: Iterable[str]) -> Iterator[str]:
    """Return the rows of a table, with the values of other columns before those of the bars."""
    times = pd.DatetimeIndex(frame.index).as_unit("us").to_numpy()
    unit = next(u for u in ("D", "s", "us") if (times.astype(f"M8[{u}]") == times).all())
    columns = [np.datetime_as_string(times.astype(f"M8[{unit}]")).tolist()]
    columns += [map(repr, frame[name].tolist()) for name in frame.columns]
    return map(",".join, zip(*before, *columns, strict=False))  # what is before has no end


def from_csv(data: bytes) -> pd.DataFrame:
    """Return the bars that `to_csv` wrote, bit for bit.

    Raises
    ------
    DataError
        If the bytes are not from `to_csv`.
    """
    return _bars(_read(data))


def _read(data: bytes) -> pd.DataFrame:
    """Return the columns of CSV: text as categories and times, numbers to the last bit."""
    try:
        names = _names(data)
        labels = names[: names.index("date") + 1]
        table = pd.read_csv(
            io.BytesIO(data),
            dtype=dict.fromkeys(names, "float64") | dict.fromkeys(labels, "category"),
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,  # a name may begin with a quote
            na_values={name: ["nan"] for name in names[len(labels) :]},
        )
        return table.assign(date=np.array(table["date"].tolist(), dtype="M8[us]"))
    except ValueError as error:
        raise DataError(
            f"the snapshot of the prices must be CSV as written by to_csv, but is not ({error})"
        ) from None


def _names(data: bytes) -> list[str]:
    """Return the names of the columns, and raise if a row does not have as many cells."""
    names = data[: data.find(b"\n")].decode().split(",")
    rows = data.count(b"\n")
    # pandas would fill a short row with NaN.
    if data.count(b",") != rows * (len(names) - 1):
        raise ValueError(f"its {rows} rows do not have {len(names)} cells each")
    return names


def _bars(table: pd.DataFrame) -> pd.DataFrame:
    times = pd.DatetimeIndex(table["date"], name="date")
    return table.drop(columns="date").set_index(times)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of the bytes, in hex."""
    return hashlib.sha256(data).hexdigest()
