"""Conversion and checks of what users pass: arrays, lists, pandas Series and DataFrames.

Models read rows by position, oldest first. The order of a pandas index is checked, but rows are
never sorted: results are arrays whose rows are those of the input, so sorting would misalign them.
Arrays, lists and indexes that number the rows have no times, and are read in their order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Kinds of values that numpy would convert to numbers silently.
_KINDS = {"m": "time spans", "M": "dates", "c": "complex numbers"}
# Relative difference up to which two numbers count as equal: rounding.
ROUNDING = 1e-12
# Smallest integer label that is a time, such as 20240131 or Unix seconds; smaller ones number rows.
_FIRST_TIME = 10_000_000


def as_series(name: str, values: Any) -> Floats:
    """Return values in order of time as an array (n,).

    Raises
    ------
    ValueError
        If the values are not numbers, have not one dimension, or have an index that is not in
        order of time.
    """
    array = as_floats(name, values)
    require_time_order(name, values)
    return array


def require_time_order(name: str, values: Any) -> None:
    """Raise if the index of a Series or DataFrame is not ascending and unique, oldest row first.

    Raises
    ------
    ValueError
        With the disorder, and how to fix it.
    """
    index = _index(values)
    if index is None:
        return
    if index.nlevels > 1:
        raise ValueError(
            f"{name} must be of one symbol, but its index has the levels {list(index.names)}: "
            f'choose one symbol, for example {name}.xs("AAPL")'
        )
    if _numbers_rows(index) or (index.is_monotonic_increasing and index.is_unique):
        return
    raise ValueError(f"{name} must be in order of time, oldest first, but {_disorder(name, index)}")


def _index(values: Any) -> Any:
    """Return the index of a pandas object, or None for anything else, such as a list."""
    index = getattr(values, "index", None)
    return index if hasattr(index, "is_monotonic_increasing") else None


def _numbers_rows(index: Any) -> bool:
    return index.dtype.kind in "iu" and (index.empty or index.max() < _FIRST_TIME)


def _disorder(name: str, index: Any) -> str:
    """Return what is wrong with an index that is not ascending, and the fix."""
    if missing := int(index.isna().sum()):
        return f"{missing} of its {len(index)} index labels are missing: drop these rows"
    if isinstance(index[0], str):
        return (
            f"the labels of its index are text that is not ascending, from {index[0]!r} to "
            f"{index[-1]!r}: make them dates with {name}.index = pd.to_datetime({name}.index), "
            f"then pass {name}.sort_index()"
        )
    if not index.is_unique:
        repeated = index[index.duplicated()][0]
        times = int((index == repeated).sum())
        return (
            f"its index has {_text(repeated)} {times} times: keep one row for each time, for "
            f"example {name}[~{name}.index.duplicated()].sort_index()"
        )
    newest_first = "newest first" if index.is_monotonic_decreasing else "not in order"
    span = f"from {_text(index[0])} to {_text(index[-1])}"
    return f"its index is {newest_first}, {span}: pass {name}.sort_index()"


def _text(label: Any) -> str:
    """Return a label of an index as text; a midnight is written as its date."""
    return str(label).removesuffix(" 00:00:00")


def require_same_index(**named: Any) -> None:
    """Raise if the rows of pandas objects have different labels: row t must be one time in all.

    Beside an index of dates, a default index (0, 1, 2, ...) is ignored, as an array is.

    Raises
    ------
    ValueError
        With the first row whose labels differ.
    """
    indexed = [(name, i) for name, values in named.items() if (i := _index(values)) is not None]
    dated = [pair for pair in indexed if not _numbers_rows(pair[1])]
    labelled = [pair for pair in indexed if not (dated and _is_default(pair[1]))]
    for name, index in labelled[1:]:
        first, expected = labelled[0]
        if len(index) == len(expected) and not index.equals(expected):
            row = next((i for i, label in enumerate(index) if label != expected[i]), 0)
            labels = f"{_text(expected[row])} of {first} and {_text(index[row])} of {name}"
            raise ValueError(
                f"{first} and {name} must have the same index, but row {row} is {labels}: pass "
                f"{name}.reindex({first}.index), or {name}.to_numpy() if its rows are those "
                f"of {first} one by one"
            )


def _is_default(index: Any) -> bool:
    """Return whether an index is the one that pandas makes by default."""
    return _numbers_rows(index) and np.array_equal(index, np.arange(len(index)))


def as_floats(name: str, values: Any) -> Floats:
    """Return values, whatever their index, as an array (n,).

    Raises
    ------
    ValueError
        If the values are not numbers, or have not one dimension.
    """
    array = _numbers(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension, but has shape {array.shape}: "
            "pass one column, for example .squeeze()"
        )
    return array


def _numbers(name: str, values: Any) -> Floats:
    kind = np.asarray(values).dtype.kind
    if kind in "mMc":
        raise ValueError(f"{name} must hold numbers only, but holds {_KINDS[kind]}")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers only, but does not: {error}") from None


def require_finite(name: str, values: Floats) -> None:
    """Raise if one of the values (n,) is NaN or infinite.

    Raises
    ------
    ValueError
        With the first such value and its position.
    """
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(
            f"{name} must be finite, but {len(wrong)} of {len(values)} values are not, first "
            f"{values[wrong[0]]} at position {wrong[0]}: drop or fill them"
        )


def as_matrix(name: str, values: Any, rows: str, columns: str) -> Floats:
    """Return finite values as an array of two dimensions, whose names are `rows` and `columns`.

    Raises
    ------
    ValueError
        If the values are not numbers, have not two dimensions, are empty, or one is not finite.
    """
    array = _numbers(name, values)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must be ({rows}, {columns}), but has shape {array.shape}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{name} must be finite, but {len(wrong)} of {array.size} values are not, first "
            f"{array[row, column]} of {columns} {column} at {rows} {row}: drop that "
            f"{rows} or {columns}"
        )
    return array


def varies(values: Floats) -> NDArray[np.bool_]:
    """Return whether values (n, ...) differ along the first axis by more than rounding."""
    largest = np.abs(values).max(axis=0)
    return np.asarray(np.ptp(values, axis=0) > ROUNDING * largest)


def of_one_length(**named: Any) -> list[Floats]:
    """Return series of finite numbers as arrays (n,).

    Raises
    ------
    ValueError
        If a value is not a finite number, a series is not in order of time, or the lengths or
        indexes differ.
    """
    arrays = {name: as_series(name, values) for name, values in named.items()}
    require_same_index(**named)
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{' and '.join(named)} must have one length, but have {lengths}")
    for name, values in arrays.items():
        require_finite(name, values)
    return list(arrays.values())
