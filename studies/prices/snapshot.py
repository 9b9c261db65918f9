"""Bars as exact bytes, for the study's copy, exports and the cache."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd

from puffin.studies.prices.validation import DataError

_SYMBOL = "symbol"


def frames_to_csv(frames: Mapping[str, pd.DataFrame]) -> bytes:
    """Return the bars of several symbols as one CSV whose first column is the symbol.

    The bars of one symbol are as `to_csv` writes them. A column that a symbol lacks is NaN. Text is
    read in any tool and, compressed, takes a sixth more than the same numbers in binary.
    """
    if len(frames) == 1:
        return to_csv(next(iter(frames.values())))
    names = list(dict.fromkeys(name for frame in frames.values() for name in frame))
    rows = [",".join([_SYMBOL, "date", *map(str, names)])]
    for symbol, frame in frames.items():
        label = f"{symbol},"
        rows += [label + row for row in _rows(frame.reindex(columns=names))]
    return ("\n".join(rows) + "\n").encode()


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
    if not data.startswith(f"{_SYMBOL},".encode()):
        return {only: from_csv(data)}
    try:
        head, *rows = data.decode().splitlines()
        _, head = head.split(",", 1)
        frames: dict[str, pd.DataFrame] = {}
        for symbol, group in groupby((row.split(",", 1) for row in rows), key=itemgetter(0)):
            frames[symbol] = _parse(head, [row for _, row in group])
    except ValueError as error:
        raise _not_written_here(error) from None
    return frames


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return bars as CSV in UTF-8, each float in the shortest form that reads back exactly.

    Times are dates if all are midnight, otherwise ISO 8601 to the second or microsecond.
    """
    head = ",".join(["date", *map(str, frame.columns)])
    return ("\n".join([head, *_rows(frame)]) + "\n").encode()


def _rows(frame: pd.DataFrame) -> Iterator[str]:
    times = pd.DatetimeIndex(frame.index).as_unit("us").to_numpy()
    unit = next(u for u in ("D", "s", "us") if (times.astype(f"M8[{u}]") == times).all())
    columns = [np.datetime_as_string(times.astype(f"M8[{unit}]")).tolist()]
    columns += [map(repr, frame[name].tolist()) for name in frame.columns]
    return map(",".join, zip(*columns, strict=True))


def from_csv(data: bytes) -> pd.DataFrame:
    """Return the bars that `to_csv` wrote, bit for bit.

    Raises
    ------
    DataError
        If the bytes are not from `to_csv`.
    """
    try:
        head, *rows = data.decode().splitlines()
        return _parse(head, rows)
    except ValueError as error:
        raise _not_written_here(error) from None


def _not_written_here(error: ValueError) -> DataError:
    return DataError(
        f"the snapshot of the prices must be CSV as written by to_csv, but is not ({error})"
    )


def _parse(head: str, rows: list[str]) -> pd.DataFrame:
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
