"""Prices for tests: a frame of bars, and a file."""

from pathlib import Path

import numpy as np
import pandas as pd


def bars(rows: int = 200, **columns: object) -> pd.DataFrame:
    """Weekdays from 2020-01-01 (a Wednesday) with a close that always moves a little."""
    close = 100 + np.arange(rows) % 7 + np.arange(rows) / 10
    index = pd.bdate_range("2020-01-01", periods=rows)
    return pd.DataFrame({"close": close, **columns}, index=index)


def csv_file(folder: Path, data: str | bytes, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
