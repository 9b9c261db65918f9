"""Training on sequences of several targets makes no lookback worse than training on windows."""

import pytest

from benchmarks.runs import LOOKBACKS, difference
from puffin.models.training.fold_training import targets_per_sequence

# Of cells and seeds, three each: an estimate that is off by more is no longer noise.
STANDARD_ERRORS = 3


@pytest.mark.parametrize("lookback", [n for n in LOOKBACKS if targets_per_sequence(n) > 1])
def test_no_lookback_is_worse_with_sequences_beyond_noise(lookback: int, *, long: bool) -> None:
    if not long:
        pytest.skip("with --long only: ten minutes in all")
    mean, error = difference(lookback, targets_per_sequence(lookback), seeds=3)
    assert mean < STANDARD_ERRORS * error
