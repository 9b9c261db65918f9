"""Numbers as users hand them over: arrays, lists and pandas Series, checked once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What numpy would turn into numbers without a word.
_KINDS = {"m": "time spans", "M": "dates", "c": "complex numbers"}
# Equal numbers differ by this share of themselves, by rounding.
_ROUNDING = 1e-12


def as_floats(name: str, values: Any) -> Floats:
    """Read a series of numbers, whatever its index, as (n,).

    Raises
    ------
    ValueError
        If there are no numbers, or not one dimension.
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
    """Hold values (n,) to numbers that are neither NaN nor infinite.

    Raises
    ------
    ValueError
        Otherwise; with the first place.
    """
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(
            f"{name} must be finite, but {len(wrong)} of {len(values)} values are not, first "
            f"{values[wrong[0]]} at position {wrong[0]}: drop or fill them"
        )


def as_matrix(name: str, values: Any, rows: str, columns: str) -> Floats:
    """Read finite numbers as (rows, columns); `rows` and `columns` say what these are.

    Raises
    ------
    ValueError
        If they are no numbers, have not two dimensions, are empty, or one is not finite.
    """
    array = _numbers(name, values)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must be ({rows}, {columns}), but has shape {array.shape}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{name} must be finite, but {len(wrong)} of {array.size} values are not, first "
            f"{array[row, column]} of {columns} {column} at {rows} {row}: leave what lacks them out"
        )
    return array


def varies(values: Floats) -> NDArray[np.bool_]:
    """Say whether values (n, ...) differ along the first axis by more than rounding."""
    largest = np.abs(values).max(axis=0)
    return np.asarray(np.ptp(values, axis=0) > _ROUNDING * largest)
