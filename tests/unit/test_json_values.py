"""Values become what JSON can hold."""

import json
import math
from typing import Any

import numpy as np
import pytest

from puffin.studies.json_values import to_json_values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.array([True]), [True]),
        ({"a": (1.0, math.nan)}, {"a": [1.0, None]}),
        (np.array([[1.0, np.inf]]), [[1.0, None]]),
        ([None, True, "nan"], [None, True, "nan"]),
    ],
)
def test_json_values_have_no_nan_and_no_numpy_type(value: Any, expected: Any) -> None:
    found = to_json_values(value)
    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected
