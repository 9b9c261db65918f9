"""Bars as exact bytes, for the study's copy, exports and the cache."""

import hashlib

import numpy as np
import pandas as pd

from puffin.studies.prices.validation import DataError


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return bars as CSV in UTF-8, each float in the shortest form that reads back exactly.

    Times are dates if all are midnight, otherwise ISO 8601 to the second or microsecond.
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
    """Return the bars that `to_csv` wrote, bit for bit.

    Raises
    ------
    DataError
        If the bytes are not from `to_csv`.
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
