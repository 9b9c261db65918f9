"""Long-run variance of series whose observations depend on each other over time."""

import numpy as np

from puffin.models.arrays import Floats

# Fewest observations that give a long-run variance one degree of freedom.
FEWEST = 4


def degrees_of_freedom(count: int) -> int:
    """Return how many cosines the variance of `count` observations is the mean of."""
    return max(int(0.4 * count ** (2 / 3)), 1)


def long_run_variance(values: Floats, skipped: int = 0) -> Floats:
    """Return the equal-weighted cosine estimate (series,) of series (series, n).

    The mean of the squared projections onto the ``0.4 n^(2/3)`` slowest cosines, of which the
    slowest may be skipped.

    References
    ----------
    Lazarus, Lewis, Stock and Watson (2018), "HAR Inference: Recommendations for Practice", Journal
    of Business & Economic Statistics 36(4), the EWC estimator.
    """
    count, degrees = values.shape[1], degrees_of_freedom(values.shape[1])
    kept = np.arange(1, degrees + 1) + min(skipped, count - 1 - degrees)
    # (n, cosines); a cosine sums to 0, so the mean need not be subtracted.
    cosines = np.cos(np.pi * np.outer(np.arange(count) + 0.5, kept) / count)
    # Not a product of matrices, whose last bits depend on the number of threads.
    projections = (2 / count) ** 0.5 * np.einsum("sn,nk->sk", values, cosines)
    return np.asarray((projections**2).mean(axis=1))
