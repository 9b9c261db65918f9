"""Values as JSON can hold them."""

import math
from typing import Any

import numpy as np


def to_json_values(value: Any) -> Any:
    """Return a value of dicts, lists, tuples, arrays and scalars as JSON can hold it.

    Arrays and tuples become lists, NumPy scalars become Python's, and floats that are NaN or
    infinite become None, because JSON has no such numbers.
    """
    if isinstance(value, dict):
        return {key: to_json_values(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [to_json_values(v) for v in value]
    if isinstance(value, np.generic):
        return to_json_values(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
