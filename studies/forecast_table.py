"""The table of forecasts that each trial stores and each export contains.

Its columns are date, fold (from 1), symbol if there are several, forecast, actual and persistence,
in the target's unit. The forecast of a study of quantiles is the median; the others follow in
columns such as ``q0.05``.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats

FORECAST_COLUMNS = ("forecast", "actual", "persistence")


def column_of(level: float) -> str:
    """Return the name of the column of a quantile."""
    return "forecast" if level == 0.5 else f"q{level:g}"


def quantile_columns(levels: Sequence[float]) -> list[str]:
    """Return the names of the columns of quantiles other than the median."""
    return [column_of(level) for level in levels if level != 0.5]


def levels_of(frame: pd.DataFrame) -> list[float]:
    """Return the levels of the quantiles of a table, ascending; none if it has none."""
    others = [float(str(name)[1:]) for name in frame if is_quantile(str(name))]
    return sorted([*others, 0.5]) if others else []


def is_quantile(column: str) -> bool:
    """Return whether a column is that of a quantile other than the median."""
    return column.startswith("q0.")


def to_columns(
    forecasts: Floats, actual: Floats, persistence: Floats, levels: Sequence[float]
) -> dict[str, Floats]:
    """Return the columns of forecasts (n,), or of quantiles (n, level)."""
    ahead = forecasts.T if levels else forecasts[None]
    by_name = dict(zip([column_of(level) for level in levels or [0.5]], ahead, strict=True))
    return {
        "forecast": by_name["forecast"],
        "actual": actual,
        "persistence": persistence,
        **{name: by_name[name] for name in quantile_columns(levels)},
    }


def from_columns(frame: pd.DataFrame, levels: Sequence[float]) -> Floats:
    """Return forecasts (n,), or quantiles (n, level), of a table."""
    if not levels:
        return frame["forecast"].to_numpy(np.float64)
    return frame[[column_of(level) for level in levels]].to_numpy(np.float64)


def read_table(body: bytes) -> pd.DataFrame:
    """Return the table of a file.

    Raises
    ------
    ValueError
        If it is none.
    """
    names = body.partition(b"\n")[0].decode().strip().split(",")
    numbers = [name for name in names if name in FORECAST_COLUMNS or is_quantile(name)]
    # A symbol may be called NA, which is no missing value.
    return pd.read_csv(
        io.BytesIO(body),
        dtype={"symbol": "str", **dict.fromkeys(numbers, "float64")},
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in numbers},
    )
