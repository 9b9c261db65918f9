"""Numbers as users hand them over: arrays, lists and pandas Series, checked once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What numpy would turn into numbers without a word.
_KINDS = {"m": "time spans", "M": "dates", "c": "complex numbers"}


def as_floats(name: str, values: Any) -> Floats:
    """Read a series of numbers, whatever its index, as (n,).

    Raises
    ------
    ValueError
        If there are no numbers, or not one dimension.
    """
    kind = np.asarray(values).dtype.kind
    if kind in "mMc":
        raise ValueError(f"{name} must hold numbers only, but holds {_KINDS[kind]}")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers only, but does not: {error}") from None
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension, but has shape {array.shape}: "
            "pass one column, for example .squeeze()"
        )
    return array


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
